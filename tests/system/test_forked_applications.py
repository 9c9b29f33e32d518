"""Forks in the midst of everything: each child has whole sessions, no stuck lock, and a cleaner of its own."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")

# What the programs below have in common. A process that hangs is ended.
COMMON = """
import faulthandler, os, signal, sys, threading, time
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(100)  # A hang is ended, and says where it was.
from flask_idlesession import Change, MemoryStore, Outcome, SessionManager, session_ended
from flask_idlesession.process.background import cleaner

HOLDER = b"h" * 32
ended_by = {}

def note(sender, *, info, reason):
    ended_by[info.sid] = threading.current_thread().name

session_ended.connect(note)

def wait_until(condition, within=20):
    give_up_at = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.005)

def use(manager):
    sid = manager.create({"name": "Ada"})
    record = manager.store.load(sid, now=manager.now())
    change = Change(holder=record.secret_digest, delta={"name": b"x"})
    assert manager.store.commit(sid, change, now=manager.now()) is Outcome.DONE
    manager.prune()
    manager.remove(sid)

def count_cleaners():
    return sum(thread.name == "flask_idlesession cleaner" and thread.is_alive() for thread in threading.enumerate())

def live(manager):
    # What a child does: everything once, and then its own cleaner, and nobody else, forgets a session.
    short = SessionManager(manager.store, idle_timeout=0.02, cleanup_interval=0.1)
    use(manager)
    by_others = 0
    while by_others < 50:
        sid = short.create({})
        wait_until(lambda: sid in ended_by)
        if ended_by[sid] == "flask_idlesession cleaner":
            break
        by_others += 1  # On a busy machine it had expired before it was put down, and this thread saw that.
    assert by_others < 50
    wait_until(lambda: count_cleaners() == 1)
    assert cleaner.is_running

def fork(work):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(60)
        work()
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

def join(pids):
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert not any(statuses), statuses
"""

HAMMER = """
stop = threading.Event()

def hammer(manager):
    while not stop.is_set():
        use(manager)

def hammered(manager, threads=4):
    passing = SessionManager(manager.store, idle_timeout=0.01, cleanup_interval=0.01)
    def pass_by():
        while not stop.is_set():
            passing.create({})  # There is always something for the cleaner to do.
            time.sleep(0.0005)
    works = [threading.Thread(target=hammer, args=(manager,), daemon=True) for _ in range(threads - 1)]
    works.append(threading.Thread(target=pass_by, daemon=True))
    for thread in works:
        thread.start()
    return works
"""


def run(*parts, timeout=150):
    """Run a program to its end, which must be a good one, and without a word."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", "".join(map(dedent, (COMMON, *parts)))],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


@pytest.mark.parametrize("bounds", ["", "max_sessions=50"], ids=["roomy", "evicting"])
def test_every_child_of_a_process_under_load_lives_and_has_its_own_cleaner(bounds):
    run(
        HAMMER,
        f"""
        manager = SessionManager(MemoryStore({bounds}))
        threads = hammered(manager)
        for _ in range(10):
            join([fork(lambda: live(SessionManager(MemoryStore()) if {bool(bounds)} else manager)) for _ in range(6)])
        for _ in range(60):
            join([fork(lambda: use(SessionManager(MemoryStore())) or manager.prune() or len(manager.store))])
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        live(SessionManager(MemoryStore()))
        """,
    )


def test_threads_that_fork_at_the_same_time_do_not_wait_for_each_other_for_ever():
    run(
        HAMMER,
        """
manager = SessionManager()
threads = hammered(manager)
failures = []

def fork_often():
    try:
        for _ in range(25):
            join([fork(lambda: use(manager))])
    except BaseException as error:
        failures.append(error)

forkers = [threading.Thread(target=fork_often, daemon=True) for _ in range(3)]
for thread in forkers:
    thread.start()
for thread in forkers:
    thread.join(120)
    assert not thread.is_alive()
stop.set()
for thread in threads:
    thread.join(20)
assert not failures, failures
""",
    )


def test_the_child_of_a_child_has_its_own_cleaner_too():
    run(
        """
        manager = SessionManager()
        manager.create({})
        join([fork(lambda: (live(manager), join([fork(lambda: live(manager))])))])
        """
    )


def test_a_child_of_multiprocessing_lives_and_ends():
    run(
        """
        import multiprocessing
        multiprocessing.set_start_method("fork")
        manager = SessionManager()
        manager.create({})
        children = [multiprocessing.Process(target=live, args=(manager,)) for _ in range(8)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
            assert child.exitcode == 0, child.exitcode
        live(manager)
        """
    )


def test_a_child_sees_the_sessions_of_before_and_keeps_its_own_to_itself():
    run(
        """
        manager = SessionManager()
        before = manager.create({"name": "Ada"})
        def work():
            assert manager.read(before) == {"name": "Ada"}
            manager.remove(before)
            manager.create({})
        join([fork(work)])
        assert manager.read(before) == {"name": "Ada"} and len(manager.store) == 1
        """
    )


def test_a_fork_without_a_session_starts_no_thread():
    run(
        """
        def work():
            assert threading.active_count() == 1 and not cleaner.is_running
        join([fork(work)])
        manager = SessionManager()
        manager.close()
        wait_until(lambda: not cleaner.is_running)
        join([fork(work)])
        """
    )


def test_a_child_whose_managers_were_all_dropped_needs_no_thread():
    run(
        """
        manager = SessionManager()
        def work():
            global manager
            del manager
            wait_until(lambda: not cleaner.is_running)
        join([fork(work)])
        assert cleaner.is_running
        """
    )


def test_an_application_in_use_serves_in_the_child():
    run(
        """
        import logging
        from flask import Flask, session
        from flask_idlesession import IdleSession
        logging.disable(logging.WARNING)  # That these processes do not share their sessions is well known here.
        app = Flask("app")
        app.secret_key = "94fed95279ed54cecb4569e05ae099e8"
        app.config["IDLESESSION_IDLE_TIMEOUT"] = 3
        IdleSession(app)

        @app.get("/")
        def visit():
            session["visits"] = session.get("visits", 0) + 1
            return str(session["visits"])

        client = app.test_client()
        assert client.get("/").text == "1"
        store = app.extensions["idlesession"].manager.store

        def work():
            assert client.get("/").text == "2"
            wait_until(lambda: len(store) == 0)
            assert client.get("/").text == "1"

        join([fork(work) for _ in range(4)])
        """
    )


def test_a_program_started_from_a_process_with_a_cleaner_starts():
    run(
        """
        import subprocess
        manager = SessionManager()
        manager.create({})
        for _ in range(10):
            subprocess.run(["true"], check=True)
            subprocess.run(["true"], check=True, preexec_fn=lambda: None)
        use(manager)
        """
    )


@pytest.mark.parametrize("patched", ["before", "after", "meanwhile"])
def test_under_gevent_a_child_has_its_own_cleaner(patched):
    pytest.importorskip("gevent")
    patch = "from gevent import monkey; monkey.patch_all()\n"
    parts = [
        COMMON,
        "manager = SessionManager(); use(manager); time.sleep(0.05)\n",
        "live(manager)\nfor _ in range(5): join([fork(lambda: live(manager)) for _ in range(3)])\nlive(manager)\n",
    ]
    parts.insert(["before", "after", "meanwhile"].index(patched), patch)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "".join(parts)],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
