"""Starts SQL servers of the tests' own: in a temporary folder, on a free port of 127.0.0.1, never as root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import pytest

_FOLDERS = (*sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True), "/usr/sbin", "/usr/local/sbin", "/usr/libexec")


class Server:
    """A server process; ``url`` is what SQLAlchemy opens it by."""

    def __init__(self, command: list[str], url: str, *, port: int, folder: Path) -> None:
        self.command, self.url, self.port, self.folder = command, url, port, folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **_not_root()
            )
        give_up_at = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if time.monotonic() > give_up_at or self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]} did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None


def find_program(*names: str) -> str:
    """Return the path of the first program that is installed; skip the test, or fail it in CI, if none is."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_FOLDERS))
        if found:
            return found
    reason = f"{' or '.join(names)} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def postgresql() -> Iterator[Server]:
    program, initdb = find_program("postgres"), find_program("initdb")
    with _folder() as folder:
        data, port = folder / "data", free_port()
        _run([initdb, "-D", str(data), "-U", "idle", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"], folder)
        command = [program, "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "fsync=off", "-c", "max_connections=200"]
        server = Server(command, f"postgresql+psycopg://idle@127.0.0.1:{port}/postgres", port=port, folder=folder)
        with _running(server, signal.SIGINT):
            yield server


@contextmanager
def mariadb() -> Iterator[Server]:
    program, install = find_program("mariadbd", "mysqld"), find_program("mariadb-install-db", "mysql_install_db")
    with _folder() as folder:
        data, port = folder / "data", free_port()
        _run([install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"], folder)
        command = [program, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"]
        command += [f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-grant-tables"]
        command += ["--skip-networking=0", "--innodb-flush-log-at-trx-commit=2", "--max-connections=200"]
        command += ["--innodb-flush-method=nosync", "--innodb-doublewrite=0"]
        server = Server(command, f"mariadb+pymysql://idle@127.0.0.1:{port}/test", port=port, folder=folder)
        (data / "test").mkdir(exist_ok=True)
        shutil.chown(data / "test", **_names())
        with _running(server, signal.SIGTERM):
            yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _folder() -> Iterator[Path]:
    """Lend a folder that belongs to whom the server runs as; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="idle-server-", ignore_cleanup_errors=True) as name:
        shutil.chown(name, **_names())
        yield Path(name)


@contextmanager
def _running(server: Server, end: signal.Signals) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.stop(end)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **_not_root())
    assert done.returncode == 0, done.stdout + done.stderr


def _names() -> dict[str, Any]:
    who = _who()
    return {"user": who.pw_uid, "group": who.pw_gid}


def _not_root() -> dict[str, Any]:
    return {} if os.geteuid() else {**_names(), "extra_groups": []}


def _who() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
