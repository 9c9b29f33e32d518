"""Checks that a store's calls are atomic steps: records what threads and processes got, and searches for a legal order.

A history is legal if its calls can be put into one order that respects who had answered before whom asked, such
that a simple model, which does one call after the other, would have given every answer. The search is that of Wing
and Gong (1993) with the memory of Lowe (2017): an order that has done the same calls and led to the same state
need not be looked at twice.
"""

import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from itertools import chain
from itertools import product
from math import inf
from pathlib import Path
from typing import Any
from typing import NamedTuple
from uuid import UUID

from support.processes import quick_context

import flask_idlesession
from flask_idlesession import Change
from flask_idlesession import Outcome
from flask_idlesession import Record
from flask_idlesession import Rotation
from flask_idlesession import SessionExists
from flask_idlesession import SessionInfo
from flask_idlesession.stores.contract import chunked
from flask_idlesession.stores.contract import Store

#: In every history there are so many sessions, users, secrets and keys: few, so that the calls meet.
_SESSIONS, _USERS, _SECRETS, _KEYS = 2, 2, 3, 3

#: Where a history's clock starts, and an instant at which all of its sessions have expired.
_START, _LATE = 1_700_000_000.0, 1_800_000_000.0

#: A prune may look at a part only, and the next one goes on; so many get through a history.
_PASSES = 20

#: Seconds that nobody waits for.
_TOO_LONG = 60.0

#: How likely a preempted thread lets another one on after an opcode of the store's.
_OFTEN = 0.02

#: One history in so many is preempted so; that slows the store down twentyfold.
_EVERY = 8


class NotLinearizable(AssertionError):
    """A store answered what no order of the calls explains."""


class Held(NamedTuple):
    """A session, as the model holds it."""

    holder: bytes
    user: str | None
    seen: float
    idle_timeout: float
    lifetime_ends_at: float
    refresh_by: float
    values: tuple[tuple[str, bytes], ...]
    former: bytes = b""
    former_ends_at: float = 0.0

    @property
    def expires_at(self) -> float:
        return min(self.seen + self.idle_timeout, self.lifetime_ends_at, self.refresh_by)


#: The model's whole state: each of a history's sessions, or None where there is none.
State = tuple[Held | None, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a store: by its name, the session's number (where it has one), and what else it was given."""

    name: str
    number: int = 0
    now: float = 0.0
    given: Any = None


@dataclass(frozen=True, slots=True)
class Event:
    """A call, when it was made, when it answered, and what."""

    call: Call
    called_at: int
    answered_at: int
    answer: Any


# The model: what a call that is alone does. Written out once more, so as not to share the package's mistakes.


def step(state: State, call: Call, answer: Any) -> State | None:
    """Return the state after the call, or None if the call could not have got this answer."""
    return None if isinstance(answer, Exception) else _STEPS[call.name](state, call, answer)


def in_steps(event: Event) -> list[list[Event]]:
    """Return the steps that a call consists of, or several possibilities.

    A call of several sessions is one step for each of them: who reads without a lock may find one ended and the
    other not yet, and no promise is about two sessions at once.
    """
    call, answer = event.call, event.answer

    def parts(name: str, answers: dict[int, Any]) -> list[Event]:
        return [replace(event, call=replace(call, name=name, number=n), answer=a) for n, a in answers.items()]

    if isinstance(answer, Exception):
        return [[event]]
    if call.name == "find":
        return [parts("see", {number: answer.get(number) for number in range(_SESSIONS)})]
    if call.name == "prune":
        numbers = dict(answer)
        is_right = len(numbers) == len(answer) <= call.given
        return [parts("forget", numbers) if is_right else [replace(event, answer=ValueError(answer))]]
    if call.name == "delete_many":
        return [parts("take", {number: answer.get(number) for number in call.given})]
    return [[event]]


def _create(state: State, call: Call, answer: Any) -> State | None:
    if state[call.number] is not None:
        return state if answer == "exists" else None
    return _put(state, call.number, call.given) if answer == "created" else None


def _load(state: State, call: Call, answer: Any) -> State | None:
    held = state[call.number]
    return state if answer == (held if held is not None and call.now < held.expires_at else None) else None


def _see(state: State, call: Call, answer: Any) -> State | None:
    """One session's part in a find()."""
    held = state[call.number]
    is_seen = held is not None and call.now < held.expires_at and call.given in (None, held.user)
    return state if answer == (_shown(held) if held is not None and is_seen else None) else None


def _commit(state: State, call: Call, answer: Any) -> State | None:
    held, change, now = state[call.number], call.given, call.now
    if held is None or now >= held.expires_at:
        return state if answer is Outcome.GONE else None
    is_former = change.holder == held.former and now < held.former_ends_at
    if change.holder != held.holder and not is_former:
        return state if answer is Outcome.GONE else None
    values = dict(held.values)
    is_late = change.rotation is not None and change.rotation.grace_ends_at is not None and change.holder != held.holder
    if is_late or any(values.get(key) != data for key, data in change.expect.items()):
        return state if answer is Outcome.CONFLICT else None
    values |= change.delta
    kept = tuple(sorted((key, data) for key, data in values.items() if data is not None))
    if change.end_if_emptied and not kept:
        return _put(state, call.number, None) if answer is Outcome.EMPTIED else None
    if answer is not Outcome.DONE:
        return None
    return _put(state, call.number, _changed(held, change, kept, now))


def _changed(held: Held, change: Change, values: tuple[tuple[str, bytes], ...], now: float) -> Held:
    after = held._replace(values=values)
    if change.last_seen_at is not None:
        after = after._replace(seen=max(held.seen, min(change.last_seen_at, now)))
    if change.idle_timeout is not None:
        after = after._replace(idle_timeout=change.idle_timeout)
    if change.refresh_by is not None:
        after = after._replace(refresh_by=change.refresh_by)
    turn = change.rotation
    if turn is None:
        return after
    if turn.lifetime_ends_at is not None:
        after = after._replace(lifetime_ends_at=turn.lifetime_ends_at)
    grace = turn.grace_ends_at
    former, former_ends_at = (b"", 0.0) if grace is None else (held.holder, grace)
    return after._replace(holder=turn.secret_digest, user=turn.user_id, former=former, former_ends_at=former_ends_at)


def _delete(state: State, call: Call, answer: Any) -> State | None:
    return _put(state, call.number, None) if answer is (state[call.number] is not None) else None


def _take(state: State, call: Call, answer: Any) -> State | None:
    """One session's part in a delete_many()."""
    held = state[call.number]
    if answer != (None if held is None else _shown(held)):
        return None
    return state if held is None else _put(state, call.number, None)


def _forget(state: State, call: Call, answer: Any) -> State | None:
    """One session's part in a prune() that returned it."""
    held = state[call.number]
    if held is None or call.now < held.expires_at or answer != _shown(held):
        return None
    return _put(state, call.number, None)


def _next_expiry(state: State, call: Call, answer: Any) -> State | None:
    first = min((held.expires_at for held in state if held is not None), default=inf)
    return state if (inf if answer is None else answer) <= first else None


def _emptied(state: State, call: Call, answer: Any) -> State | None:
    """At a history's end everything is pruned, until nothing more comes: then nothing is left."""
    return state if not any(state) else None


_STEPS: dict[str, Callable[[State, Call, Any], State | None]] = {
    "create": _create,
    "load": _load,
    "see": _see,
    "commit": _commit,
    "delete": _delete,
    "take": _take,
    "forget": _forget,
    "next_expiry": _next_expiry,
    "emptied": _emptied,
}


def _put(state: State, number: int, held: Held | None) -> State:
    return (*state[:number], held, *state[number + 1 :])


def _shown(held: Held) -> tuple[Any, ...]:
    return held.user, held.seen, held.idle_timeout, held.lifetime_ends_at, held.refresh_by


# The search.


def find_order(events: list[Event], state: State) -> list[Event] | None:
    """Return the steps of the events in an order that explains every answer, or None if there is none."""
    for steps in product(*map(in_steps, events)):
        order = _find_order(list(chain.from_iterable(steps)), state)
        if order is not None:
            return order
    return None


def _find_order(events: list[Event], state: State) -> list[Event] | None:
    everything = (1 << len(events)) - 1
    seen = {(0, state)}
    path: list[Event] = []
    stack = [_possible(events, 0, state)]
    while stack:
        for event, done, after in stack[-1]:
            if (done, after) in seen:
                continue
            seen.add((done, after))
            path.append(event)
            if done == everything:
                return path
            stack.append(_possible(events, done, after))
            break
        else:
            stack.pop()
            if path:
                path.pop()
    return [] if not events else None


def _possible(events: list[Event], done: int, state: State) -> Iterator[tuple[Event, int, State]]:
    """Yield each event that may come next: no other one that is still to come had answered before it was called."""
    left = [(bit, event) for bit, event in enumerate(events) if not done >> bit & 1]
    horizon = min((event.answered_at for _, event in left), default=0)
    for bit, event in left:
        if event.called_at <= horizon:
            after = step(state, event.call, event.answer)
            if after is not None:
                yield event, done | 1 << bit, after


# The recorder.


class Recorder:
    """Makes calls of one store, and writes down what it answered."""

    def __init__(self, store: Store, seed: object, history: int) -> None:
        self._store = store
        self._sids = [UUID(int=random.Random(f"{seed} {history} {n}").getrandbits(128)) for n in range(_SESSIONS)]
        self._users = f"{history}."
        self.events: list[Event] = []

    def make(self, call: Call) -> Any:
        """Make the call; return its answer."""
        called_at = time.monotonic_ns()
        try:
            answer = self._ask(call)
        except Exception as error:  # Whatever it is, the check shows it: no order explains an exception.
            answer = RuntimeError(repr(error))
        answered_at = time.monotonic_ns()
        self.events.append(Event(call, called_at, answered_at, answer))
        return answer

    def _ask(self, call: Call) -> Any:
        store, sid, now, given = self._store, self._sids[call.number], call.now, call.given
        match call.name:
            case "create":
                try:
                    store.create(self._record(sid, given))
                except SessionExists:
                    return "exists"
                return "created"
            case "load":
                return self._held(store.load(sid, now=now))
            case "commit":
                return store.commit(sid, self._named(given), now=now)
            case "delete":
                return store.delete(sid)
            case "delete_many":
                many = chunked(store)
                assert many is not None, 'avoid=frozenset({"delete_many"}) is for a store without the trait'
                found = many.delete_many([self._sids[number] for number in given])
                return {self._number(info): self._shown(info) for info in found}
            case "find":
                user = None if given is None else self._users + given
                found = store.find(now=now, user_id=user)
                return {self._number(info): self._shown(info) for info in found if info.sid in self._sids}
            case "prune":
                return [(self._number(info), self._shown(info)) for info in store.prune(now=now, limit=given)]
            case "next_expiry":
                return store.next_expiry()
        raise ValueError(call.name)

    def _record(self, sid: UUID, held: Held) -> Record:
        info = SessionInfo(
            sid=sid,
            user_id=None if held.user is None else self._users + held.user,
            created_at=_START,
            last_seen_at=held.seen,
            idle_timeout=held.idle_timeout,
            lifetime_ends_at=held.lifetime_ends_at,
            refresh_by=held.refresh_by,
        )
        return Record(info=info, secret_digest=held.holder, values=dict(held.values))

    def _held(self, record: Record | None) -> Held | None:
        """Return what a store gave, as the model holds it; a former secret's end is nobody's business without one."""
        if record is None:
            return None
        former_ends_at = record.former_ends_at if record.former_digest else 0.0
        values = tuple(sorted(record.values.items()))
        return Held(record.secret_digest, *self._shown(record.info), values, record.former_digest, former_ends_at)

    def _number(self, info: SessionInfo) -> int:
        return self._sids.index(info.sid)

    def _shown(self, info: SessionInfo) -> tuple[Any, ...]:
        user = None if info.user_id is None else info.user_id.removeprefix(self._users)
        return user, info.last_seen_at, info.idle_timeout, info.lifetime_ends_at, info.refresh_by

    def _named(self, change: Change) -> Change:
        turn = change.rotation
        if turn is None or turn.user_id is None:
            return change
        user = self._users + turn.user_id
        named = Rotation(
            secret_digest=turn.secret_digest,
            user_id=user,
            lifetime_ends_at=turn.lifetime_ends_at,
            grace_ends_at=turn.grace_ends_at,
        )
        return Change(
            **{name: getattr(change, name) for name in Change.__dataclass_fields__ if name != "rotation"},
            rotation=named,
        )

    def finish(self) -> None:
        """Look at everything once more, then prune until the store says that there is nothing to wait for."""
        for number in range(_SESSIONS):
            self.make(Call("load", number, _START))
            self.make(Call("load", number, _START + 30))
        self.make(Call("find", now=_START))
        for _ in range(_PASSES):
            self.make(Call("prune", now=_LATE, given=10))
            if self._store.next_expiry() is None:
                break
        at = time.monotonic_ns()
        self.events.append(Event(Call("emptied"), at, at, None))


# What is called.


def plan(rng: random.Random, *, length: int, avoid: frozenset[str]) -> list[Call]:
    """Return calls for one thread, of sessions that few secrets open, at instants around their end."""
    makers = [make for make in _MAKERS if make.__name__.removeprefix("_some_") not in avoid]
    return [rng.choice(makers)(rng) for _ in range(length)]


def _some_create(rng: random.Random) -> Call:
    seen = _START + rng.choice((0.0, 0.0, 5.0))
    held = Held(
        holder=_secret(rng),
        user=_user(rng),
        seen=seen,
        idle_timeout=rng.choice((10.0, 20.0)),
        lifetime_ends_at=_START + rng.choice((15.0, 40.0)),
        refresh_by=rng.choice((inf, inf, _START + 12.0)),
        values=tuple(sorted((key, _value(rng)) for key in rng.sample("abc", rng.randrange(_KEYS + 1)))),
    )
    return Call("create", rng.randrange(_SESSIONS), given=held)


def _some_load(rng: random.Random) -> Call:
    return Call("load", rng.randrange(_SESSIONS), _now(rng))


def _some_delete(rng: random.Random) -> Call:
    return Call("delete", rng.randrange(_SESSIONS))


def _some_delete_many(rng: random.Random) -> Call:
    return Call("delete_many", given=tuple(rng.sample(range(_SESSIONS), rng.randrange(1, _SESSIONS + 1))))


def _some_find(rng: random.Random) -> Call:
    return Call("find", now=_now(rng), given=_user(rng))


def _some_prune(rng: random.Random) -> Call:
    return Call("prune", now=_now(rng), given=rng.choice((1, 4)))


def _some_next_expiry(rng: random.Random) -> Call:
    return Call("next_expiry")


def _some_commit(rng: random.Random) -> Call:
    now = _now(rng)
    keys = rng.sample("abc", rng.choice((0, 1, 1, 2)))
    more: dict[str, Any] = rng.choice(
        (
            {},
            {},
            {"expect": {rng.choice("abc"): rng.choice((None, None, _value(rng)))}},
            {"idle_timeout": rng.choice((5.0, 30.0))},
            {"refresh_by": rng.choice((inf, now + 4.0))},
            {"end_if_emptied": True},
            {"rotation": Rotation(secret_digest=_secret(rng), user_id=_user(rng), grace_ends_at=now + 3.0)},
            {"rotation": Rotation(secret_digest=_secret(rng), user_id=rng.choice("uv"), lifetime_ends_at=now + 25.0)},
        )
    )
    change = Change(
        holder=_secret(rng),
        last_seen_at=rng.choice((None, now, now, now - 3.0, now + 100.0)),
        delta={key: rng.choice((None, _value(rng), _value(rng))) for key in keys},
        **{"expect": {}, **more},
    )
    return Call("commit", rng.randrange(_SESSIONS), now, change)


_MAKERS = (*[_some_commit] * 8, *[_some_load] * 3, _some_create, _some_delete, _some_delete, _some_delete_many)
_MAKERS += (_some_find, _some_prune, _some_prune, _some_next_expiry)


def _now(rng: random.Random) -> float:
    return _START + rng.choice((0.0, 1.0, 2.0, 4.0, 8.0, 9.0, 12.0, 16.0))


def _secret(rng: random.Random) -> bytes:
    return bytes([65 + rng.choice((0, 0, 0, *range(_SECRETS)))]) * 32


def _user(rng: random.Random) -> str | None:
    return rng.choice((None, "u", "v"))


def _value(rng: random.Random) -> bytes:
    return b"%d" % rng.randrange(4)


def beginning(rng: random.Random) -> list[Call]:
    """Return the calls before a history: most often the sessions are there, open to the likeliest secret."""
    calls = []
    for number in range(_SESSIONS):
        if rng.random() < 0.8:
            call = _some_create(rng)
            calls.append(Call("create", number, given=call.given._replace(holder=b"A" * 32)))
    return calls


# The run.


def check_store(
    make_store: Callable[[], Store],
    *,
    histories: int,
    threads: int,
    seed: object,
    processes: int = 0,
    length: int = 4,
    avoid: frozenset[str] = frozenset(),
) -> int:
    """Check that many short histories of the store are linearizable; return how many calls overlapped another one.

    Each has ``length`` calls by each of so many threads of this process, which share one store, and of so many other
    processes, which have each their own and are started afresh: then ``make_store`` must be picklable, and the
    stores must share what they hold. ``avoid`` names calls not to make. Raise :exc:`NotLinearizable`
    with the first history that no order explains; it names the seed, although no run is quite like another.
    """
    context = quick_context()
    parties = threads + processes
    barrier: Any = context.Barrier(parties) if processes else threading.Barrier(parties)
    job = partial(_work, barrier=barrier, histories=histories, seed=seed, length=length, avoid=avoid)
    pipes = []
    children = []
    for worker in range(threads, parties):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_work_apart, args=(make_store, sender, partial(job, worker=worker)))
        child.start()
        pipes.append(receiver)
        children.append(child)
    store = make_store()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(job, store, worker=worker) for worker in range(threads)]
            told = [receiver.recv() for receiver in pipes]
            assert not any(isinstance(each, str) for each in told), "\n".join(map(str, told))
            recorded = told + [job.result() for job in jobs]
    finally:
        sys.setswitchinterval(interval)
        for child in children:
            child.join(_TOO_LONG)
        store.close()
    overlaps = 0
    for number, parts in enumerate(zip(*recorded, strict=True)):
        events = sorted((event for part in parts for event in part), key=lambda event: event.called_at)
        overlaps += sum(a.answered_at > b.called_at for a, b in zip(events, events[1:], strict=False))
        if find_order(events, (None,) * _SESSIONS) is None:
            raise NotLinearizable(_tell(events, seed=seed, number=number))
    return overlaps


def _work_apart(make_store: Callable[[], Store], sender: Any, job: Callable[[Store], list[list[Event]]]) -> None:
    """Send what was recorded, or else the traceback of what came between."""
    try:
        store = make_store()
        try:
            sender.send(job(store))
        finally:
            store.close()
    except BaseException:
        sender.send(traceback.format_exc())


def _work(
    store: Store, *, worker: int, barrier: Any, histories: int, seed: object, length: int, avoid: frozenset[str]
) -> list[list[Event]]:
    """Take one worker's part in every history; return what it saw of each."""
    recorded = []
    try:
        for number in range(histories):
            recorder = Recorder(store, seed, number)
            rng = random.Random(f"{seed} {number} {worker}")
            if worker == 0:
                for call in beginning(rng):
                    recorder.make(call)
            calls = plan(rng, length=length, avoid=avoid)
            barrier.wait(_TOO_LONG)
            with preempted(store, rng) if number % _EVERY == 0 else nullcontext():
                for call in calls:
                    recorder.make(call)
            barrier.wait(_TOO_LONG)
            if worker == 0:
                recorder.finish()
            recorded.append(recorder.events)
    except BaseException:
        barrier.abort()
        raise
    return recorded


@contextmanager
def preempted(store: object, rng: random.Random) -> Iterator[None]:
    """Let other threads on at any opcode of the store's, here and there.

    A call of a few microseconds is hardly ever interrupted, and a store without a lock would look atomic.
    """
    home = str(Path(flask_idlesession.__file__).parent)
    files = {sys.modules[kind.__module__].__file__ for kind in type(store).__mro__ if kind is not object}
    before = sys.gettrace()

    def enter(frame: Any, event: str, arg: object) -> Any:
        name = frame.f_code.co_filename
        if name not in files and not name.startswith(home):
            return None
        frame.f_trace_opcodes = True
        return pause

    def pause(frame: Any, event: str, arg: object) -> Any:
        if rng.random() < _OFTEN:
            time.sleep(0)
        return pause

    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def _tell(events: list[Event], *, seed: object, number: int) -> str:
    start = events[0].called_at
    lines = [f"No order of these calls explains their answers (seed {seed!r}, history {number}). Microseconds, call:"]
    for event in events:
        call = event.call
        lines.append(
            f"{(event.called_at - start) / 1000:9.1f} to {(event.answered_at - start) / 1000:9.1f}  "
            f"{call.name}(session {call.number}, now=+{call.now - _START if call.now else 0:g}, {call.given}) "
            f"-> {event.answer!r}"
        )
    return "\n".join(lines)
