"""No live token and no secret stands anywhere but in the Cookie and Set-Cookie headers: all that a full scenario leaves
behind is scanned for them, byte by byte.
"""

import base64
import gc
import logging
import re
import sqlite3
import sys
import traceback
import types
from base64 import urlsafe_b64decode
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask import got_request_exception
from flask import session

from flask_idlesession import Change
from flask_idlesession import ConfigError
from flask_idlesession import csrf_token
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import kept_form
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import reauthenticate
from flask_idlesession import revoke_others
from flask_idlesession import session_ending
from flask_idlesession import session_info
from flask_idlesession import session_loaded
from flask_idlesession import sessions_of
from flask_idlesession import StoreError
from flask_idlesession.model.ids import Credential
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.tokens import Tokens

PACKAGE = Path(__file__).parents[2] / "flask_idlesession"
KEY = "zkfJ9-the-key-of-the-scan-Qx7"
CLAIMS_KEY = "of the claims, which others verify"
PREFIX = "scanned:"

#: A Cookie header, where a server's environ or a request is shown. That it stands there is no leak.
_COOKIE_HEADER = re.compile(r"""('HTTP_COOKIE': |'Cookie', ?|Cookie: |'HTTP_X_SESSION': )(['"])?session=[^'"\r\n]*""")
_TOKEN_HEADER = re.compile(r"('HTTP_X_SESSION': )'[^']*'")


def pieces(secret: bytes) -> set[bytes]:
    """Return bytes of which one occurs wherever half of the secret does, be it raw, in hex or in base64."""
    texts = [(secret, 8), (secret.hex().encode(), 16), (secret.hex().upper().encode(), 16)]
    for shift in range(3):  # It may stand behind other bytes.
        packed = base64.b64encode(b"\0" * shift + secret)
        whole = packed[4 : len(packed) - 4]
        texts += [(whole, 12), (whole.translate(bytes.maketrans(b"+/", b"-_")), 12)]
    texts.append((repr(secret)[2:-1].encode(), 24))
    return {text[at : at + size] for text, size in texts for at in range(0, len(text) - size + 1, size)}


class Scan:
    """Gathers what was left behind, and the secrets that must not be in it."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.left: dict[str, bytes] = {}

    def leave(self, where: str, what: str | bytes) -> None:
        if isinstance(what, str):
            shown = _TOKEN_HEADER.sub(r"\1", _COOKIE_HEADER.sub(r"\1", what))
            what = shown.encode("utf-8", "backslashreplace")
        self.left[where] = self.left.get(where, b"") + what

    def leaks(self) -> set[tuple[str, bytes]]:
        """Return where which piece of a secret stands."""
        wanted = {piece for token in self.tokens for piece in pieces(urlsafe_b64decode(token.partition(".")[0])[16:])}
        wanted |= {token.partition(".")[2].encode()[:20] for token in self.tokens}  # The signature.
        wanted |= {KEY.encode(), CLAIMS_KEY.encode()}
        return {(where, piece) for where, what in self.left.items() for piece in wanted if piece in what}


class Keeper(logging.Handler):
    """Leaves every log record to the scan: the line, its arguments, and its traceback with all locals."""

    def __init__(self, scan: Scan) -> None:
        super().__init__(logging.DEBUG)
        self.scan = scan

    def emit(self, record: logging.LogRecord) -> None:
        self.scan.leave(f"the log {record.name}", f"{record.getMessage()} {record.__dict__!r}\n")
        if record.exc_info and record.exc_info[1] is not None:
            self.scan.leave(f"a traceback in the log {record.name}", with_locals(record.exc_info[1]))


def with_locals(error: BaseException) -> str:
    """Return a traceback as a debugger or Sentry shows it."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@contextmanager
def kept_logs(scan: Scan) -> Iterator[None]:
    root, handler = logging.getLogger(), Keeper(scan)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def open_site(scan: Scan, clock: FakeClock, store: Store) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=KEY, IDLESESSION_IDLE_TIMEOUT=100, IDLESESSION_CLIENT_INFO="full")
    app.config.update(IDLESESSION_ACTIVITY=lambda request: "bad" not in request.args or 1 / 0)
    app.config.update(IDLESESSION_TOKEN_HEADER="X-Session", IDLESESSION_KEEP_FORMS=10_000)
    app.config.update(IDLESESSION_CLAIMS="claims", IDLESESSION_CLAIMS_KEY=CLAIMS_KEY)
    IdleSession(app, clock=clock, store=store)

    def enter(user: str) -> str:
        log_in(user)
        session["name"] = user
        return repr(session)

    def leave() -> str:
        log_out()
        return repr(session)

    def fail() -> str:
        ours, credential = session._get_current_object(), session._facts.credential  # type: ignore[attr-defined]
        raise RuntimeError(f"{ours!r} {credential!r} {session_info()!r}")  # type: ignore[attr-defined]

    def spoil() -> str:
        session["spoilt"] = object()
        return "kept"

    def again() -> str:
        reauthenticate()
        return repr(session_info())  # type: ignore[attr-defined]

    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        ours: Any = session._get_current_object()  # type: ignore[attr-defined]
        return repr({name: getattr(ours, name, None) for name in type(ours).__slots__} | vars(ours))

    for rule, view in (
        ("/in/<user>", enter),
        ("/out", leave),
        ("/fail", fail),
        ("/spoil", spoil),
        ("/again", again),
        ("/rotate", rotate),
        ("/read", lambda: f"{dict(session)} {session_ending()!r}"),  # type: ignore[attr-defined]
        ("/write", lambda: session.update(a=[1]) or "written"),
        ("/others", lambda: str(revoke_others())),
        ("/form", csrf_token),
        ("/mine", lambda: repr(sessions_of(current_user_id()))),  # type: ignore[attr-defined]
    ):
        app.add_url_rule(rule, rule, view)

    app.add_url_rule("/letter", "letter", login_required(lambda: repr(kept_form())), methods=["GET", "POST"])

    @app.errorhandler(StoreError)
    def store_failed(error: StoreError) -> Any:
        scan.leave("a traceback of a store that failed", with_locals(error))
        return error

    return app


class Visitor:
    """A browser, of which everything is left to the scan that a server, a log or a proxy may see."""

    def __init__(self, app: Flask, scan: Scan, *, by_header: bool = False) -> None:
        self.client, self.scan, self.by_header = app.test_client(use_cookies=False), scan, by_header
        self.token = ""

    def ask(self, path: str, token: str | None = None, **how: Any) -> int:
        token = self.token if token is None else token
        headers = {"X-Session": token} if self.by_header else {"Cookie": f"session={token}"} if token else {}
        response = self.client.open(path, headers={"User-Agent": "scan/1", **headers}, **how)
        for name, value in response.headers:
            if name not in ("Set-Cookie", "X-IdleSession-Token") or value.startswith("claims="):
                self.scan.leave(f"the header {name}", value)
            elif value and "session=;" not in value:
                self.token = value.partition(";")[0].removeprefix("session=")
                self.scan.tokens.add(self.token)
        self.scan.leave(f"the body of {path}", response.data)
        return response.status_code


def live_through(app: Flask, scan: Scan, clock: FakeClock, break_store: Callable[[], None]) -> None:
    """Visit, log in, rotate, fail in every way, log out; leave all to the scan."""

    def note_error(sender: Flask, exception: BaseException, **_: object) -> None:
        scan.leave("a traceback with locals", with_locals(exception))

    def listen(sender: Flask, **_: object) -> None:
        raise RuntimeError("of a receiver")

    with kept_logs(scan), got_request_exception.connected_to(note_error, app):
        for by_header in (False, True):
            visitor, other = Visitor(app, scan, by_header=by_header), Visitor(app, scan)
            for path in ("/read", "/write", "/read", "/in/ada", "/mine", "/rotate", "/again", "/read"):
                assert visitor.ask(path) == 200, path
            other.ask("/in/ada")
            assert [visitor.ask(path) for path in ("/fail", "/spoil", "/read?bad=1")] == [500, 500, 200]
            with session_loaded.connected_to(listen, app):
                assert visitor.ask("/write") == 200
            for bad in (visitor.token[:-1], visitor.token + "x", visitor.token.replace(".", "'"), visitor.token[70:]):
                visitor.ask("/read", bad)
            spoil_stored(app, visitor)
            visitor.ask("/read")
            visitor.ask("/in/grace")
            assert visitor.ask("/others") == 200 and visitor.ask("/mine") == 200
            leave_reprs(app, scan, visitor)
            visitor.ask("/out")
            visitor.ask("/read")
            visitor.ask("/in/ada")
            clock.advance(101)
            assert visitor.ask("/letter", method="POST", data={"text": "Dear Ada", "password": "hunter2"}) == 401
            visitor.ask("/write")
            visitor.ask("/in/ada")
            assert visitor.ask("/form") == 200 and visitor.ask("/letter") == 200
        visitor = Visitor(app, scan)
        visitor.ask("/in/ada")
        break_store()
        for path in ("/read", "/write", "/in/ada", "/out", "/mine"):
            visitor.ask(path)


def spoil_stored(app: Flask, visitor: Visitor) -> None:
    """Put bytes that cannot be decoded in the place of a value."""
    manager = app.extensions["idlesession"].manager
    credential = app.session_interface._signers.tokens.read(visitor.token)  # type: ignore[attr-defined]
    manager.store.commit(credential.sid, Change(holder=credential.holder, delta={"name": b"\xc1"}), now=manager.now())


_WALKED = (dict, list, tuple, set, frozenset, types.FunctionType, types.MethodType, types.CellType)


def package_objects(*roots: object) -> list[object]:
    """Return the package's own objects that can be reached from these."""
    found: list[object] = []
    seen: dict[int, object] = {}
    todo = list(roots)
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, type | types.ModuleType | Flask):
            continue
        seen[id(each)] = each  # Which keeps it, and so its id.
        is_ours = type(each).__module__.startswith("flask_idlesession")
        if is_ours:
            found.append(each)
        if is_ours or isinstance(each, _WALKED):
            if isinstance(each, types.FunctionType):
                todo.extend(each.__closure__ or ())
                continue
            todo.extend(gc.get_referents(each))
    return found


def leave_reprs(app: Flask, scan: Scan, visitor: Visitor) -> None:
    with app.test_request_context("/read", headers={"Cookie": f"session={visitor.token}"}):
        ours = session._get_current_object()  # type: ignore[attr-defined]
        len(ours)
        objects = package_objects(app.extensions["idlesession"], app.session_interface, ours)
    kinds = {type(each).__name__ for each in objects}
    assert {"AppState", "Runtime", "SessionManager", "Tokens", "Credential", "Session", "Settings"} <= kinds
    assert kinds & {"Record", "PackedRecord", "RowRecord"}
    for each in objects:
        scan.leave(f"the repr of {type(each).__name__}", f"{each!r} {each!s}")


def break_nothing() -> None:
    """Leave the store as it is."""


@pytest.fixture
def scan() -> Scan:
    return Scan()


def assert_clean(scan: Scan, *kinds: str) -> None:
    assert len(scan.tokens) > 10
    for kind in (
        "the body",
        "the header",
        "the log flask_idlesession",
        "the log flask_idlesession.audit",
        "a traceback with locals",
        "a traceback in the log",
        *kinds,
    ):
        assert any(where.startswith(kind) for where in scan.left), kind
    leaks = scan.leaks()
    assert not leaks, sorted({where for where, _ in leaks})


def test_nothing_is_left_of_tokens_with_an_sqlite_file(scan: Scan, clock: FakeClock, tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"

    def break_store() -> None:
        for file in tmp_path.iterdir():
            scan.leave(f"the file {file.name}", file.read_bytes())
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DROP TABLE session")

    with closing(SQLiteStore(path)) as store:
        app = open_site(scan, clock, store)
        live_through(app, scan, clock, break_store)
    assert_clean(scan, "the file sessions.db-wal", "the file sessions.db", "a traceback of a store")


def test_nothing_is_left_of_tokens_with_a_journal(scan: Scan, clock: FakeClock, tmp_path: Path) -> None:
    store = JournalStore(tmp_path / "sessions.journal", now=clock(), durability="always")
    with closing(store):
        app = open_site(scan, clock, store)
        live_through(app, scan, clock, break_nothing)
    for file in tmp_path.iterdir():
        scan.leave(f"the file {file.name}", file.read_bytes())
    assert_clean(scan, "the file sessions.journal")
    assert len(scan.left["the file sessions.journal"]) > 2000


def test_nothing_is_left_of_tokens_in_redis(scan: Scan, clock: FakeClock, redis_server: Any) -> None:
    client, dump = redis_server.client(), redis_server.client()

    def break_store() -> None:
        for name in dump.keys(f"{PREFIX}*"):
            scan.leave("the dump", name + dump.dump(name))
            if dump.type(name) == b"hash":
                scan.leave("the hashes", b"".join(b"".join(pair) for pair in dump.hgetall(name).items()))
        client.connection_pool = redis.ConnectionPool(port=1)

    app = open_site(scan, clock, RedisStore(client, prefix=PREFIX))
    live_through(app, scan, clock, break_store)
    assert_clean(scan, "the dump", "the hashes", "a traceback of a store")


# Where the token is, while it is read and made.

#: The functions that have a token or a secret in a variable. None of them can fail in any other way than for want of
#: memory, or calls what can with it.
MAY_HOLD = {
    "Credential.__init__",
    "Credential.new",
    "TokenHeader.find",
    "TokenHeader.is_used",
    "TokenHeader.tell",
    "IdleSessionInterface._find_credential",
    "find_tokens",
    "IdleSessionInterface._read_shown",
    "IdleSessionInterface._read_shown.<locals>.<listcomp>",
    "IdleSessionInterface._read_shown.<locals>.<genexpr>",
    "IdleSessionInterface._shown_tokens",
    "IdleSessionInterface._has_others",
    "IdleSessionInterface._has_others.<locals>.<genexpr>",
    "Signers.tokens_of",
    "Signers.has_signed",
    "IdleSessionInterface.open_session",
    "OtherProcesses.join",
    "Tokens.__init__",
    "Tokens.__init__.<locals>.<listcomp>",
    "Tokens.is_well_formed",
    "Tokens.issue",
    "Tokens.read",
    "Tokens.read.<locals>.<genexpr>",
    "fingerprint",
    "hidden",
    "open_claims",
    "read_settings",
    "read_settings.<locals>.<genexpr>",
    "token_of",
    "_plain_cookie",
    "_signer",
    "_fault_in_keys",
    "_weaknesses",
    "_weaknesses.<locals>.<genexpr>",
    "fault_in",
    "fault_in.<locals>.<listcomp>",
    "_weakness_of",
    "weaknesses_of",
    "weaknesses_of.<locals>.<listcomp>",
    "digest",
    "new_secret",
}


def test_only_a_few_functions_ever_hold_a_token(scan: Scan, clock: FakeClock, tmp_path: Path) -> None:
    shown: dict[str, list[str]] = {}

    def watch(frame: types.FrameType, event: str, value: object) -> Any:
        if not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return None
        if event in ("line", "return"):
            place = frame.f_code.co_qualname
            for each in (*frame.f_locals.values(), value):
                if isinstance(each, str | bytes | tuple | list | dict):
                    shown.setdefault(place, []).append(each if isinstance(each, str) else repr(each))
        return watch

    with closing(SQLiteStore(tmp_path / "sessions.db")) as store:
        app = open_site(scan, clock, store)
        sys.settrace(watch)
        try:
            for by_header in (False, True):
                visitor = Visitor(app, scan, by_header=by_header)
                for path in (
                    "/write",
                    "/in/ada",
                    "/rotate",
                    "/again",
                    "/form",
                    "/mine",
                    "/others",
                    "/read",
                    "/fail",
                    "/out",
                ):
                    visitor.ask(path)
        finally:
            sys.settrace(None)
    scan.left.clear()
    for place, texts in shown.items():
        scan.leave(place, "\n".join(set(texts)))
    holders = {where for where, _ in scan.leaks()}
    assert holders - MAY_HOLD == set()
    assert {"Tokens.read", "Credential.__init__"} <= holders  # The watch sees what there is.


# Keys.


@pytest.mark.parametrize(
    "wrong",
    [
        {"IDLESESSION_IDLE_TIMEOUT": -5},
        {"IDLESESSION_IDLE_TIMEOUT": 90_000},
        {"IDLESESSION_PRESET": "none"},
        {"IDLESESSION_PRESET": "nist-aal3", "PERMANENT_SESSION_LIFETIME": 0},
        {"IDLESESSION_IDEL_TIMEOUT": 1},
        {"IDLESESSION_STORE": "nothing"},
        {"IDLESESSION_ENCRYPTION_KEYS": [KEY, "short"]},
        {"IDLESESSION_CLAIMS": "session", "IDLESESSION_CLAIMS_KEY": "another, of 32 bytes and longer than that"},
        {"IDLESESSION_CLAIMS": "claims", "IDLESESSION_CLAIMS_KEY": KEY},
        {"IDLESESSION_CLAIMS": "claims", "IDLESESSION_CLAIMS_KEY": f"-----BEGIN PRIVATE KEY-----\n{KEY}"},
        {"IDLESESSION_BIND_ADDRESS": "end", "IDLESESSION_CLIENT_INFO": None},
        {"IDLESESSION_STORE": "sqlite:///x.db", "IDLESESSION_JOURNAL": "y"},
        {"SESSION_COOKIE_SAMESITE": "None"},
        {"SESSION_COOKIE_NAME": "__Host-x"},
    ],
    ids=str,
)
def test_a_complaint_about_the_config_shows_no_key(scan: Scan, wrong: dict[str, Any], tmp_path: Path) -> None:
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    app.config.update({"SECRET_KEY": KEY, "IDLESESSION_ENCRYPTION_KEYS": [KEY + KEY], **wrong})
    with pytest.raises(ConfigError) as raised:
        IdleSession(app)
    wrong = {}  # Which is in a frame of the traceback, too.
    scan.leave("the complaint", with_locals(raised.value))
    assert not scan.leaks()


# The scan finds what it looks for.


@pytest.mark.parametrize(
    "show",
    [
        lambda token, secret: token,
        lambda token, secret: f"other={token}",
        lambda token, secret: f"Set-Cookie: other={token}",
        lambda token, secret: token.partition(".")[0],
        lambda token, secret: token.partition(".")[2],
        lambda token, secret: token[20:64],
        lambda token, secret: secret,
        lambda token, secret: secret[:16],
        lambda token, secret: secret[9:],
        lambda token, secret: secret.hex(),
        lambda token, secret: secret.hex().upper(),
        lambda token, secret: secret.hex()[3:50],
        lambda token, secret: repr(secret),
        lambda token, secret: base64.b64encode(secret),
        lambda token, secret: base64.b64encode(b"xy" + secret),
        lambda token, secret: base64.urlsafe_b64encode(b"x" + secret + b"yz"),
        lambda token, secret: repr({"key": KEY}),
    ],
)
def test_the_scan_finds_what_is_planted(scan: Scan, show: Callable[[str, bytes], str | bytes]) -> None:
    for _ in range(20):
        credential = Credential.new()
        token = Tokens([KEY]).issue(credential)
        scan.tokens = {token}
        planted = show(token, credential.secret)
        scan.left = {}
        scan.leave("anywhere", "before " + planted if isinstance(planted, str) else b"before \xff" + planted)
        assert scan.leaks()


def test_the_scan_finds_no_secret_in_ids_and_digests(scan: Scan) -> None:
    credential = Credential.new()
    token = Tokens([KEY]).issue(credential)
    scan.tokens = {token}
    scan.leave("anywhere", f"{credential!r} {credential.sid} {credential.holder!r} {credential.holder.hex()}")
    scan.leave("a request", f"{{'HTTP_COOKIE': 'session={token}', 'PATH_INFO': '/'}}")
    assert not scan.leaks()


@pytest.mark.parametrize(
    ("name", "leak"),
    [
        ("__repr__", lambda self: f"<Credential {self.secret.hex()}>"),
        ("__repr__", lambda self: f"<Credential {base64.b64encode(self.sid.bytes + self.secret)!r}>"),
    ],
)
def test_the_scan_finds_a_representation_that_shows_the_secret(
    scan: Scan, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, leak: Any
) -> None:
    monkeypatch.setattr(Credential, name, leak)
    with closing(SQLiteStore(tmp_path / "sessions.db")) as store:
        live_through(open_site(scan, clock, store), scan, clock, break_nothing)
    places = {where for where, _ in scan.leaks()}
    assert {"the repr of Credential", "a traceback with locals", "the body of /rotate"} <= places


def test_the_scan_finds_a_log_line_that_shows_a_token(
    scan: Scan, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = Tokens.issue

    def issue_and_tell(tokens: Tokens, credential: Credential) -> str:
        token = issue(tokens, credential)
        logging.getLogger("careless").debug("A token was issued: %s", token)
        return token

    monkeypatch.setattr(Tokens, "issue", issue_and_tell)
    with closing(SQLiteStore(tmp_path / "sessions.db")) as store:
        live_through(open_site(scan, clock, store), scan, clock, break_nothing)
    assert any(where == "the log careless" for where, _ in scan.leaks())
