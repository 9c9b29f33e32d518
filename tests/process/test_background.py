"""The cleaner: one thread for each process, that prunes in time, disturbs nobody and outlives nobody."""

import gc
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from flask import Flask
from flask import session

from flask_idlesession import Change
from flask_idlesession import IdleSession
from flask_idlesession import Outcome
from flask_idlesession import Policy
from flask_idlesession import Record
from flask_idlesession import session_ended
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession import StoreError
from flask_idlesession.model.record import EndReason
from flask_idlesession.process.background import Cleaner
from flask_idlesession.process.background import cleaner as shared_cleaner
from flask_idlesession.sessions.endings import Endings
from flask_idlesession.sessions.pruning import Pruner
from flask_idlesession.testing import FakeClock

CHECKOUT = Path(__file__).parents[2]

# Seconds after which a test gives up to wait for what should come at once.
PATIENCE = 10.0


class Work:
    """Something to clean, that counts its passes."""

    def __init__(self, *, again_in: float = 3600.0, error: BaseException | None = None) -> None:
        self.passes = 0
        self.again_in = again_in
        self.error = error

    def run(self) -> float:
        self.thread = threading.current_thread()
        self.passes += 1
        if self.error is not None:
            raise self.error
        return self.again_in


@pytest.fixture
def own_cleaner():
    own = Cleaner()
    yield own
    own.stop()


def wait_until(condition, *, within=PATIENCE):
    give_up_at = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.002)


def run_script(script, *arguments, timeout=120.0):
    """Run a program in a process of its own; return what it printed, which is all that it may print."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


class TestThread:
    def test_it_begins_with_the_first_and_ends_when_the_last_one_leaves(self, own_cleaner):
        works = [Work(), Work()]
        assert not own_cleaner.is_running
        for work in works:
            own_cleaner.register(work)
        assert own_cleaner.is_running
        own_cleaner.unregister(works[0])
        wait_until(lambda: works[1].passes)
        assert own_cleaner.is_running
        own_cleaner.unregister(works[1])
        wait_until(lambda: not own_cleaner.is_running)

    def test_it_ends_when_the_last_one_is_dropped(self, own_cleaner):
        works = [Work()]
        own_cleaner.register(works[0])
        wait_until(lambda: works[0].passes)
        thread = own_cleaner.thread
        works.clear()
        gc.collect()
        wait_until(lambda: not thread.is_alive())
        assert not own_cleaner.is_running

    def test_it_begins_anew_after_it_ended(self, own_cleaner):
        for _ in range(50):
            work = Work()
            own_cleaner.register(work)
            wait_until(lambda work=work: work.passes)
            own_cleaner.unregister(work)
        wait_until(lambda: not own_cleaner.is_running)

    def test_there_is_one_for_all_managers(self):
        managers = [SessionManager() for _ in range(20)]
        threads = [thread for thread in threading.enumerate() if thread.name == "flask_idlesession cleaner"]
        assert len(threads) == 1 and shared_cleaner.is_running
        for manager in managers:
            manager.close()

    def test_it_goes_on_while_others_come_and_go(self, own_cleaner):
        work = Work(again_in=0.0)
        own_cleaner.register(work)
        crowd = [Work() for _ in range(500)]
        for each in crowd:
            own_cleaner.register(each)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        stop_at = time.monotonic() + 1.0

        def come_and_go():
            while time.monotonic() < stop_at:
                passing = [Work() for _ in range(30)]
                for each in passing:
                    own_cleaner.register(each)

        try:
            threads = [threading.Thread(target=come_and_go) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        before = work.passes
        wait_until(lambda: work.passes > before)
        assert own_cleaner.thread.is_alive()

    def test_an_application_that_is_not_used_has_none(self):
        script = """
            import threading
            from flask import Flask
            from flask_idlesession import IdleSession
            app = Flask("app")
            app.secret_key = "94fed95279ed54cecb4569e05ae099e8"
            IdleSession(app)
            assert threading.active_count() == 1
            app.test_client().get("/")
            print(threading.active_count())
        """
        assert run_script(script) == "2\n"

    def test_a_collection_in_the_midst_of_anything_waits_for_no_lock(self, own_cleaner):
        works = [Work()]
        own_cleaner.register(works[0])
        wait_until(lambda: works[0].passes)
        is_held, let_go = threading.Event(), threading.Event()

        def hold():
            with own_cleaner._wake:
                is_held.set()
                let_go.wait(PATIENCE)

        holder = threading.Thread(target=hold)
        holder.start()
        is_held.wait(PATIENCE)
        started_at = time.monotonic()
        works.clear()
        gc.collect()
        took = time.monotonic() - started_at
        let_go.set()
        holder.join()
        assert took < PATIENCE / 2


class TestSleep:
    def test_it_makes_no_pass_while_nothing_is_due(self, own_cleaner):
        work = Work()
        own_cleaner.register(work)
        wait_until(lambda: work.passes)
        time.sleep(0.05)  # The pass that a registration wakes it for may be a second one.
        before = work.passes
        time.sleep(0.3)
        assert work.passes == before <= 2

    def test_it_wakes_when_something_is_due(self, own_cleaner):
        work = Work(again_in=0.05)
        own_cleaner.register(work)
        wait_until(lambda: work.passes >= 5)

    def test_it_wakes_early_for_what_is_due_earlier(self, own_cleaner):
        work = Work()
        own_cleaner.register(work)
        wait_until(lambda: work.passes)
        time.sleep(0.05)
        before = work.passes
        own_cleaner.wake(within=0.1)
        wait_until(lambda: work.passes > before, within=1.0)

    def test_a_wake_for_later_than_it_wakes_anyway_costs_nothing(self, own_cleaner):
        work = Work(again_in=30.0)
        own_cleaner.register(work)
        wait_until(lambda: work.passes)
        time.sleep(0.05)
        before = work.passes
        own_cleaner.wake(within=50.0)
        time.sleep(0.1)
        assert work.passes == before

    def test_what_becomes_due_during_a_pass_is_not_slept_over(self, own_cleaner):
        class Slow(Work):
            def run(self):
                self.passes += 1
                if self.passes == 1:
                    time.sleep(0.2)
                    own_cleaner.wake(within=59.9)
                return self.again_in

        work = Slow()
        own_cleaner.register(work)
        wait_until(lambda: work.passes >= 2, within=2.0)

    def test_sessions_that_end_later_or_not_at_all_wake_nobody(self):
        clock = FakeClock()
        with SessionManager(clock=clock, idle_timeout=3600) as manager:
            pruner = manager.lifecycle.pruner
            sid = manager.create({})
            passes = count_passes(pruner)
            time.sleep(0.1)
            before = len(passes)
            for _ in range(200):
                manager.replace(sid, {"name": "Ada"})
                manager.create({})
            time.sleep(0.2)
            assert len(passes) - before <= 2

    def test_an_idle_manager_is_not_looked_at_more_than_twice_a_second(self):
        with SessionManager(idle_timeout=3600) as manager:
            manager.create({})
            time.sleep(0.1)
            passes = count_passes(manager.lifecycle.pruner)
            time.sleep(1.0)
            assert len(passes) <= 2


def count_passes(pruner):
    """Note from now on when the pruner cleans."""
    passes, clean = [], pruner.run

    def counted():
        passes.append(time.monotonic())
        return clean()

    pruner.run = counted
    return passes


class TestFaults:
    def test_a_pass_that_raises_is_logged_and_the_others_and_the_next_come_all_the_same(self, own_cleaner, caplog):
        broken, sound = Work(error=ValueError("a broken pass")), Work(again_in=0.01)
        own_cleaner.register(broken)
        own_cleaner.register(sound)
        wait_until(lambda: sound.passes >= 3)
        wait_until(lambda: broken.passes >= 2)
        assert "a broken pass" in caplog.text and "could not finish its pass" in caplog.text

    def test_a_thread_that_was_ended_from_within_has_a_successor(self, own_cleaner, monkeypatch):
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        work = Work(error=SystemExit())
        own_cleaner.register(work)
        wait_until(lambda: work.passes)
        work.thread.join(PATIENCE)
        assert not own_cleaner.is_running
        work.error = None
        own_cleaner.wake(within=0.0)
        wait_until(lambda: work.passes >= 2 and own_cleaner.is_running)

    def test_a_receiver_that_raises_stops_nothing(self, caplog):
        clock, ended = FakeClock(), []

        def fail(sender, *, info, reason):
            ended.append((info.sid, reason))
            raise RuntimeError("a receiver's mistake")

        with SessionManager(clock=clock, idle_timeout=5) as manager, session_ended.connected_to(fail, manager):
            for _ in range(3):
                sid = manager.create({})
                clock.advance(5)
                shared_cleaner.wake(within=0.0)
                wait_until(lambda sid=sid: ended and ended[-1] == (sid, EndReason.IDLE))
            assert len(manager.store) == 0
        assert len(ended) == 3 and "a receiver's mistake" in caplog.text

    def test_a_store_that_fails_is_asked_again_within_the_interval(self):
        clock = FakeClock()
        with SessionManager(clock=clock, idle_timeout=5, cleanup_interval=0.05) as manager:
            manager.create({})
            prune, failures = manager.store.prune, []

            def fail(**_):
                failures.append(None)
                raise StoreError("It is down.")

            manager.store.prune = fail
            clock.advance(5)
            shared_cleaner.wake(within=0.0)
            wait_until(lambda: len(failures) >= 3)
            manager.store.prune = prune
            wait_until(lambda: len(manager.store) == 0)

    def test_a_system_without_a_thread_to_spare_serves_all_the_same(self, own_cleaner, monkeypatch, caplog):
        def refuse(self):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            work = Work()
            own_cleaner.register(work)
            assert not own_cleaner.is_running and "could not be started" in caplog.text
        own_cleaner.wake(within=0.0)
        wait_until(lambda: work.passes)


class TestAPass:
    """What one pass does, by a fake clock and without the thread."""

    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def manager(self, clock):
        manager = SessionManager(clock=clock, idle_timeout=10)
        manager.lifecycle.pruner.close()
        return manager

    def test_it_forgets_what_has_expired_and_nothing_else(self, manager, clock):
        first = manager.create({})
        clock.advance(5)
        second = manager.create({})
        clock.advance(5)
        manager.lifecycle.pruner.run()
        assert [info.sid for info in manager.find()] == [second] and len(manager.store) == 1
        with pytest.raises(SessionNotFound):
            manager.read(first)

    def test_it_comes_again_when_the_next_session_ends(self, manager, clock):
        manager.create({})
        clock.advance(4)
        manager.create({})
        assert manager.lifecycle.pruner.run() == pytest.approx(6)
        clock.advance(6)
        assert manager.lifecycle.pruner.run() == pytest.approx(4)

    def test_it_comes_again_soon_after_a_slice_when_there_is_more(self, manager, clock):
        for _ in range(5000):
            manager.create({})
        clock.advance(10)
        passes = 1
        while manager.lifecycle.pruner.run() <= 0.01:
            passes += 1
        assert passes > 2 and len(manager.store) == 0

    def test_sessions_that_were_touched_do_not_hide_one_that_has_expired(self, manager, clock):
        touched = [manager.create({}) for _ in range(3000)]
        clock.advance(1)
        manager.create({})
        clock.advance(8)
        for sid in touched:
            manager.replace(sid, {})
        clock.advance(2)
        assert manager.prune() == 1

    def test_it_looks_at_touched_sessions_in_short_steps(self, manager, clock):
        infos = [manager.policy.begin(now=clock()) for _ in range(20_000)]
        for info in infos:
            manager.store.create(Record(info=info, secret_digest=b"h" * 32, values={}))
        clock.advance(9)
        touch = Change(holder=b"h" * 32, last_seen_at=clock())
        for info in infos:
            assert manager.store.commit(info.sid, touch, now=clock()) is Outcome.DONE
        clock.advance(2)
        longest = 0.0
        for step in (lambda: manager.store.next_expiry(), lambda: manager.store.prune(now=clock(), limit=4)) * 50:
            started_at = time.thread_time()
            step()
            longest = max(longest, time.thread_time() - started_at)
        assert longest < 0.015  # All of them in one step would be 40 ms and more.

    def test_a_request_that_finds_an_earlier_end_than_was_noted_wakes_the_cleaner(self):
        clock = FakeClock()
        with SessionManager(clock=clock, idle_timeout=10) as manager:
            manager.create({})
            time.sleep(0.05)
            manager.store.create(Record(info=Policy(idle_timeout=5).begin(now=clock()), secret_digest=b"", values={}))
            passes = count_passes(manager.lifecycle.pruner)
            manager.lifecycle.pruner.prune_some()
            wait_until(lambda: passes)

    def test_what_a_request_found_before_an_earlier_end_was_noted_is_not_slept_for(self, manager, clock):
        """The request asks the store, another creates a session that ends sooner, and the first notes what it found."""
        manager.create({})
        pruner = manager.lifecycle.pruner

        def overtaken():
            pruner._due = clock() + 1000
            return clock()

        pruner._clock = overtaken
        assert pruner.run() == pytest.approx(10)

    def test_a_store_that_is_stuck_in_the_past_is_not_asked_without_a_rest(self, manager, clock):
        manager.store.next_expiry = lambda: clock() - 1
        assert manager.lifecycle.pruner.run() <= 1.0
        assert manager.lifecycle.pruner.run() > 0.01
        assert manager.prune() == 0

    def test_a_clock_that_steps_back_forgets_nobody(self, manager, clock):
        sid = manager.create({})
        clock.advance(-3600)
        manager.lifecycle.pruner.run()
        assert manager.read(sid) == {}

    def test_each_end_is_told_once_whoever_prunes(self):
        clock, ended = FakeClock(), []

        def note(sender, *, info, reason):
            ended.append(info.sid)

        with SessionManager(clock=clock, idle_timeout=10) as manager, session_ended.connected_to(note, manager):
            sids = {manager.create({}) for _ in range(2000)}
            barrier = threading.Barrier(4)
            clock.advance(10)

            def prune():
                barrier.wait(PATIENCE)
                manager.prune()

            threads = [threading.Thread(target=prune) for _ in range(3)]
            for thread in threads:
                thread.start()
            barrier.wait(PATIENCE)
            shared_cleaner.wake(within=0.0)
            for thread in threads:
                thread.join()
            wait_until(lambda: len(ended) >= len(sids))
        assert len(ended) == len(sids) and set(ended) == sids


class TestRealClock:
    @pytest.mark.parametrize("timeout", [1.0])
    def test_a_session_is_served_until_its_end_and_gone_a_second_later(self, timeout):
        with SessionManager(idle_timeout=timeout) as manager:
            started_at = manager.now()
            sid = manager.create({"name": "Ada"})
            created_at = manager.now()
            served_at = started_at
            while manager.now() < created_at + timeout + 0.2:
                asked_at = manager.now()
                try:
                    manager.read(sid)
                except SessionNotFound:
                    assert manager.now() >= started_at + timeout
                    break
                served_at = asked_at
            assert started_at + timeout - 0.2 < served_at < created_at + timeout
            wait_until(lambda: len(manager.store) == 0, within=created_at + timeout + 1.0 - manager.now())

    def test_with_five_seconds_it_keeps_every_promise_to_the_second(self):
        with SessionManager(idle_timeout=5) as left, SessionManager(idle_timeout=5) as used:
            started_at = left.now()
            sids = {left: left.create({}), used: used.create({})}
            created_at = left.now()
            gone_at, over_at = {}, {}
            updated_at = None
            while len(gone_at) < 2 and left.now() < created_at + 9.5:
                now = left.now()
                if updated_at is None and now >= created_at + 3:
                    used.replace(sids[used], {})
                    updated_at = used.now()
                for manager, sid in sids.items():
                    asked_at = manager.now()
                    if manager not in over_at:
                        try:
                            manager.read(sid)
                        except SessionNotFound:
                            over_at[manager] = manager.now()
                        else:
                            assert asked_at < (created_at if manager is left else updated_at or created_at) + 5
                    if manager not in gone_at and len(manager.store) == 0:
                        gone_at[manager] = manager.now()
                time.sleep(0.002)
        assert started_at + 5 <= over_at[left] < created_at + 5.5
        assert started_at + 5 <= gone_at[left] <= created_at + 6
        assert started_at + 8 <= over_at[used] < updated_at + 5.5
        assert started_at + 8 <= gone_at[used] <= updated_at + 6

    def test_in_an_application_too_and_while_nobody_asks_for_anything(self):
        app = Flask(__name__)
        app.secret_key = "94fed95279ed54cecb4569e05ae099e8"
        app.config["IDLESESSION_IDLE_TIMEOUT"] = 0.5
        IdleSession(app)

        @app.get("/")
        def visit():
            session["visits"] = session.get("visits", 0) + 1
            return str(session["visits"])

        client = app.test_client()
        assert client.get("/").text == "1"
        assert client.get("/").text == "2"
        store = app.extensions["idlesession"].manager.store
        ends_at = time.monotonic() + 0.5
        assert len(store) == 1
        wait_until(lambda: len(store) == 0, within=1.5)
        assert ends_at - 0.1 <= time.monotonic()
        assert client.get("/").text == "1"

    def test_a_session_given_a_shorter_timeout_is_forgotten_that_much_earlier(self):
        app = Flask(__name__)
        app.secret_key = "94fed95279ed54cecb4569e05ae099e8"
        IdleSession(app)

        @app.get("/<float:timeout>")
        def shorten(timeout):
            session["timeout"] = timeout
            session.idle_timeout = timeout
            return ""

        client = app.test_client()
        client.get("/3600.0")
        client.get("/0.2")
        store = app.extensions["idlesession"].manager.store
        wait_until(lambda: len(store) == 0, within=1.2)


@pytest.mark.alone
class TestFlood:
    """100,000 sessions that end within one second, while one client asks as fast as it can."""

    SCRIPT = (CHECKOUT / "tests" / "support" / "flood.py").read_text()

    def test_all_are_forgotten_in_time_and_no_request_waits_for_it(self):
        for _ in range(3):
            without = json.loads(run_script(self.SCRIPT, 0))
            flood = json.loads(run_script(self.SCRIPT, 100_000))
            print(f"without: {without}\nwith 100,000 ends: {flood}")
            assert flood["longest_slice"] < 0.015
            # What the machine gave to others is not ours to answer for, and a neighbour on the same core takes half of
            # what seems given. With a core of its own it is 0.5 to 0.7 s; promised is 1.
            in_time = flood["late"] is not None and flood["late"] * flood["share"] <= 2.0
            if in_time and flood["longest_wait"] < without["longest_wait"] + 0.020:
                return
        pytest.fail(f"three times too slow; the last time {flood}, and without the flood {without}")


class TestRemains:
    def test_a_thousand_applications_leave_one_thread_at_most_and_no_memory(self):
        script = """
            import gc, json, sys, threading, time
            from flask import Flask, session
            from flask_idlesession import IdleSession
            from flask_idlesession.process.background import cleaner

            def use(number):
                app = Flask("app%d" % number)
                app.secret_key = "94fed95279ed54cecb4569e05ae099e8"
                IdleSession(app)
                @app.get("/")
                def visit():
                    session["n"] = session.get("n", 0) + 1
                    return str(session["n"])
                client = app.test_client()
                client.get("/")
                assert client.get("/").text == "2"
                return threading.active_count()

            def weigh():
                gc.collect()
                return len(gc.get_objects()), sys.getallocatedblocks()

            threads = max(use(number) for number in range(100))
            objects, blocks = weigh()
            threads = max(threads, *(use(number) for number in range(1000)))
            more_objects, more_blocks = weigh()
            give_up_at = time.monotonic() + 5
            while cleaner.is_running and time.monotonic() < give_up_at:
                time.sleep(0.01)
            print(json.dumps([threads, more_objects - objects, more_blocks - blocks, threading.active_count()]))
        """
        threads, objects, blocks, threads_after = json.loads(run_script(script))
        assert threads <= 2 and threads_after == 1
        # An application is some 2,000 objects.
        assert objects < 1000
        assert blocks < 5000

    def test_a_thousand_managers_that_are_dropped_unclosed_leave_nothing(self):
        script = """
            import gc, threading, time
            from flask_idlesession import SessionManager
            from flask_idlesession.process.background import cleaner
            from flask_idlesession.process.locks import _all
            for _ in range(1000):
                SessionManager().create({"name": "Ada"})
            gc.collect()
            give_up_at = time.monotonic() + 5
            while cleaner.is_running and time.monotonic() < give_up_at:
                time.sleep(0.01)
            gc.collect()
            print(len(cleaner._tasks), len(_all), threading.active_count())
        """
        assert run_script(script) == "0 0 1\n"

    def test_a_manager_is_collected_while_its_sessions_live(self):
        import weakref

        manager = SessionManager()
        manager.create({})
        reference = weakref.ref(manager)
        del manager
        gc.collect()
        assert reference() is None


class TestExit:
    @pytest.mark.parametrize(
        "last_words",
        ["", "sys.exit(0)", "threading.Thread(target=time.sleep, args=(0.2,)).start()", "manager.close()"],
        ids=["falls off the end", "sys.exit", "another thread goes on", "closed"],
    )
    def test_a_process_ends_at_once_and_without_a_word(self, last_words):
        script = f"""
            import sys, threading, time
            from flask_idlesession import SessionManager
            manager = SessionManager(idle_timeout=0.001)
            for _ in range(5_000):
                manager.create({{}})
            {last_words}
        """
        started_at = time.monotonic()
        assert run_script(script, timeout=60) == ""
        assert time.monotonic() - started_at < 30

    def test_the_thread_has_ended_before_what_was_there_first_takes_its_leave(self):
        script = """
            import atexit, threading
            atexit.register(lambda: print(threading.active_count()))
            from flask_idlesession import SessionManager
            manager = SessionManager()
            manager.create({})
            print(threading.active_count())
        """
        assert run_script(script) == "2\n1\n"

    def test_sessions_are_served_in_the_exit_handlers_of_others(self):
        script = """
            import atexit
            from flask_idlesession import SessionManager
            manager = SessionManager()
            def late():
                print(manager.read(manager.create({"late": True})))
                SessionManager().create({})
            atexit.register(late)
            atexit._run_exitfuncs()
            late()
        """
        assert run_script(script) == "{'late': True}\n" * 2

    def test_an_exit_in_the_midst_of_a_long_pass_waits_a_second_at_most(self):
        script = """
            import time
            from flask_idlesession.process.background import cleaner
            class Slow:
                def run(self):
                    time.sleep(600)
            slow = Slow()
            cleaner.register(slow)
            time.sleep(0.1)
        """
        started_at = time.monotonic()
        run_script(script)
        assert time.monotonic() - started_at < 20


def test_the_pruner_names_the_reason_of_an_end_by_time():
    clock, reasons = FakeClock(), []

    def note(sender, *, info, reason):
        reasons.append(reason)

    manager = SessionManager(clock=clock, idle_timeout=10, lifetime=15)
    manager.lifecycle.pruner.close()
    with session_ended.connected_to(note, manager):
        sid = manager.create({})
        clock.advance(9)
        manager.replace(sid, {})
        clock.advance(6)
        manager.create({})
        manager.prune()
        clock.advance(10)
        manager.prune()
    assert reasons == [EndReason.LIFETIME, EndReason.IDLE]


def test_a_pruner_alone_registers_itself(caplog):
    caplog.set_level(logging.DEBUG)
    with SessionManager(clock=FakeClock()) as manager:
        pruner = Pruner(
            manager.store, clock=manager.now, interval=1.0, endings=Endings(manager.store, sender=lambda: None)
        )
        assert pruner in shared_cleaner._tasks
        pruner.close()
        assert pruner not in shared_cleaner._tasks
