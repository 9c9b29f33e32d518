"""Files that an older version wrote: every session in them opens with the token issued then, or is over as it was."""

import json
import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from flask import Flask
from flask import session
from support import formats
from support.formats import NOW

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_out
from flask_idlesession import session_ending
from flask_idlesession import session_info
from flask_idlesession.testing import FakeClock

#: A folder for each version that changed a format, each with one folder of plain values and one of encrypted ones.
FOLDERS = sorted((Path(__file__).parents[1] / "fixtures").glob("formats-*/*"))
KINDS = [*formats.FILES, "valkey"]

#: Databases of a Redis server. In number 0, and in the one before, an application of another test may still prune by
#: its own clock.
DATABASES = cycle(range(1, 16))

#: What is true of the sessions that live: their user, and in how many seconds they end.
LIVE: dict[str, dict[str, Any]] = {
    "anonymous": {"user": None, "left": 1800.0, "permanent": False},
    "logged in": {"user": "ada", "left": 1800.0, "permanent": False},
    "permanent": {"user": None, "left": 1800.0, "permanent": True},
    "rotated": {"user": None, "left": 1800.0, "permanent": False},
    "of its own timeout": {"user": None, "left": formats.OWN_TIMEOUT, "permanent": False},
    "remembered": {"user": "grace", "left": 7200.0, "permanent": True},
}

#: How the others ended: for which reason, when, whose they were, and who ended them.
ENDED = {
    "idle": ("idle", NOW - 1200, None, None),
    "lifetime": ("lifetime", NOW - 2400, "grace", None),
    "logged out": ("logged out", NOW, None, None),
    "revoked": ("revoked", NOW, None, "an administrator"),
}


@dataclass
class Upgraded:
    """An application of today on what an old version left; ``tokens`` are those that it issued, by session."""

    app: Flask
    clock: FakeClock
    tokens: dict[str, list[str]]
    seen: dict[str, Any]

    def ask(self, token: str, path: str = "/show") -> dict[str, Any]:
        """Send a token; return what the view saw."""
        self.seen.clear()
        browser = self.app.test_client()
        browser.set_cookie("session", token)
        assert browser.post(path, environ_base=formats.ENVIRON).status_code == 200
        return dict(self.seen)


@pytest.fixture(params=FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Fill a store of each kind; return the settings that lead to it."""
    kind = request.param
    file = folder / formats.FILES["redis" if kind == "valkey" else kind]
    if kind == "journal":
        yield {"IDLESESSION_JOURNAL": formats.copy_file(file, tmp_path)}
    elif kind == "sqlite":
        yield {"IDLESESSION_STORE": f"sqlite:///{formats.copy_file(file, tmp_path)}"}
    elif kind in ("redis", "valkey"):
        server = request.getfixturevalue(f"{kind}_server")
        database = next(DATABASES)
        with closing(server.client(db=database)) as client:
            formats.fill_redis(client, file)
        yield {"IDLESESSION_STORE": f"{kind}://127.0.0.1:{server.port}/{database}"}
    else:
        url = formats.fill_database(request.getfixturevalue(kind).url, file)
        yield {"IDLESESSION_STORE": url.render_as_string()}


@pytest.fixture
def upgraded(settings: dict[str, Any], folder: Path, tmp_path: Path) -> Iterator[Upgraded]:
    app, clock, seen = Flask("new", instance_path=str(tmp_path)), FakeClock(NOW), {}
    app.config.update(formats.SETTINGS | settings | (formats.ENCRYPTION if folder.name == "encrypted" else {}))
    IdleSession(app, clock=clock)

    @app.post("/show")
    def show() -> str:
        seen["ending"], seen["user"] = session_ending(), current_user_id()
        if seen["ending"] is None:
            seen.update(info=session_info(), values={**session}, permanent=session.permanent)
        return ""

    @app.post("/write")
    def write() -> str:
        session["written"] = "today"
        return ""

    @app.post("/log-out")
    def leave() -> str:
        log_out()
        return ""

    yield Upgraded(app, clock, json.loads((folder / "tokens.json").read_text()), seen)
    app.extensions["idlesession"].manager.close()


def of_type(value: Any) -> Any:
    """Return the value with the types of all that is in it."""
    if isinstance(value, dict):
        return dict, {key: of_type(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [of_type(each) for each in value]
    return type(value), value, getattr(value, "fold", None), getattr(value, "tzinfo", None)


def test_there_are_files_of_each_kind() -> None:
    assert FOLDERS
    for folder in FOLDERS:
        assert {path.name for path in folder.iterdir()} == {*formats.FILES.values(), "tokens.json"}


def test_each_live_session_opens_with_its_token_and_has_its_values_user_and_end(upgraded: Upgraded) -> None:
    assert set(upgraded.tokens) == {*LIVE, *ENDED}
    for name, expected in LIVE.items():
        seen = upgraded.ask(upgraded.tokens[name][-1])
        seen["values"].pop("_permanent", None)
        assert of_type(seen["values"]) == of_type(formats.VALUES), name
        left = seen["info"].expires_at - NOW
        assert {"user": seen["user"], "left": left, "permanent": seen["permanent"]} == expected, name


def test_a_session_has_the_labels_that_it_was_given(upgraded: Upgraded) -> None:
    labels = upgraded.ask(upgraded.tokens["logged in"][-1])["info"].labels
    assert formats.LABELS.items() <= labels.items()
    assert {labels["address"], labels["first_address"]} == {"192.0.2.0/24"}
    assert {labels["agent"], labels["first_agent"]} == {"Firefox 128 on Linux"}
    assert labels["authenticated_at"] == NOW


def test_a_token_before_a_rotation_opens_its_session_as_long_as_it_would_have(upgraded: Upgraded) -> None:
    before, after = upgraded.tokens["rotated"]
    upgraded.clock.advance(9)
    assert upgraded.ask(before)["values"]
    upgraded.clock.advance(2)
    assert not upgraded.ask(before).get("values")
    assert upgraded.ask(after)["values"]


def test_the_token_before_a_log_in_opens_nothing(upgraded: Upgraded) -> None:
    before, _ = upgraded.tokens["logged in"]
    assert not upgraded.ask(before).get("values")


def test_each_ended_session_stays_ended_and_says_why(upgraded: Upgraded) -> None:
    for name, expected in ENDED.items():
        seen = upgraded.ask(upgraded.tokens[name][-1])
        assert not seen.get("values"), name
        if "IDLESESSION_JOURNAL" in upgraded.app.config:
            continue  # A journal does not keep why a session ended.
        ending = seen["ending"]
        assert (ending.reason.value, ending.ended_at, ending.user_id, ending.by) == expected, name


def test_a_session_goes_on_it_is_written_touched_and_ended(upgraded: Upgraded) -> None:
    token = upgraded.tokens["logged in"][-1]
    upgraded.clock.advance(1000)
    upgraded.ask(token, "/write")
    upgraded.clock.advance(1000)
    seen = upgraded.ask(token)
    assert seen["values"] == formats.VALUES | {"written": "today"}
    assert seen["info"].expires_at == NOW + 2000 + 1800
    upgraded.ask(token, "/log-out")
    assert upgraded.ask(token)["ending"].reason.value == "logged out"


def test_users_and_their_sessions_are_found(upgraded: Upgraded) -> None:
    manager = upgraded.app.extensions["idlesession"].manager
    assert len(list(manager.find())) == len(LIVE)
    assert [info.user_id for info in manager.find(user_id="ada")] == ["ada"]
    upgraded.clock.advance(40 * 86400)
    while manager.prune():
        pass
    assert not list(manager.find())


# A newer version's files.


def refused(settings: dict[str, Any], tmp_path: Path) -> str:
    """Return what an application is told that is to open a file; the file must stay as it is."""
    file = next(path for path in tmp_path.iterdir() if path.suffix in (".journal", ".db"))
    before = file.read_bytes()
    app = Flask("new", instance_path=str(tmp_path))
    app.config.update(formats.SETTINGS | settings)
    app.testing = True
    IdleSession(app, clock=FakeClock(NOW))
    with pytest.raises(ConfigError) as raised:
        app.test_client().get("/")
    assert file.read_bytes() == before
    assert str(file) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_journal_of_an_unknown_version_is_refused_with_its_version_and_what_to_do(
    folder: Path, tmp_path: Path
) -> None:
    file = formats.copy_file(folder / "sessions.journal", tmp_path)
    header = struct.Struct("<8sH6x8sI4x")  # Twice, so that damage to one of them loses nothing.
    content = bytearray(file.read_bytes())
    magic, version, mark, _ = header.unpack_from(content)
    newer = version + 7
    header.pack_into(content, 0, magic, newer, mark, crc32(b"%d %s" % (newer, mark)))
    content[header.size : 2 * header.size] = content[: header.size]
    file.write_bytes(content)
    message = refused({"IDLESESSION_JOURNAL": file}, tmp_path)
    assert re.search(rf"version {newer}\b.*version {version}\b.*(install|name another)", message), message


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_an_sqlite_file_of_a_newer_version_is_refused_with_its_version_and_what_to_do(
    folder: Path, tmp_path: Path
) -> None:
    file = formats.copy_file(folder / "sessions.db", tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 7}")
    message = refused({"IDLESESSION_STORE": f"sqlite:///{file}"}, tmp_path)
    assert re.search(rf"version is {version + 7}\b.*knows {version}\b.*(install|name another)", message), message
