"""Starts the programs that are measured beside: in a temporary folder, on a free port of 127.0.0.1, never as root.

The databases wait for the disk as they do where they are installed: nothing is made faster by being less safe.
"""

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
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent

_FOLDERS = [*sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True), "/usr/sbin"]
_PATIENCE = 60.0

#: /tmp may be in memory; this is to outlive a restart (FHS 3.0, 5.15), so it is on a disk.
_ON_DISK = "/var/tmp" if os.path.isdir("/var/tmp") else None


class Missing(Exception):
    """A program that a part of the measurements needs is not installed."""


def find_program(name: str) -> str:
    """Return a program's path. Raise :exc:`Missing` if it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_FOLDERS))
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


class Server(NamedTuple):
    """Where a server is asked, the process that began it, and the folder in which it writes its log."""

    url: str
    pid: int
    folder: Path

    @property
    def port(self) -> int:
        """Return the port, as the URL names it."""
        return int(urlsplit(self.url).port or 0)


@contextmanager
def redis_server() -> Iterator[Server]:
    """Run a Redis server that writes nothing to the disk."""
    program = find_program("redis-server")
    with a_folder() as folder:
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        with running([*command, "--appendonly", "no"], folder, port=port, stop=signal.SIGTERM) as pid:
            yield Server(f"redis://127.0.0.1:{port}/0", pid, folder)


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run a PostgreSQL server with fsync and synchronous_commit on; its URL is for SQLAlchemy."""
    program, initdb = find_program("postgres"), find_program("initdb")
    with a_folder() as folder:
        data, port = folder / "data", free_port()
        _prepare(
            [initdb, "-D", str(data), "-U", "idle", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"], folder
        )
        command = [program, "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "max_connections=400", "-c", "max_wal_size=4GB"]
        with running(command, folder, port=port, stop=signal.SIGINT, **_not_root()) as pid:
            yield Server(f"postgresql+psycopg://idle@127.0.0.1:{port}/postgres", pid, folder)


@contextmanager
def pgbouncer(behind: Server) -> Iterator[Server]:
    """Run a PgBouncer that lends connections to this PostgreSQL server for a transaction at a time."""
    program = find_program("pgbouncer")
    with a_folder() as folder:
        port = free_port()
        (folder / "users.txt").write_text('"idle" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={behind.port} dbname=postgres user=idle\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 20\n"
            "ignore_startup_parameters = extra_float_digits,options\n"
        )
        command = [program, str(folder / "pgbouncer.ini")]
        with running(command, folder, port=port, stop=signal.SIGINT, **_not_root()) as pid:
            yield Server(f"postgresql+psycopg://idle@127.0.0.1:{port}/postgres", pid, folder)


@contextmanager
def mariadb() -> Iterator[Server]:
    """Run a MariaDB server that has each commit on the disk; its URL is for SQLAlchemy."""
    program, install = find_program("mariadbd"), find_program("mariadb-install-db")
    with a_folder() as folder:
        data, port = folder / "data", free_port()
        _prepare([install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"], folder)
        (data / "bench").mkdir()
        who = _who()
        shutil.chown(data / "bench", user=who.pw_uid, group=who.pw_gid)
        command = [program, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"]
        command += [f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-grant-tables"]
        command += [f"--tmpdir={folder}"]  # In a folder for all, one server that starts deletes another's files.
        command += ["--skip-networking=0", "--max-connections=400", "--innodb-buffer-pool-size=1G"]
        with running(command, folder, port=port, stop=signal.SIGTERM, **_not_root()) as pid:
            yield Server(f"mariadb+pymysql://idle@127.0.0.1:{port}/bench", pid, folder)


@contextmanager
def gunicorn(application: str, *, workers: int = 1) -> Iterator[Server]:
    """Serve an application (``module:expression``) with ``workers`` workers of four threads."""
    with a_folder() as folder:
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--workers", str(workers)]
        command += ["--threads", "4", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
        command += ["--chdir", str(ROOT), application]
        with running(command, folder, port=port, stop=signal.SIGTERM) as pid:
            yield Server(f"http://127.0.0.1:{port}", pid, folder)


def _prepare(command: list[str], folder: Path) -> None:
    environ = {**os.environ, "HOME": str(folder)}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_PATIENCE, env=environ, **_not_root())


@contextmanager
def running(command: list[str], folder: Path, *, port: int, stop: signal.Signals, **how: Any) -> Iterator[int]:
    """Run a server from when it listens on its port until the block is left; lend its process's id."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **how)
    try:
        _wait_for(process, port, folder / "log")
        yield process.pid
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
    """Lend a temporary folder on a disk (where /tmp may be none), which belongs to the user of the servers."""
    with tempfile.TemporaryDirectory(prefix="idle-bench-", dir=_ON_DISK, ignore_cleanup_errors=True) as name:
        who = _who()
        shutil.chown(name, user=who.pw_uid, group=who.pw_gid)
        yield Path(name)


def _not_root() -> dict[str, Any]:
    """Return what has a program run as nobody, where this one runs as root: PostgreSQL insists on it."""
    who = _who()
    return {} if os.geteuid() else {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def _who() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
