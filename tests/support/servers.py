"""Starts servers of the tests' own: in a temporary folder, on a free port of 127.0.0.1, never as root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.programs import find_program
from support.programs import find_programs


class Server:
    """A server process; ``url`` is what its clients open it by, and ``answers`` tells that it is ready for them."""

    def __init__(
        self, command: list[str], url: str, *, port: int, folder: Path, answers: Callable[[], bool] | None = None
    ) -> None:
        self.command, self.url, self.port, self.folder = command, url, port, folder
        self.process: subprocess.Popen[bytes] | None = None
        self._answers = self._listens if answers is None else answers

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_within(self.folder)
            )
        give_up_at = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > give_up_at or self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]} did not start: {self.log[-2000:]}")
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
                self.process.wait(30)
                self.process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def postgresql(*options: str, size: str | None = None) -> Iterator[Server]:
    """Run PostgreSQL, which trusts its disk unless ``options`` say otherwise; ``size``: its files are on a disk of
    their own, of so many bytes (which takes root).
    """
    program, initdb, is_ready = find_programs("postgres", "initdb", "pg_isready")
    with a_folder() as folder, nullcontext() if size is None else _a_disk(folder, size):
        data, port = folder / "data", free_port()
        _run([initdb, "-D", str(data), "-U", "idle", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"], folder)
        command = [program, "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "fsync=off", "-c", "max_connections=200", *options]
        url = f"postgresql+psycopg://idle@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            """Return whether it takes connections: it listens before it does."""
            return subprocess.run([is_ready, "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0

        server = Server(command, url, port=port, folder=folder, answers=answers)
        with running(server, end=signal.SIGINT):
            yield server


@contextmanager
def mariadb() -> Iterator[Server]:
    program, install, _ = find_programs("mariadbd", "mariadb-install-db", "my_print_defaults")
    with a_folder() as folder:
        data, port = folder / "data", free_port()
        _run([install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"], folder)
        command = [program, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"]
        command += [f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-grant-tables"]
        command += ["--skip-networking=0", "--innodb-flush-log-at-trx-commit=2", "--max-connections=200"]
        command += ["--innodb-flush-method=nosync", "--innodb-doublewrite=0"]
        server = Server(command, f"mariadb+pymysql://idle@127.0.0.1:{port}/test", port=port, folder=folder)
        (data / "test").mkdir(exist_ok=True)
        shutil.chown(data / "test", **_names())
        with running(server):
            yield server


@contextmanager
def pgbouncer(database: Server, **settings: object) -> Iterator[Server]:
    """Run PgBouncer in front of a PostgreSQL server: a transaction, not a client, has a connection of its own.

    Its user may ask its console (the database "pgbouncer"), too. ``settings`` are of its configuration.
    """
    program = find_program("pgbouncer")
    with a_folder() as folder:
        port = free_port()
        told = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "pool_mode": "transaction"}
        told |= {"auth_type": "trust", "auth_file": folder / "users", "admin_users": "idle", **settings}
        (folder / "users").write_text('"idle" ""\n')
        (folder / "config").write_text(
            f"[databases]\n* = host=127.0.0.1 port={database.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in told.items())
        )
        url = database.url.replace(f":{database.port}/", f":{port}/")
        server = Server([program, str(folder / "config")], url, port=port, folder=folder)
        with running(server):
            yield server


@contextmanager
def memcached() -> Iterator[Server]:
    program = find_program("memcached")
    with a_folder() as folder:
        port = free_port()
        command = [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-I", "4m"]
        server = Server(command, f"127.0.0.1:{port}", port=port, folder=folder)
        with running(server):
            yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def a_folder() -> Iterator[Path]:
    """Lend a folder that belongs to whom the server runs as; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="idle-server-", ignore_cleanup_errors=True) as name:
        shutil.chown(name, **_names())
        yield Path(name)


@contextmanager
def _a_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a small file system on a folder."""
    mount = find_program("mount")
    names = _names()
    told = f"size={size},mode=700,uid={names['user']},gid={names['group']}"
    done = subprocess.run([mount, "-t", "tmpfs", "-o", told, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"No file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def running(server: Server, *, end: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Run a server until the block is left, and tell it to end by the signal that it takes for that."""
    try:
        server.start()
        yield
    finally:
        server.stop(end)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **_within(folder))
    assert done.returncode == 0, done.stdout + done.stderr


def _names() -> dict[str, Any]:
    who = _who()
    return {"user": who.pw_uid, "group": who.pw_gid}


def _within(folder: Path) -> dict[str, Any]:
    """Return what has a program run in a folder, and not as root.

    Its temporary files are there, too: a MariaDB that starts removes those of the others in the folder they share.
    """
    who = {} if os.geteuid() else {**_names(), "extra_groups": []}
    return {"cwd": folder, "env": {**os.environ, "TMPDIR": str(folder)}, **who}


def _who() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
