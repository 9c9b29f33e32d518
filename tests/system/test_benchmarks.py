"""The benchmarks reckon rightly: rounds, medians, tables, targets; and, in a soak run, every part runs."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path
from shutil import which

import pytest

from benchmarks.__main__ import main
from benchmarks.__main__ import PARTS
from benchmarks.acts import Actors
from benchmarks.acts import ACTS
from benchmarks.acts import GUARDED
from benchmarks.acts import IGNORE
from benchmarks.acts import LOG_IN
from benchmarks.acts import WRITE
from benchmarks.apps import ask
from benchmarks.apps import browser
from benchmarks.apps import data_of
from benchmarks.apps import make_app
from benchmarks.apps import SIZES
from benchmarks.contenders import a_record
from benchmarks.contenders import DictUnderLock
from benchmarks.contenders import Ours
from benchmarks.cycles import Count
from benchmarks.cycles import main as count_cycles
from benchmarks.cycles import read
from benchmarks.cycles import to_table as to_cycles
from benchmarks.parsers import KEYS
from benchmarks.parsers import to_table as to_parsers
from benchmarks.parts.pauses import ENDS
from benchmarks.parts.pauses import SCAN
from benchmarks.parts.pauses import STAYS
from benchmarks.parts.server import Load
from benchmarks.parts.server import row_of as server_row
from benchmarks.parts.store import run as run_store
from benchmarks.parts.store import THREADS
from benchmarks.processes import processor_seconds
from benchmarks.report import targets as targets_of
from benchmarks.report.results import over
from benchmarks.report.results import pick
from benchmarks.report.results import ratio
from benchmarks.report.tables import figure
from benchmarks.report.tables import Table
from benchmarks.report.targets import Target
from benchmarks.report.targets import to_table
from benchmarks.rounds import calls_within
from benchmarks.rounds import interleave
from benchmarks.rounds import micros
from benchmarks.rounds import micros_over
from benchmarks.rounds import middle
from benchmarks.rounds import REFERENCES
from benchmarks.rounds import Sample
from benchmarks.rounds import timed
from benchmarks.tools.by_hand import InSQLite
from benchmarks.tools.filling import Place
from benchmarks.tools.meters import sqlite_meter
from benchmarks.tools.meters import Transactions
from benchmarks.ways import COOKIE
from benchmarks.ways import DJANGO
from benchmarks.ways import DJANGO_FLOOR
from benchmarks.ways import FLOOR
from benchmarks.ways import HAND_SQL
from benchmarks.ways import MEMORY
from benchmarks.ways import open_store
from benchmarks.ways import REDIS
from benchmarks.ways import SQL
from benchmarks.ways import SQLITE
from benchmarks.ways import TRIAL
from flask_idlesession import MemoryStore
from flask_idlesession.stores.sqlite import SQLiteStore

ROOT = Path(__file__).parents[2]


def seconds(*of_cpu):
    return [Sample(cpu, 2 * cpu) for cpu in of_cpu]


# Rounds.


def test_every_round_measures_each_cell_once_and_the_reference_more_often():
    seen = []
    cells = {name: lambda name=name: seen.append(name) or Sample(1.0, 1.0) for name in ("a", "b", "floor")}
    taken = interleave(cells, rounds=4, reference="floor")
    assert {name: len(samples) for name, samples in taken.items()} == {"a": 4, "b": 4, "floor": 4}
    for number in range(4):
        turn = seen[number * (2 + REFERENCES) : (number + 1) * (2 + REFERENCES)]
        assert sorted(turn) == ["a", "b", *["floor"] * REFERENCES]


def test_the_order_of_a_round_is_random():
    random.seed(1)
    seen = []
    interleave({name: lambda name=name: seen.append(name) or Sample(1.0, 1.0) for name in range(6)}, rounds=9)
    assert len({tuple(seen[start : start + 6]) for start in range(0, 54, 6)}) > 1


def test_a_reference_counts_in_a_round_by_its_median():
    turns = iter([9.0, 1.0, 2.0])
    taken = interleave({"floor": lambda: Sample(next(turns), 0.0)}, rounds=1, reference="floor")
    assert taken == {"floor": [Sample(2.0, 0.0)]}


def test_one_slow_round_does_not_move_the_median():
    assert middle(seconds(1, 3, 1000, 2, 4)) == Sample(3, 6)
    assert micros(seconds(0.000_001, 0.000_002, 5)).cpu == pytest.approx(2)


def test_a_cell_is_compared_with_the_reference_of_its_own_round():
    floor, cell = seconds(1, 5, 9), seconds(3, 7, 11)
    assert micros_over(cell, floor) == Sample(2e6, 4e6)
    with pytest.raises(ValueError, match="shorter"):
        micros_over(cell, floor[:2])


def test_times_are_those_of_one_call():
    slow = timed(lambda: sum(range(200_000)), calls=1)
    assert 0 < timed(lambda: sum(range(200_000)), calls=100).wall < slow.wall


def test_calls_are_as_many_as_fill_the_time():
    made = []
    calls = calls_within(made.append, seconds=0.0)
    assert calls == 8
    calls = calls_within(lambda calls: [made.append(n) for n in range(calls)], seconds=0.01)
    assert calls > 100


# Figures and tables.


def test_a_figure_has_as_many_digits_as_it_is_worth():
    found = [figure(value) for value in (0.051, 9.94, 9.96, 99.4, 99.6, 12345.6, -12.34, None)]
    assert found == ["0.05", "9.94", "10.0", "99.4", "100", "12,346", "-12.3", ""]
    assert figure(1.5, "s") == "1.50 s"


def test_a_table_is_one_for_sphinx_too():
    text = Table(title="A title", heads=["", "µs"], rows=[["read", "1.25"], ["none", ""]], note="A note.").to_rst()
    assert text.splitlines() == [
        "**A title**",
        "",
        "====  ====",
        "..      µs",
        "====  ====",
        "read  1.25",
        "none     –",
        "====  ====",
        "",
        "A note.",
    ]


def test_a_row_is_found_by_its_properties_and_must_be_the_only_one():
    results = {"rows": [{"kind": "a", "cpu": 1.0}, {"kind": "b", "cpu": 2.0}, {"kind": "b", "cpu": 3.0, "view": "x"}]}
    assert pick(results, "cpu", kind="a") == 1.0
    assert pick(results, "cpu", kind="b", view="x") == 3.0
    assert pick(results, "cpu", kind="c") is pick(None, "cpu", kind="a") is None
    with pytest.raises(ValueError, match="are 2 rows"):
        pick(results, "cpu", kind="b")


def test_what_was_not_measured_has_no_ratio_and_no_difference():
    assert ratio(1.0, 4.0) == 0.25
    assert over(3.0, 1.0) == 2.0
    assert ratio(None, 1.0) is ratio(1.0, None) is ratio(1.0, 0.0) is over(None, 1.0) is over(1.0, None) is None


# Cycles.

REPORT = """
==7== I   refs:      1,000,000
==7== I1  misses:          300
==7== LLi misses:            5
==7== D   refs:        400,000  (300,000 rd   + 100,000 wr)
==7== D1  misses:          200  (    150 rd   +      50 wr)
==7== LLd misses:           15  (     10 rd   +       5 wr)
==7== LL refs:             500  (    450 rd   +      50 wr)
==7== LL misses:            20  (     15 rd   +       5 wr)
"""


def test_what_valgrind_reports_is_read_as_instructions_and_misses_of_both_caches():
    found = read(REPORT)
    assert found == Count(1_000_000, 500, 20)
    assert found.cycles == 1_000_000 * 0.4 + 500 * 12 + 20 * 45


def test_a_request_is_the_difference_of_two_runs_divided_by_their_calls():
    assert Count(900, 50, 9).over(Count(100, 10, 1), calls=4) == Count(200, 10, 2)


def test_a_tree_is_held_against_the_cookie_over_the_request_without_sessions(tmp_path):
    counts = {
        (FLOOR, "ignore", ROOT): Count(1000, 0, 0),
        (COOKIE, "read", ROOT): Count(5000, 0, 0),
        (MEMORY, "read", tmp_path): Count(2000, 0, 0),
    }
    table = to_cycles(counts, {tmp_path: ", this"})
    assert table.rows == [
        [f"read, {COOKIE}", "4,000", "0", "0", "1.60", "1.00"],
        [f"read, {MEMORY}, this", "1,000", "0", "0", "0.40", "0.25"],
    ]


# Parsers.


def test_parsers_are_compared_by_the_number_of_keys():
    taken = {(name, keys): seconds(cost * keys / 1e6) for name, cost in (("own", 2.0), ("other", 1.0)) for keys in KEYS}
    table = to_parsers(taken)
    assert table.heads == ["keys", "own", "other"]
    assert table.rows == [["3", "6.00", "3.00"], ["20", "40.0", "20.0"], ["100", "200", "100"]]


# Targets.


def request_rows(**factors):
    rows = []
    for view in ("ignore", "read", "write"):
        for size in SIZES:
            rows += [
                {"kind": kind, "view": view, "size": size, "cpu": factors.get(kind, 100.0)}
                for kind in (COOKIE, MEMORY, "ours, SQLite", "ours, Redis", "Flask-Session, Redis")
            ]
            rows.append({"kind": "Flask-Session, SimpleCache", "view": view, "size": size, "cpu": 100.0})
    return {"rows": rows}


def test_a_bound_is_kept_when_it_is_met_exactly():
    assert Target(what="", bound=5, found=5).verdict == "pass"
    assert Target(what="", bound=5, found=5.01).verdict == "FAIL"
    assert Target(what="", bound=5, found=5, at_least=True).verdict == "pass"
    assert Target(what="", bound=5, found=4.99, at_least=True).verdict == "FAIL"
    assert Target(what="", bound=5, found=None).verdict == "not measured"


def test_every_target_is_in_the_table_also_when_nothing_was_measured():
    found = targets_of.targets({})
    assert {target.verdict for target in found} == {"not measured"}
    assert len(to_table(found).rows) == 51


def test_a_request_is_judged_by_the_cookie_at_its_own_size():
    fast = targets_of.targets({"request": request_rows(**{MEMORY: 2.0, "ours, SQLite": 20.0, "ours, Redis": 40.0})})
    known = [target for target in fast if target.found is not None]
    assert len(known) == 15
    assert {target.verdict for target in known} == {"pass"}
    slow = targets_of.targets({"request": request_rows()})
    assert [target.what for target in slow if target.verdict == "pass"] == [
        f"{view}, {MEMORY}: 20 KB / 100 B" for view in ("read", "write")
    ]


def test_a_run_with_fewer_sessions_says_nothing_about_a_million():
    waits = [{"waits": mode, "longest": longest} for mode, longest in ((ENDS, 9.0), (STAYS, 5.0), (SCAN, 400.0))]
    rows = [*waits, {"grows": "memory", "cpu": 1.0, "gc": 3.0}]
    few = targets_of.targets({"pauses": {"rows": rows, "sessions": 20_000}})
    assert not [target for target in few if target.found is not None]
    many = targets_of.targets({"pauses": {"rows": rows, "sessions": 1_000_000}})
    assert [target.found for target in many if target.found is not None] == [4.0, 9 / 400, 1.0, 3.0]


def test_a_rate_is_judged_by_what_it_reaches_at_least():
    rows = [{"kind": MEMORY, "view": "read", "workers": workers, "of_none": 0.87 / workers} for workers in (1, 2)]
    (target,) = (each for each in targets_of.targets({"server": {"rows": rows}}) if each.found is not None)
    assert (target.found, target.verdict) == (0.87, "FAIL")


def test_a_server_is_held_against_that_without_sessions_and_by_hand_in_each_round():
    def loads(*waits):
        return [Load(cpu=wait / 2, wall=wait, p50=wait, p99=2 * wait) for wait in waits]

    taken = {
        (FLOOR, "ignore", 1): loads(0.001, 0.002, 0.004),
        (HAND_SQL, "read", 1): loads(0.002, 0.002, 0.002),
        (SQL, "read", 1): loads(0.002, 0.004, 0.008),
        (DJANGO_FLOOR, "ignore", 1): loads(0.003, 0.003, 0.003),
        (DJANGO, "read", 1): loads(0.006, 0.012, 0.006),
    }
    row = server_row((SQL, "read", 1), taken)
    assert row["per_second"] == 250
    assert (row["of_none"], row["of_hand"], row["p99_over_hand"]) == (0.5, 0.5, 2)
    assert row["cpu_over_none"] == pytest.approx(1.0)
    assert server_row((DJANGO, "read", 1), taken)["of_none"] == 0.5
    assert "of_hand" not in server_row((DJANGO, "read", 1), taken)


def test_a_log_in_is_judged_by_what_the_databases_count():
    rows = [{"kind": kind, "act": LOG_IN, "sent": 3.0, "transactions": 2.0} for kind in (SQL, REDIS, SQLITE)]
    found = [target for target in targets_of.targets({"traffic": {"rows": rows}}) if target.found is not None]
    assert [target.verdict for target in found] == ["pass", "pass", "FAIL"]


def test_a_guarded_view_is_judged_by_the_whole_request():
    rows = [{"kind": MEMORY, "act": GUARDED, "cpu": 50.0, "of_read": 1.2}]
    (target,) = (each for each in targets_of.targets({"users": {"rows": rows}}) if each.found is not None)
    assert (target.found, target.verdict) == (1.2, "pass")


def test_only_a_million_sessions_say_what_a_million_cost():
    rows = [{"kind": SQLITE, "sessions": size, "of_fewest": share} for size, share in ((1_000, 1.0), (1_000_000, 1.2))]
    found = targets_of.targets({"scale": {"rows": rows[:1]}})
    assert not [target for target in found if target.found is not None]
    (target,) = (each for each in targets_of.targets({"scale": {"rows": rows}}) if each.found is not None)
    assert (target.found, target.verdict) == (1.2, "FAIL")


def test_a_part_that_runs_alone_leaves_the_others_figures_if_they_are_of_this_machine(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert main(["import", "--quick", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    report["parts"] |= {"import": {}, "server": {"rows": [1]}}
    path.write_text(json.dumps(report))
    main(["import", "--quick", "--json", str(path)])
    parts = json.loads(path.read_text())["parts"]
    assert list(parts) == ["import", "server"] and parts["import"]["rows"] and parts["server"] == {"rows": [1]}
    report["machine"]["Python"] = "another"
    path.write_text(json.dumps(report))
    main(["import", "--quick", "--json", str(path)])
    assert list(json.loads(path.read_text())["parts"]) == ["import"]


def test_the_command_for_targets_fails_if_one_is_missed(tmp_path, capsys):
    path = tmp_path / "figures.json"
    rows = [{"module": "flask_idlesession", "cpu": 29_000.0}]
    path.write_text(json.dumps({"parts": {"import": {"rows": rows}}}))
    assert main(["targets", "--json", str(path)]) == 0
    rows[0]["cpu"] = 31_000.0
    path.write_text(json.dumps({"parts": {"import": {"rows": rows}}}))
    assert main(["targets", "--json", str(path)]) == 1
    assert "31.0 ms" in capsys.readouterr().out


# What is counted.


def test_a_statement_alone_is_a_transaction_and_those_between_begin_and_commit_are_one():
    counted = Transactions()
    for statement in (
        "UPDATE session SET a = 1",
        "SELECT 1",
        "BEGIN IMMEDIATE",
        "SELECT 1 FROM session FOR UPDATE",
        "DELETE FROM session",
        "UPDATE session SET a = 2",
        "COMMIT",
        "BEGIN",
        "SELECT 1 FROM session FOR UPDATE",
        "COMMIT",
        "BEGIN",
        "INSERT INTO session VALUES (1)",
        "ROLLBACK",
    ):
        counted.note(1, statement)
    assert (counted.sent, counted.writing) == (13, 2)


def test_what_one_connection_does_is_not_in_the_transaction_of_another():
    counted = Transactions()
    for connection, statement in ((1, "BEGIN"), (2, "DELETE FROM session"), (1, "COMMIT")):
        counted.note(connection, statement)
    assert counted.writing == 1


def test_what_sqlite_is_asked_in_the_block_is_counted(tmp_path):
    with sqlite_meter() as meter:
        actors = Actors(SQLiteStore(tmp_path / "sessions.db"), browsers=1)
        before = meter()
        ask(actors.app_for(WRITE), actors.requests(WRITE, calls=1))
        after = meter()
        actors.close()
    assert after.sent > before.sent
    assert after.transactions > before.transactions
    assert after.written > before.written


def test_a_process_has_used_more_time_when_it_has_worked():
    before = processor_seconds(os.getpid())
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    assert 0.02 <= processor_seconds(os.getpid()) - before < 5


# What is measured.


@pytest.mark.parametrize("act", [IGNORE, *ACTS])
def test_every_act_can_be_done_as_often_as_it_is_measured(act):
    actors = Actors(MemoryStore(), browsers=2)
    try:
        for _ in range(2):
            requests = actors.requests(act, calls=3)
            assert requests
            ask(actors.app_for(act), requests)
    finally:
        actors.close()


def test_an_act_that_is_answered_with_an_error_is_not_measured():
    actors = Actors(MemoryStore(), browsers=1)
    requests = actors.requests(LOG_IN, calls=1)
    ask(actors.app_for(LOG_IN), requests)
    actors.app_for(LOG_IN).view_functions["log_in_as"] = lambda user_id: ("no", 403)
    with pytest.raises(RuntimeError, match="403"):
        ask(actors.app_for(LOG_IN), requests)
    actors.close()


def test_a_session_by_hand_ends_when_it_is_idle_and_opens_for_its_holder_alone(tmp_path):
    with closing(InSQLite(tmp_path / "by_hand.db")) as keeper:
        keeper.begin(b"sid", b"holder", b"data", 1000.0)
        assert keeper.look(b"sid", b"another", 1001.0) is None
        assert keeper.look(b"sid", b"holder", 2799.0) == b"data"
        keeper.write(b"sid", b"holder", b"more", 2800.0)
        assert keeper.look(b"sid", b"holder", 4599.0) == b"more"
        assert keeper.look(b"sid", b"holder", 6400.0) is None


def test_a_store_is_filled_with_copies_that_are_sessions(tmp_path):
    for number, kind in enumerate((MEMORY, SQLITE)):
        place = Place(kind, tmp_path, None, number)
        store = open_store(kind, place.folder, place.url)
        store.create(a_record(1, now=time.time()))
        place.fill(store, 5)
        place.fill(store, 5)
        infos = list(store.find(now=time.time()))
        assert len({info.sid for info in infos}) == 11
        assert len({info.user_id for info in infos}) == 11
        assert store.load(infos[-1].sid, now=time.time()).values == store.load(infos[0].sid, now=time.time()).values
        assert kind == MEMORY or place.room() > 11 * 200
        store.close()


@pytest.mark.parametrize("size", SIZES.values())
def test_a_sessions_data_has_the_size_that_it_is_said_to_have(size):
    data = [data_of(size, number=number) for number in range(3)]
    assert {len(json.dumps(each, separators=(",", ":"))) for each in data} == {size}
    assert data[0] == data_of(size, number=0) != data[1]


@pytest.mark.parametrize("kind", [COOKIE, TRIAL, MEMORY])
def test_an_application_that_answers_wrongly_is_not_measured(kind):
    app = make_app(kind)
    assert "session" in browser(app, size=1_000, number=1)
    app.view_functions["read"] = lambda: "something else"
    with pytest.raises(RuntimeError, match="something else"):
        browser(app, size=1_000, number=2)


@pytest.mark.parametrize("make", [DictUnderLock, lambda: Ours(MemoryStore())])
def test_what_is_created_while_the_time_is_taken_is_forgotten(make):
    contender = make()
    made = contender.made(1)
    contender.create(made)
    contender.forget([made])
    for threads in THREADS:
        assert run_store(contender, [], "create", calls=5, threads=threads).wall > 0
    assert len(contender.store if isinstance(contender, Ours) else contender) == 0


def test_a_full_scan_forgets_what_is_over_and_nothing_else():
    table = DictUnderLock()
    made = [table.made(number) for number in range(10)]
    for each in made:
        table.create(each)
    table.expire([sid for sid, _ in made[:4]])
    table.scan()
    assert len(table) == 6
    assert table.load(made[5][0]) == made[5][1]


# All of it.


@pytest.mark.soak
def test_a_quick_run_measures_every_part_and_writes_its_tables_and_plots(tmp_path):
    for module in ("flask_session", "flask_sqlalchemy", "cachelib", "cachetools", "diskcache", "matplotlib", "redis"):
        pytest.importorskip(module)
    command = [sys.executable, "-m", "benchmarks", "all", "--quick"]
    command += ["--json", str(tmp_path / "figures.json"), "--plots", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "figures.json").read_text())["parts"]
    for name in PARTS:
        assert parts[name]["rows"]
        assert (tmp_path / f"{name}.inc").read_text().startswith("**")
        for plot in import_module(f"benchmarks.{PARTS[name]}").plots(parts[name]):
            assert "<svg" in (tmp_path / f"{plot}.svg").read_text()


@pytest.mark.soak
@pytest.mark.skipif(which("valgrind") is None, reason="valgrind is not installed")
def test_valgrind_counts_that_a_trial_does_less_than_we_and_we_less_than_a_cookie(capsys):
    count_cycles([])
    rows = (line.rsplit(maxsplit=5) for line in capsys.readouterr().out.splitlines() if ", " in line)
    instructions = {name: int(number.replace(",", "")) for name, number, *_ in rows if number[0].isdigit()}
    for view in ("ignore", "read", "write"):
        trial, ours, cookie = (instructions[f"{view}, {kind}"] for kind in (TRIAL, MEMORY, COOKIE))
        assert 0 < trial < ours < cookie


@pytest.mark.soak
def test_the_package_costs_what_it_costs():
    """Compared with itself, nothing is faster or slower than noise makes it."""
    command = [sys.executable, "-m", "benchmarks.before", str(ROOT), "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    names = ("read", "write", GUARDED, LOG_IN)
    shares = [float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith(names)]
    assert len(shares) == 5
    assert all(0.3 < share < 3 for share in shares)
