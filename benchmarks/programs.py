"""Starts the programs that are measured beside: in a temporary folder, on a free port of 127.0.0.1, never as root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_FOLDERS = sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)
_PATIENCE = 60.0


class Missing(Exception):
    """A program that a part of the measurements needs is not installed."""


def find_program(name: str) -> str:
    """Return a program's path. Raise :exc:`Missing` if it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_FOLDERS))
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server that writes nothing to the disk; lend its URL."""
    program = find_program("redis-server")
    with a_folder() as folder:
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        with running([*command, "--appendonly", "no"], folder, port=port, stop=signal.SIGTERM):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server that does not wait for the disk; lend its URL for SQLAlchemy."""
    program, initdb = find_program("postgres"), find_program("initdb")
    with a_folder() as folder:
        data, port = folder / "data", free_port()
        prepare = [initdb, "-D", str(data), "-U", "idle", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(prepare, cwd=folder, check=True, capture_output=True, timeout=_PATIENCE, **_not_root())
        command = [program, "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
        with running([*command, "-c", "fsync=off"], folder, port=port, stop=signal.SIGINT, **_not_root()):
            yield f"postgresql+psycopg://idle@127.0.0.1:{port}/postgres"


@contextmanager
def gunicorn(application: str) -> Iterator[int]:
    """Serve an application (``module:expression``) with one worker of four threads; lend the port."""
    with a_folder() as folder:
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--workers", "1", "--threads", "4"]
        command += ["--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--chdir", str(ROOT), application]
        with running(command, folder, port=port, stop=signal.SIGTERM):
            yield port


@contextmanager
def running(command: list[str], folder: Path, *, port: int, stop: signal.Signals, **how: Any) -> Iterator[None]:
    """Run a server from when it listens on its port until the block is left."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **how)
    try:
        _wait_for(process, port, folder / "log")
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    give_up_at = time.monotonic() + _PATIENCE
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > give_up_at or process.poll() is not None:
            raise RuntimeError(f"A server did not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def a_folder() -> Iterator[Path]:
    """Lend a temporary folder that belongs to whom the servers run as."""
    with tempfile.TemporaryDirectory(prefix="idle-bench-", ignore_cleanup_errors=True) as name:
        who = _who()
        shutil.chown(name, user=who.pw_uid, group=who.pw_gid)
        yield Path(name)


def _not_root() -> dict[str, Any]:
    """Return what has a program run as nobody, where this one runs as root: PostgreSQL insists on it."""
    who = _who()
    return {} if os.geteuid() else {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def _who() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
