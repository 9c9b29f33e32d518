"""Runs the tests of Flask and of its extensions, from their source packages, with these sessions in place of Flask's.

    python tests/system/others.py [Flask Flask-Login …]

Each package's tests run twice: with Flask's sessions and with these. A test counts if it passes with Flask's. One that
fails with these alone is printed, and is an error unless the table below says why. Nothing is kept: the
packages are downloaded into a temporary folder, beside an environment of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package, what its tests need beside it, and which of them these sessions cannot pass."""

    needs: Sequence[str] = ()
    #: Where the tests are within the source package.
    tests: str = "tests"
    #: Options for pytest.
    options: Sequence[str] = ()
    #: Functions of the tests that read the content of the cookie. A test that calls one may fail with these sessions.
    readers: Sequence[str] = ()
    #: Other tests that these sessions do not pass, each with the reason.
    apart: Mapping[str, str] = field(default_factory=dict)


_NO_COOKIE = "expects a Set-Cookie with each write; the cookie here has no values, and stays as it is"

PACKAGES = {
    "Flask": Package(needs=["asgiref", "python-dotenv"], apart={"test_session_using_samesite_attribute": _NO_COOKIE}),
    "Flask-Login": Package(
        needs=["asgiref", "semantic-version"],
        apart={
            "test_session_protection_strong_deletes_session": "a browser that is turned away keeps nothing here",
        },
    ),
    "Flask-WTF": Package(needs=["email-validator", "Flask-Babel"]),
    "Flask-SocketIO": Package(
        needs=["redis", "simple-websocket"],
        tests="test_socketio.py",
        apart={"test_unmanaged_session": "expects that a cookie's session stores nothing in events; here it does"},
    ),
    "Flask-Caching": Package(needs=["asgiref", "pytest-asyncio", "pytest-xprocess", "psutil"]),
    "pytest-flask": Package(),
    "Flask-Security": Package(
        needs=[
            *("asgiref", "authlib", "requests", "freezegun", "argon2-cffi", "bcrypt", "nh3", "zxcvbn", "Flask-Babel"),
            *(
                "Flask-Mail",
                "Flask-SQLAlchemy",
                "Flask-SQLAlchemy-Lite",
                "sqlalchemy<2.1",
                "sqlalchemy-utils",
                "peewee",
            ),
            *("mongoengine", "mongomock", "cryptography", "qrcode", "phonenumberslite", "webauthn", "cbor2"),
        ],
        apart={
            "test_no_cache_control": "expects no Cache-Control; an answer that brings a token is private here",
            "test_cp_with_token_cookie_expire": "comes back after a day, when the session is over here",
            "test_refresh_cookie": "expects that a cookie of the session is left after a log-out",
        },
        readers=["get_session", "get_existing_session"],
    ),
    "Flask-Admin": Package(
        needs=[
            *("asgiref", "Flask-Babel", "Flask-SQLAlchemy", "Flask-SQLAlchemy-Lite", "sqlalchemy-utils", "colour"),
            *("email-validator", "arrow", "peewee", "wtf-peewee", "pillow", "tablib", "redis", "beautifulsoup4"),
        ],
        tests="flask_admin/tests",
        options=["--continue-on-collection-errors"],  # Those for the clouds and MongoDB need their clients.
    ),
    "Flask-Limiter": Package(
        needs=[
            *(
                "asgiref",
                "hiro",
                "pytest-mock",
                "pytest-check",
                "lovely-pytest-docker",
                "redis",
                "pymemcache",
                "pymongo",
            ),
            *("Flask-RESTful", "flask-restx", "rich"),
        ],
        apart=dict.fromkeys(
            [
                "test_invalid_decorated_dynamic_limits_blueprint",
                "test_invalid_decorated_static_limit_blueprint",
                "test_invalid_decorated_dynamic_limits",
                "test_invalid_decorated_static_limits",
                "test_logging",
            ],
            "counts all lines of the log; one at the start is of these sessions",
        ),
    ),
    "Flask-Talisman": Package(tests="flask_talisman/talisman_test.py"),
    "flask-sock": Package(),
    "sentry-sdk": Package(
        needs=["Flask-Login", "pytest-localserver", "pytest-forked", "brotli", "jsonschema"],
        tests="tests/integrations/flask",
    ),
}

#: What is put into the processes of the tests. It counts the tests that use a session.
PLUGIN = """
import json, os
import flask
from flask.sessions import SecureCookieSessionInterface

current, used, outcomes, reading = None, set(), {}, set()
readers = set(os.environ["IDLESESSION_READERS"].split())
ours = os.environ["IDLESESSION_IN_PLACE"] == "1"

def note(session):
    if current is not None and getattr(session, "accessed", False):
        used.add(current)

def watch(interface):
    save = interface.save_session
    def save_session(self, app, session, response):
        note(session)
        return save(self, app, session, response)
    interface.save_session = save_session

if ours:
    from flask_idlesession import IdleSession
    from flask_idlesession.web.interface import IdleSessionInterface
    watch(IdleSessionInterface)
    first = flask.Flask.__init__
    def __init__(self, *args, **kwargs):
        first(self, *args, **kwargs)
        if type(self).session_interface is flask.Flask.session_interface:  # The class has no sessions of its own.
            IdleSession(self)
    flask.Flask.__init__ = __init__
else:
    watch(SecureCookieSessionInterface)

def names_in(code):
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from names_in(constant)

def pytest_itemcollected(item):
    code = getattr(getattr(item, "function", None), "__code__", None)
    if code is not None and readers.intersection(names_in(code)):
        reading.add(item.nodeid)

def pytest_runtest_logstart(nodeid, location):
    global current
    current = nodeid

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcomes[report.nodeid] = report.outcome

def pytest_sessionfinish(session):
    with open(os.environ["IDLESESSION_RESULT"], "w") as file:
        json.dump({"used": sorted(used), "outcomes": outcomes, "reading": sorted(reading)}, file)
"""


def main(names: Iterable[str]) -> int:
    """Run the tests of these packages; return how many fail that should not."""
    faults = 0
    with tempfile.TemporaryDirectory(prefix="idlesession-others-") as name:
        folder = Path(name)
        (folder / "in_place.py").write_text(PLUGIN, encoding="utf-8")
        for package in names:
            faults += run_one(package, PACKAGES[package], folder)
    return faults


def run_one(name: str, package: Package, folder: Path) -> int:
    """Run the tests of one package, and print how they went."""
    source = download(name, folder / name)
    python = make_environment(name, package, folder / name)
    theirs = run_tests(source, package, python, folder, ours=False)
    ours = run_tests(source, package, python, folder, ours=True)
    passed = {test for test, outcome in theirs["outcomes"].items() if outcome == "passed"}
    failed = sorted(test for test in passed if ours["outcomes"].get(test) != "passed")
    using = passed & {*theirs["used"], *ours["used"]}
    apart = package.apart
    reading = [test for test in failed if test in ours["reading"]]
    failed = [test for test in failed if test not in reading]
    wrong = [test for test in failed if not any(test.endswith(f"::{each}") for each in apart)]
    print(f"{source.name}: {len(passed)} tests pass with Flask's sessions, {len(using)} of them use one.", flush=True)
    passing = passed.difference(failed, reading)
    print(f"  With these sessions {len(passing)} of them pass, and {len(using & passing)}.")
    if reading:
        print(f"  {len(reading)} that do not pass read the content of the cookie.")
    for test in failed:
        why = next((why for each, why in apart.items() if test.endswith(f"::{each}")), "A FAULT")
        print(f"  {test}: {why}")
    return len(wrong) + (not passed)


def download(name: str, folder: Path) -> Path:
    """Return the folder of the package's source."""
    folder.mkdir(parents=True)
    ask = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder), name]
    subprocess.run(ask, cwd=folder, check=True)
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def make_environment(name: str, package: Package, folder: Path) -> Path:
    """Return the Python of an environment with the package, with what its tests need, and with these sessions."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    wanted = ["pytest<9", name, *package.needs, str(CHECKOUT)]
    subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], cwd=folder, check=True)
    return python


def run_tests(source: Path, package: Package, python: Path, folder: Path, *, ours: bool) -> dict[str, dict[str, str]]:
    """Return what became of each test, and which of them use a session."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    told = {"IDLESESSION_IN_PLACE": str(int(ours)), "IDLESESSION_RESULT": str(result), "PYTHONPATH": str(folder)}
    told["IDLESESSION_READERS"] = " ".join(package.readers)
    command = [str(python), "-m", "pytest", "-q", "-p", "in_place", "-o", "addopts=", *package.options]
    subprocess.run(
        [*command, package.tests], cwd=source, env={**os.environ, **told}, stdout=subprocess.DEVNULL, check=False
    )
    read: dict[str, dict[str, str]] = json.loads(result.read_text(encoding="utf-8"))
    return read


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(PACKAGES)}; all by default")
    chosen = parser.parse_args().packages or list(PACKAGES)
    sys.exit(main(chosen) and 1)
