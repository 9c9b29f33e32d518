"""Many users of four workers, which are switched to another version one after the other while the users go on."""

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from http.cookies import SimpleCookie
from pathlib import Path

from support.servers import free_port

_TESTS = Path(__file__).parents[1]


_THREADS = 8


@dataclass
class User:
    """A user's browser, and what it is to find."""

    name: str
    jar: dict[str, str] = field(default_factory=dict)
    #: The keys that the older version has written, and the newer.
    old_keys: set[str] = field(default_factory=set)
    new_keys: set[str] = field(default_factory=set)
    is_in: bool = False
    #: Whether the log-out was one of the newer version, which refuses each copy since.
    is_out_for_good: bool = False
    #: Every cookie that it ever had.
    copies: list[dict[str, str]] = field(default_factory=list)
    writes: int = 0


class Worker:
    """One process that serves the application, behind a balancer that asks it nothing while it is replaced."""

    def __init__(self, site: "Site") -> None:
        self.port = free_port()
        self.version = ""
        self._site = site
        self._process: subprocess.Popen[bytes] | None = None
        self._state = threading.Condition()
        self._is_up = False
        self._busy = 0

    def replace(self, version: str) -> None:
        """Stop it, once nobody waits for an answer, and start it in this version."""
        with self._state:
            self._is_up = False
            self._state.wait_for(lambda: self._busy == 0)
        self.stop()
        folders = [str(_TESTS), str(_TESTS.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, **self._site.environment, "VERSION": version, "PYTHONPATH": ":".join(folders)}
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-w",
            "1",
            "--threads",
            "8",
            "--graceful-timeout",
            "1",
            "--bind",
            f"127.0.0.1:{self.port}",
        ]
        command += ["--no-control-socket"] if _has_control_socket() else []
        with (self._site.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "support.switched_app:make_app()"], env=environment, stdout=log, stderr=log
            )
        give_up_at = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                raise RuntimeError((self._site.folder / "log").read_text()[-3000:])
            time.sleep(0.05)
        with self._state:
            self.version, self._is_up = version, True
            self._state.notify_all()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Wait until it is up; it is not replaced in the block."""
        with self._state:
            self._state.wait_for(lambda: self._is_up)
            self._busy += 1
        try:
            yield
        finally:
            with self._state:
                self._busy -= 1
                self._state.notify_all()

    @property
    def is_up(self) -> bool:
        return self._is_up

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            connection.getresponse().read()
            return True
        return False


def _has_control_socket() -> bool:
    import gunicorn.config

    return hasattr(gunicorn.config, "ControlSocketDisable")


class Site:
    """An application of some kind on four workers, and its users. ``faults`` counts what went wrong."""

    def __init__(self, kind: str, names: str, *, folder: Path, url: str, users: int, workers: int = 4) -> None:
        self.folder = folder
        self.environment = {"KIND": kind, "NAMES": names, "FOLDER": str(folder), "URL": url}
        self.kind, self.names = kind, names
        self.users = [User(f"user{number}") for number in range(users)]
        self.workers = [Worker(self) for _ in range(workers)]
        self.faults: Counter[str] = Counter()
        self.first_faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._leavers: set[str] = set()
        self._connections = threading.local()

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()

    # What users do.

    def enter_all(self) -> None:
        self._each(self._enter)

    def check_all(self) -> None:
        self._each(self._read)

    def check_copies(self) -> None:
        """Show each cookie that a user had who has logged out for good."""
        self._each(self._replay)

    def roll(self, version: str) -> None:
        """Replace the workers one by one while all users go on, of whom one in ten logs out meanwhile."""
        stop = threading.Event()
        inside = [user for user in self.users if user.is_in]
        self._leavers = {user.name for user in random.sample(inside, len(inside) // 10)}
        threads = [
            threading.Thread(target=self._go_on, args=(self.users[at::_THREADS], stop)) for at in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.5)
            for worker in self.workers:
                worker.replace(version)
                time.sleep(0.5)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _each(self, act: object) -> None:
        def work(users: list[User]) -> None:
            try:
                for user in users:
                    act(user)  # type: ignore[operator]
            finally:
                self._hang_up()

        threads = [threading.Thread(target=work, args=(self.users[at::_THREADS],)) for at in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _go_on(self, users: list[User], stop: threading.Event) -> None:
        try:
            self._act_at_random(users, stop)
        finally:
            self._hang_up()

    def _act_at_random(self, users: list[User], stop: threading.Event) -> None:
        chance = random.Random(users[0].name)
        while not stop.wait(0.002):
            user = chance.choice(users)
            if not user.is_in:
                self._read(user)
            elif user.name in self._leavers and chance.random() < 0.2:
                self._leavers.discard(user.name)
                self._leave(user)
            elif chance.random() < 0.3:
                self._write(user)
            else:
                self._read(user)

    def _enter(self, user: User) -> None:
        self._ask(user, f"/in/{user.name}")
        user.is_in, user.old_keys = True, {"k0"}

    def _read(self, user: User) -> None:
        shown = json.loads(self._ask(user, "/"))
        if not user.is_in:
            if shown["user"] is not None:
                self._fault("alive after the log-out", user, shown)
            return
        wanted = set(user.old_keys) | (user.new_keys if shown["version"] == "new" else set())
        if shown["user"] != user.name:
            self._fault("logged out", user, shown)
        elif not wanted <= set(shown["keys"]):
            self._fault("lost a key", user, shown)

    def _write(self, user: User) -> None:
        user.writes += 1
        key = f"k{user.writes % 6}_{user.writes}" if self.kind != "flask" else f"k{user.writes}"
        version = self._ask(user, f"/write/{key}")
        (user.new_keys if version == "new" else user.old_keys).add(key)

    def _leave(self, user: User) -> None:
        user.is_out_for_good = self._ask(user, "/out") == "new"
        user.is_in, user.old_keys, user.new_keys = False, set(), set()

    def _replay(self, user: User) -> None:
        if not user.is_out_for_good:
            return
        for copy in [*user.copies[-1:], *user.copies[:: max(len(user.copies) // 4, 1)]]:
            shown = json.loads(self._ask(User(user.name, jar=dict(copy)), "/"))
            if shown["user"] is not None:
                self._fault("a copy is alive after the log-out", user, shown)

    def _fault(self, what: str, user: User, shown: object) -> None:
        with self._lock:
            self.faults[what] += 1
            if len(self.first_faults) < 5:
                self.first_faults.append(f"{what}: {user.name} {shown} {sorted(user.jar)}")

    # Requests.

    def _hang_up(self) -> None:
        """Close the connections of the present thread."""
        for connection in self._connections.__dict__.values():
            connection.close()
        self._connections.__dict__.clear()

    def _ask(self, user: User, path: str) -> str:
        """Ask a worker: with one name for both cookies always the same one, else any that is up."""
        number = int(user.name.removeprefix("user")) % len(self.workers)
        if self.names == "other":
            up = [each for each, worker in enumerate(self.workers) if worker.is_up]
            number = random.choice(up or [number])
        worker = self.workers[number]
        with worker.serving():
            for _ in range(50):
                try:
                    status, text, cookies = self._send(worker, path, user.jar)
                except (OSError, http.client.HTTPException):
                    self._connections.__dict__.pop(str(worker.port)).close()
                    continue
                if status == 503:
                    time.sleep(0.1)
                    continue
                break
            else:
                raise RuntimeError(f"{path} was not answered.")
        if status != 200:
            raise RuntimeError(f"{path} was answered {status}: {text[:500]}")
        self.counts[worker.version] += 1
        if cookies:
            user.copies.append(dict(user.jar))
            for name, value in cookies.items():
                if value:
                    user.jar[name] = value
                else:
                    user.jar.pop(name, None)
        return text

    def _send(self, worker: Worker, path: str, jar: dict[str, str]) -> tuple[int, str, dict[str, str]]:
        connections = self._connections.__dict__
        connection = connections.get(str(worker.port))
        if connection is None:
            connection = connections[str(worker.port)] = http.client.HTTPConnection(
                "127.0.0.1", worker.port, timeout=60
            )
        connection.request("GET", path, headers={"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())})
        response = connection.getresponse()
        text = response.read().decode()
        cookies: dict[str, str] = {}
        for header in response.msg.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(header).items():
                cookies[name] = "" if morsel["max-age"] == "0" else morsel.value
        return response.status, text, cookies
