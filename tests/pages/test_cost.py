"""What the pages cost: nothing where they are off, and little for the question that every open page asks."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

import pytest
from flask import Flask
from flask import session
from support.pages_site import make_site

OFF = """
import sys
from flask import Flask
from flask_idlesession import IdleSession
app = Flask(__name__)
app.config.update(SECRET_KEY="k" * 32, TESTING=True)
IdleSession(app)
app.test_client().get("/")
print([name for name in sys.modules if name.startswith("flask_idlesession.pages")])
"""


def test_nothing_of_the_pages_is_imported_where_they_are_off() -> None:
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.alone
@pytest.mark.parametrize("store", ["memory://", "sqlite:///{folder}/sessions.db"])
def test_the_status_costs_at_most_one_and_a_half_plain_reads(store: str, tmp_path: Path) -> None:
    app = make_site(IDLESESSION_STORE=store.format(folder=tmp_path))

    @app.get("/read")
    def read() -> dict[str, object]:
        return {"value": session.get("value")}

    client = app.test_client()
    client.post("/log-in", data={"name": "ada"})
    spent: dict[str, list[float]] = {"/read": [], "/session/status": []}
    for _ in range(300):  # In turns, so that a busy machine slows both.
        for path, times in spent.items():
            began_at = time.perf_counter()
            client.get(path)
            times.append(time.perf_counter() - began_at)
    assert median(spent["/session/status"]) <= 1.5 * median(spent["/read"])


def asked_of_the_store(app: Flask, path: str) -> int:
    """Return how many calls of the store a request of a user's session makes."""
    client = app.test_client()
    client.post("/log-in", data={"name": "ada"})
    store = app.extensions["idlesession"].manager.store
    calls: list[str] = []
    requesting = threading.current_thread()

    def counted(name: str) -> None:
        method = getattr(type(store), name)

        def call(self: object, *args: object, **kwargs: object) -> object:
            if threading.current_thread() is requesting:  # The cleaner goes on meanwhile.
                calls.append(name)
            return method(self, *args, **kwargs)

        patch.setattr(type(store), name, call)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("load", "commit", "create", "delete", "bury"):
            counted(name)
        client.get(path)
    return len(calls)


def test_the_status_reads_once_and_writes_nothing(tmp_path: Path) -> None:
    app = make_site(IDLESESSION_STORE=f"sqlite:///{tmp_path}/sessions.db")
    assert asked_of_the_store(app, "/session/status") == 1
