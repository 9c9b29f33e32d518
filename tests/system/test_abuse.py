"""What an attacker tries: to push others out, to fill memory and logs, to have code run, to put cookies in other
browsers. Each is refused, and costs little.
"""

import ast
import gc
import logging
import os
import pickle
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask import request
from flask import session
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from flask_idlesession import Change
from flask_idlesession import ConfigError
from flask_idlesession import csrf_protect
from flask_idlesession import csrf_token
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession.model.ids import Credential
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

KEY = "of the tests of what attackers try"
PACKAGE = Path(__file__).parents[2] / "flask_idlesession"


#: A request without a cookie.
BARE = create_environ("/")


def open_shop(clock: FakeClock, *, store: Store | None = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY=KEY, **config)
    IdleSession(app, clock=clock, store=store)

    @app.route("/who", methods=["GET", "POST"])
    def who() -> str:
        return f"{current_user_id()} {session.get('cart')}"

    @app.get("/put/<what>")
    def put(what: str) -> str:
        session["cart"] = what
        return "put"

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        return user

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "bye"

    @app.get("/form")
    def form() -> str:
        return csrf_token()

    @app.post("/transfer")
    @csrf_protect
    def transfer() -> str:
        session["cart"] = "transferred"
        return "done"

    return app


def ask(app: Flask, path: str, cookie: str = "", **environ: Any) -> tuple[str, str, list[str]]:
    """Return the status, the body and the Set-Cookie headers. What a server makes of a header is given as it is."""
    environ = create_environ(path) | ({"HTTP_COOKIE": cookie} if cookie else {}) | environ
    body, status, headers = run_wsgi_app(app.wsgi_app, environ, buffered=True)
    return status, b"".join(body).decode(), headers.getlist("Set-Cookie")


def cookie_from(app: Flask, path: str) -> str:
    _, _, (header,) = ask(app, path)
    return header.partition(";")[0]


# Floods.


@pytest.mark.parametrize("bound", [{"IDLESESSION_MAX_SESSIONS": 600}, {"IDLESESSION_MAX_BYTES": 300_000}])
def test_five_thousand_anonymous_first_writes_evict_no_logged_in_session(
    clock: FakeClock, bound: dict[str, int]
) -> None:
    app = open_shop(clock, **bound)
    cookies = {f"user{number}": cookie_from(app, f"/in/user{number}") for number in range(500)}
    clock.advance(1)
    for number in range(5000):
        clock.advance(0.01)
        write_first(app, str(number))
    store = app.extensions["idlesession"].manager.store
    assert 500 < len(store) < 2000  # There was room for others, and they took it from each other.
    for user, cookie in cookies.items():
        assert ask(app, "/who", cookie)[1] == f"{user} None"


def write_first(app: Flask, what: str) -> None:
    """Do what a request without a cookie does that writes; without the time that Flask takes for it."""
    interface, response = app.session_interface, app.response_class()
    ours = interface.open_session(app, app.request_class(BARE))
    assert ours is not None
    ours["cart"] = what
    interface.save_session(app, ours, response)
    assert "Set-Cookie" in response.headers


def garbage(number: int) -> str:
    """Return a cookie that is no token: of any shape, or of the right one with a wrong signature."""
    shape = number % 4
    if shape == 0:
        return f"session={number}"
    if shape == 1:
        return f"session={number:064d}.{'A' * 43}"
    if shape == 2:
        return f"session={'x' * (number % 3000)}"
    return f"session={number}; session={number + 1}"


def test_a_hundred_thousand_bad_cookies_cost_no_memory_and_one_line_in_the_log(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_shop(clock)
    interface = app.session_interface
    environ = create_environ("/who")

    def bring(numbers: range) -> None:
        for number in numbers:
            environ["HTTP_COOKIE"] = garbage(number)
            came = app.request_class(environ)
            ours = interface.open_session(app, came)
            assert ours is not None and len(ours) == 0

    with caplog.at_level(logging.DEBUG):
        bring(range(1000))
        gc.collect()
        before = sys.getallocatedblocks()
        bring(range(1000, 100_000))
        gc.collect()
        grown = sys.getallocatedblocks() - before
    assert grown < 500, grown
    lines = [record.levelno for record in caplog.records if record.name == "flask_idlesession"]
    assert lines == [logging.WARNING]
    assert len(caplog.records) <= 2  # The other one is the audit's.
    assert len(app.extensions["idlesession"].manager.store) == 0
    clock.advance(61)
    bring(range(1))
    assert "100000 since" in caplog.text


# Planted bytes.


class Canary:
    """Makes a file when it is unpickled, as a sign that somebody's code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def planted(canary: Path) -> list[bytes]:
    """Return bytes that run code in a reader that trusts them."""
    told = str(canary)
    return [
        *(pickle.dumps(Canary(canary), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        f"!!python/object/apply:os.mkdir ['{told}']".encode(),
        f'{{"__class__": "os.mkdir", "args": ["{told}"]}}'.encode(),
        f'{{"py/reduce": [{{"py/function": "os.mkdir"}}, ["{told}"]]}}'.encode(),
        b"\xc7" + bytes([len(told)]) + b"\x7f" + told.encode(),  # An extension of MessagePack that nobody knows.
        b"\x92\xa8os.mkdir\x91\xa1x",
    ]


def test_what_is_planted_does_run_where_it_is_trusted(tmp_path: Path) -> None:
    pickle.loads(planted(tmp_path / "ran")[0])
    assert (tmp_path / "ran").exists()


def open_memory(folder: Path, redis_server: Any, clock: FakeClock) -> Store:
    return MemoryStore()


def open_sqlite(folder: Path, redis_server: Any, clock: FakeClock) -> Store:
    return SQLiteStore(folder / "sessions.db")


def open_journal(folder: Path, redis_server: Any, clock: FakeClock) -> Store:
    return JournalStore(folder / "sessions.journal", now=clock())


def open_redis(folder: Path, redis_server: Any, clock: FakeClock) -> Store:
    return RedisStore(redis_server.client())


OPENERS = pytest.mark.parametrize("opener", [open_memory, open_sqlite, open_journal, open_redis])


@OPENERS
def test_no_value_of_a_store_is_ever_run(
    tmp_path: Path, redis_server: Any, clock: FakeClock, opener: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    canary = tmp_path / "ran"
    with closing(opener(tmp_path, redis_server, clock)) as store:
        app = open_shop(clock, store=store)
        for data in planted(canary):
            cookie = cookie_from(app, "/put/tea")
            plant(app, cookie, "cart", data)
            status, body, cookies = ask(app, "/who", cookie)
            assert status == "200 OK" and not cookies, data
            assert body == "None None" or "mkdir" in body, data  # It was data of another kind, and harmless.
    assert not canary.exists()


def plant(app: Flask, cookie: str, key: str, data: bytes) -> None:
    """Put bytes in the place of a value, as somebody would who can write to the store."""
    manager = app.extensions["idlesession"].manager
    credential = claim_of(app, cookie)
    manager.store.commit(credential.sid, Change(holder=credential.holder, delta={key: data}), now=manager.now())


def claim_of(app: Flask, cookie: str) -> Credential:
    with app.test_request_context("/who", headers={"Cookie": cookie}):
        assert request and session._facts.credential is not None  # type: ignore[attr-defined]
        return session._facts.credential  # type: ignore[attr-defined, no-any-return]


def test_no_column_of_the_sqlite_file_is_ever_run(tmp_path: Path, clock: FakeClock) -> None:
    canary, path = tmp_path / "ran", tmp_path / "sessions.db"
    with closing(SQLiteStore(path)) as store:
        for column in ("data", "labels", "user_id", "secret_digest", "former_digest"):
            for data in planted(canary):
                app = open_shop(clock, store=store)  # Each with a breaker of its own.
                cookie = cookie_from(app, "/in/ada")
                with closing(sqlite3.connect(path)) as database, database:
                    database.execute(f"UPDATE session SET {column} = ?", (data,))
                assert ask(app, "/who", cookie)[0][:3] in ("200", "503"), (column, data)
                clock.advance(86400)
                store.prune(now=clock(), limit=10)  # Where the cleaner was not faster.
                with closing(sqlite3.connect(path)) as database:
                    assert database.execute("SELECT count(*) FROM session").fetchone() == (0,)
    assert not canary.exists()


def test_no_field_of_redis_is_ever_run(redis_server: Any, tmp_path: Path, clock: FakeClock) -> None:
    canary, client = tmp_path / "ran", redis_server.client()
    store = RedisStore(client, prefix="planted:")
    for field in (b"cart", b"\xff", b"\xfe"):
        for data in planted(canary):
            app = open_shop(clock, store=store)  # Each with a breaker of its own.
            cookie = cookie_from(app, "/put/tea")
            (name,) = client.keys("planted:*session:*")
            client.hset(name, field, data)
            assert ask(app, "/who", cookie)[0][:3] in ("200", "503"), (field, data)
            client.delete(*client.keys("planted:*"))
    assert not canary.exists()


def test_no_journal_that_somebody_planted_is_ever_run(tmp_path: Path, clock: FakeClock) -> None:
    canary = tmp_path / "ran"
    for number, data in enumerate(planted(canary)):
        path = tmp_path / f"{number}.journal"
        path.write_bytes(data * 100)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="journal"):
            JournalStore(path, now=clock())
    assert not canary.exists()


def test_no_module_of_the_package_can_run_what_it_reads() -> None:
    forbidden = {"pickle", "marshal", "shelve", "yaml", "jsonpickle", "dill", "cloudpickle", "code", "runpy"}
    for path in PACKAGE.rglob("*.py"):
        bounded = {"pickle"} if path == PACKAGE / "integrations" / "old_values.py" else set()  # It names plain values.
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)]
            names.append(getattr(node, "module", None) or "")
            assert not {name.partition(".")[0] for name in names} & (forbidden - bounded), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), path


# Planted files.


def open_file(kind: str, path: Path) -> None:
    """Open a store in this file, and use it."""
    if kind == "journal":
        JournalStore(path, now=0.0).close()
        return
    with closing(SQLiteStore(path)) as store:
        store.next_expiry()


FILES = pytest.mark.parametrize("kind", ["sqlite", "journal"])


@FILES
def test_a_store_file_that_is_a_symbolic_link_is_refused(tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "precious"
    for content in (b"", b"of great value"):
        precious.write_bytes(content)
        precious.chmod(0o600)
        path = tmp_path / "sessions"
        path.symlink_to(precious)
        with pytest.raises(ConfigError, match="symbolic link"):
            open_file(kind, path)
        assert precious.read_bytes() == content
        path.unlink()


@FILES
def test_a_symbolic_link_to_nothing_is_refused_and_nothing_is_made(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sessions"
    path.symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="symbolic link"):
        open_file(kind, path)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("sqlite", "-wal"), ("sqlite", "-shm"), ("sqlite", "-journal"), ("journal", ".lock"), ("journal", ".new")],
)
def test_a_symbolic_link_beside_the_store_file_is_not_followed(tmp_path: Path, kind: str, suffix: str) -> None:
    path, precious = tmp_path / "sessions", tmp_path / "precious"
    open_file(kind, path)
    precious.write_bytes(b"of great value")
    beside = path.with_name(path.name + suffix)
    beside.unlink(missing_ok=True)
    beside.symlink_to(precious)
    try:
        open_file(kind, path)
    except ConfigError:
        pass
    else:
        assert suffix == ".new"
    assert precious.read_bytes() == b"of great value"


@FILES
def test_a_store_file_of_somebody_else_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions"
    open_file(kind, path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 4321)
    with pytest.raises(ConfigError, match="belongs to"):
        open_file(kind, path)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_somebody_else_left_beside_the_database_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "sessions"
    open_file("sqlite", path)
    planted_file = path.with_name(path.name + suffix)
    planted_file.touch()
    planted_file.chmod(0o666)
    with pytest.raises(ConfigError, match="other users"):
        open_file("sqlite", path)


@FILES
@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_store_file_that_others_may_open_is_refused(tmp_path: Path, kind: str, mode: int) -> None:
    path = tmp_path / "sessions"
    open_file(kind, path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_file(kind, path)


@FILES
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722, 0o1777, 0o2775])
def test_a_folder_in_which_others_could_swap_the_file_is_refused(tmp_path: Path, kind: str, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match="chmod go-w"):
        open_file(kind, folder / "sessions")
    assert not (folder / "sessions").exists()
    open_file(kind, folder / "own" / "sessions")
    assert (folder / "own").stat().st_mode & 0o777 == 0o700


# Keys that others know.

WEAK = ["dev", "secret", "changeme", "CHANGE-ME", "your-secret-key", "super secret key", "password", b"dev", "x" * 7]
WEAK += ["you-will-never-guess", "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET", "thisISaSECRET_1234", "x" * 40]


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "flask_idlesession"]


@pytest.mark.parametrize("key", WEAK)
def test_a_weak_secret_key_serves_and_is_warned_of_once(
    clock: FakeClock, key: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_shop(clock)
    app.secret_key, app.testing = key, False
    client = app.test_client()
    for _ in range(3):
        client.get("/in/ada")
        assert client.get("/who").text == "ada None"
    (line,) = lines_of(caplog)
    assert line.startswith("SECRET_KEY of the application") and "secrets.token_hex()" in line
    assert repr(key) not in line


def test_a_weak_key_among_the_fallbacks_is_warned_of(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    app = open_shop(clock)
    app.config["SECRET_KEY_FALLBACKS"] = ["changeme"]
    app.testing = False
    app.test_client().get("/who")
    (line,) = lines_of(caplog)
    assert line.startswith("A key in SECRET_KEY_FALLBACKS of")


@pytest.mark.parametrize("key", WEAK)
@pytest.mark.parametrize("mode", ["debug", "testing"])
def test_a_weak_secret_key_is_not_spoken_of_in_debug_and_in_tests(
    clock: FakeClock, key: str | bytes, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_shop(clock)
    app.secret_key, app.testing = key, False
    setattr(app, mode, True)
    client = app.test_client()
    client.get("/in/ada")
    assert client.get("/who").text == "ada None"
    assert not lines_of(caplog)


@pytest.mark.parametrize("weak", ["the key", "a fallback"])
def test_kept_forms_need_a_secret_key_that_nobody_can_guess(clock: FakeClock, weak: str) -> None:
    app = open_shop(clock)
    app.testing = False
    app.config.update(IDLESESSION_KEEP_FORMS=1000, PROPAGATE_EXCEPTIONS=True)
    if weak == "the key":
        app.secret_key = "you-will-never-guess"
    else:
        app.config["SECRET_KEY_FALLBACKS"] = ["you-will-never-guess"]
    with pytest.raises(ConfigError, match="IDLESESSION_KEEP_FORMS needs a secret key that nobody can guess") as raised:
        app.test_client().get("/who")
    assert "you-will" not in str(raised.value)
    app.debug = True
    app.test_client().get("/who")


def test_without_a_secret_key_nobody_is_logged_in(clock: FakeClock) -> None:
    app = open_shop(clock)
    app.secret_key = None
    with pytest.raises(RuntimeError, match="secret"):
        app.test_client().get("/in/ada")


# Requests that another site has sent.


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "http://localhost.evil.test"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
    ids=str,
)
def test_a_post_from_another_origin_is_refused_even_with_the_right_token(
    clock: FakeClock, headers: dict[str, str]
) -> None:
    client = open_shop(clock).test_client()
    client.get("/in/ada")
    token = client.get("/form").text
    assert client.post("/transfer", data={"csrf_token": token}, headers=headers).status_code == 403
    assert client.get("/who").text == "ada None"
    assert client.post("/transfer", data={"csrf_token": token}).status_code == 200


@pytest.mark.parametrize("sent", [{}, {"csrf_token": ""}, {"csrf_token": "A" * 43}, {"csrf_token": "é"}, "theirs"])
def test_a_post_without_the_sessions_own_token_is_refused(clock: FakeClock, sent: Any) -> None:
    app = open_shop(clock)
    client, mallory = app.test_client(), app.test_client()
    for each, user in ((client, "ada"), (mallory, "mallory")):
        each.get(f"/in/{user}")
    if sent == "theirs":
        sent = {"csrf_token": mallory.get("/form").text}
    assert client.post("/transfer", data=sent).status_code == 403
    assert client.get("/who").text == "ada None"


# Tokens in other places, and cookies from other places.


def test_a_token_or_an_id_in_the_url_a_form_or_a_header_opens_nothing(clock: FakeClock) -> None:
    app = open_shop(clock)
    cookie = cookie_from(app, "/in/ada")
    token, sid = cookie.partition("=")[2], str(claim_of(app, cookie).sid)
    client = app.test_client(use_cookies=False)
    for shown in (token, sid):
        for name in ("session", "sid", "session_id", "token", "PHPSESSID", "jsessionid"):
            field = urlencode({name: shown})
            assert client.get(f"/who?{field}").text == "None None"
            assert client.post("/who", data={name: shown}).text == "None None"
            assert client.post("/who", json={name: shown}).text == "None None"
            assert client.get(f"/who;{field}").status_code == 404
        for name in ("Authorization", "X-Session", "X-Session-Token", "X-IdleSession-Token", "X-Auth-Token", "Cookie2"):
            for value in (shown, f"Bearer {shown}", f"session={shown}"):
                assert client.get("/who", headers={name: value}).text == "None None"


@pytest.mark.parametrize(
    "name", ["__host-id", "__HOST-ID", "__Host-ID", "__Host-id ", " __Host-Id", "__Secure-id", "id"]
)
def test_a_cookie_whose_name_is_nearly_ours_is_not_ours(clock: FakeClock, name: str) -> None:
    app = open_shop(clock, SESSION_COOKIE_NAME="__Host-id", SESSION_COOKIE_SECURE=True)
    ada, mallory = (cookie_from(app, f"/in/{user}").partition("=")[2] for user in ("ada", "mallory"))
    if name.strip() != "__Host-id":
        assert ask(app, "/who", f"{name}={mallory}")[1] == "None None"
        assert ask(app, "/who", f"{name}={mallory}; __Host-id={ada}")[1] == "ada None"
        assert ask(app, "/who", f"__Host-id={ada}; {name}={mallory}")[1] == "ada None"


def test_a_cookie_that_another_domain_tossed_in_lets_nobody_into_another_session(clock: FakeClock) -> None:
    app = open_shop(clock)
    ada, mallory = (cookie_from(app, f"/in/{user}").partition("=")[2] for user in ("ada", "mallory"))
    for one, other in ((ada, mallory), (mallory, ada), (ada, "x"), ("x", ada), (ada, ""), (ada, ada)):
        expected = "None None" if mallory in (one, other) else "ada None"
        for between in ("; ", ";", ";;", " ; ", "; a=b; "):
            for quote in ("", '"'):
                cookie = f"session={one}{between}session={quote}{other}{quote}"
                status, body, cookies = ask(app, "/who", cookie)
                assert (status, body, cookies) == ("200 OK", expected, []), cookie


@pytest.mark.parametrize("toss", ["=session={}", "==session={}", " =session={}", "x=session={}", "session%3D={}"])
def test_a_cookie_without_a_name_is_not_taken_for_ours(clock: FakeClock, toss: str) -> None:
    app = open_shop(clock)
    ada, mallory = (cookie_from(app, f"/in/{user}").partition("=")[2] for user in ("ada", "mallory"))
    tossed = toss.format(mallory)
    assert ask(app, "/who", tossed)[1] == "None None"
    assert ask(app, "/who", f"session={ada}; {tossed}")[1] == "ada None"


HEADERS = [
    "",
    ";",
    "=",
    "session",
    "session=",
    'session="',
    "session=%00",
    "session=\x00\x01\x7f",
    "session=\r\nSet-Cookie: a=b",
    "session=\xff\xfe",
    "session=\udcff",
    "session=../../etc/passwd",
    "session='; DROP TABLE session; --",
    "session=" + "A" * 100_000,
    "session=\\" * 10_000,
    "; ".join(f"a{number}={number}" for number in range(5000)),
    "session=" + "A" * 64 + "." + "A" * 43,
    "session=" + "\u0661" * 64 + "." + "A" * 43,
    'session="\\0' + "\\073" * 500 + '"',
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: ascii(header)[:24])
def test_garbage_in_the_cookie_header_is_an_anonymous_request(clock: FakeClock, header: str) -> None:
    app = open_shop(clock)
    assert ask(app, "/who", header) == ("200 OK", "None None", [])


@pytest.mark.parametrize("name", ["Authorization", "X-Session"])
@pytest.mark.parametrize("header", HEADERS, ids=lambda header: ascii(header)[:24])
def test_garbage_in_the_token_header_is_an_anonymous_request(clock: FakeClock, header: str, name: str) -> None:
    app = open_shop(clock, IDLESESSION_TOKEN_HEADER=name)
    key = "HTTP_" + name.upper().replace("-", "_")
    value = header.partition("=")[2]
    for sent in (value, f"Bearer {value}", f"bearer\t{value}", f"Basic {value}"):
        status, body, cookies = ask(app, "/who", **{key: sent})
        assert (status, body, cookies) == ("200 OK", "None None", [])
