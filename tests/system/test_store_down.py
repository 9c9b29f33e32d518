"""A store that fails: what needs the session is answered 503, what does not works, and nothing is lost."""

import threading

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import session_ended
from flask_idlesession import StoreError


class FailingStore(MemoryStore):
    """A memory store of which some verbs can be made to fail."""

    failing: tuple[str, ...] = ()

    def _check(self, verb):
        if verb in self.failing:
            raise StoreError("database password hunter2 refused at db.internal")

    def create(self, record):
        self._check("create")
        super().create(record)

    def load(self, sid, *, now, touch=None):
        self._check("load" if touch is None else "touch")
        return super().load(sid, now=now, touch=touch)

    def commit(self, sid, change, *, now):
        self._check("commit")
        return super().commit(sid, change, now=now)

    def delete(self, sid):
        self._check("delete")
        return super().delete(sid)

    def prune(self, *, now, limit):
        self._check("prune")
        return super().prune(now=now, limit=limit)


@pytest.fixture
def store():
    return FailingStore()


@pytest.fixture
def app(store, clock):
    app = Flask(__name__)
    app.testing = True
    app.secret_key = "k" * 32
    IdleSession(app, store=store, clock=clock)

    @app.get("/ignore")
    def ignore():
        return "page"

    @app.get("/read")
    def read():
        return dict(session)

    @app.get("/write/<key>")
    def write(key):
        session[key] = key
        return "written"

    @app.get("/log-out")
    def log_out():
        session.clear()
        return "logged out"

    @app.get("/stream")
    def stream():
        session["streamed"] = True
        return iter(["a", "b"])

    return app


@pytest.fixture
def client(app):
    client = app.test_client()
    client.get("/write/first")
    return client


def test_a_request_that_does_not_need_its_session_works(client, store):
    store.failing = ("load", "touch", "commit", "prune")
    assert client.get("/ignore").text == "page"


@pytest.mark.parametrize("path", ["/read", "/write/second"])
def test_a_request_that_needs_its_session_gets_503_and_keeps_its_cookie(client, store, path):
    store.failing = ("load", "touch")
    response = client.get(path)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in response.headers
    store.failing = ()
    assert client.get("/read").json == {"first": "first"}


@pytest.mark.parametrize("path", ["/write/second", "/stream"])
def test_a_write_that_fails_is_no_success_page(client, store, path):
    store.failing = ("commit",)
    response = client.get(path)
    assert response.status_code == 503
    assert "written" not in response.text
    assert "Set-Cookie" not in response.headers
    store.failing = ()
    assert client.get("/read").json == {"first": "first"}


def test_the_answer_to_a_write_that_fails_keeps_headers_that_do_not_describe_the_body(app, store):
    @app.after_request
    def add_headers(response):
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Content-Security-Policy"] = "default-src 'none'"
        response.set_cookie("theme", "dark")
        return response

    @app.get("/download")
    def download():
        session["downloads"] = 1
        headers = {"Content-Disposition": "attachment", "ETag": '"1"', "Location": "/saved", "Expires": "Fri"}
        return "x" * 1000, 200, {**headers, "Cache-Control": "public, max-age=60", "Content-Language": "en"}

    client = app.test_client()
    client.get("/write/first")
    store.failing = ("commit",)
    response = client.get("/download")
    assert response.status_code == 503 and response.headers["Retry-After"]
    assert response.headers["X-Frame-Options"] == "DENY" and response.headers["Content-Security-Policy"]
    assert response.headers["Set-Cookie"].startswith("theme=dark")
    gone = {"Content-Disposition", "ETag", "Location", "Expires", "Cache-Control", "Content-Language"}
    assert not gone & set(dict(response.headers))
    assert response.content_length == len(response.data) and response.mimetype == "text/html"


def test_a_new_session_that_cannot_be_stored_issues_no_token(app, store):
    store.failing = ("create",)
    response = app.test_client().get("/write/first")
    assert response.status_code == 503
    assert "Set-Cookie" not in response.headers
    assert len(store) == 0


@pytest.mark.parametrize("verbs", [("commit",), ("touch",), ("touch", "commit", "create", "delete", "prune")])
def test_a_touch_that_fails_does_not_fail_the_request(client, store, verbs):
    store.failing = verbs
    assert client.get("/read").json == {"first": "first"}


def test_a_store_that_takes_no_touch_opens_no_session_to_a_token_that_is_dead(app, client, store):
    token = client.get_cookie("session").value
    client.get("/log-out")
    store.failing = ("touch",)
    replay = app.test_client()
    replay.set_cookie("session", token)
    assert replay.get("/read").json == {}


def test_activity_that_could_not_be_noted_at_first_is_noted_with_a_write(client, store, clock):
    clock.advance(1000)
    store.failing = ("touch",)
    assert client.get("/write/second").text == "written"
    store.failing = ()
    clock.advance(1000)
    assert client.get("/read").json == {"first": "first", "second": "second"}


def test_pruning_that_fails_does_not_fail_the_request(client, store, clock):
    other = client.application.test_client()
    other.get("/write/other")
    clock.advance(1000)
    client.get("/read")
    clock.advance(1000)
    store.failing = ("prune",)
    assert client.get("/read").json == {"first": "first"}


@pytest.mark.parametrize("verbs", [("delete",), ("load", "touch", "commit", "delete")])
def test_a_log_out_is_one_for_the_browser_whatever_the_store_does(client, store, app, verbs):
    token = client.get_cookie("session").value
    store.failing = verbs
    response = client.get("/log-out")
    assert response.status_code == 503
    assert client.get_cookie("session") is None
    store.failing = ()
    replay = app.test_client()
    replay.set_cookie("session", token)
    assert replay.get("/read").json == {}


def test_the_store_forgets_a_logged_out_session_when_it_is_back_and_tells_it_once(client, store, app):
    told = []
    receiver = session_ended.connect(lambda sender, **what: told.append(what["reason"].value), app, weak=False)
    pruner = app.extensions["idlesession"].manager.lifecycle.pruner
    pruner.close()  # Or the cleaner's thread may be amid a pass of its own.
    store.failing = ("load", "touch", "commit", "delete")
    client.get("/log-out")
    assert len(store) == 1
    store.failing = ()
    pruner.run()
    pruner.run()
    session_ended.disconnect(receiver, app)
    assert len(store) == 0
    assert told == ["logged out"]


def test_of_two_passes_at_once_each_may_forget_a_logged_out_session(client, store, app, monkeypatch):
    pruner = app.extensions["idlesession"].manager.lifecycle.pruner
    pruner.close()
    store.failing = ("load", "touch", "commit", "delete")
    client.get("/log-out")
    store.failing = ()
    load = store.load

    def load_slowly(sid, *, now, touch=None):
        monkeypatch.undo()
        pruner.run()
        return load(sid, now=now)

    monkeypatch.setattr(store, "load", load_slowly)
    pruner.run()
    assert len(store) == 0


def test_the_application_may_answer_itself(store, app):
    @app.errorhandler(StoreError)
    def sorry(error):
        return "we are sorry", 418

    client = app.test_client()
    client.get("/write/first")
    store.failing = ("load", "touch")
    assert client.get("/read").status_code == 418
    store.failing = ("commit",)
    response = client.get("/write/second")
    assert (response.status_code, response.text) == (418, "we are sorry")


@pytest.mark.parametrize("kind", [503, Exception])
def test_a_handler_for_503_or_for_everything_is_asked_too(store, app, kind):
    @app.errorhandler(kind)
    def sorry(error):
        return "sorry", 503

    client = app.test_client()
    client.get("/write/first")
    for failing in (("load", "touch"), ("commit",)):
        store.failing = failing
        assert client.get("/write/second").text == "sorry"


def test_what_the_driver_said_is_not_shown(client, store):
    for failing in (("load", "touch"), ("commit",)):
        store.failing = failing
        assert "hunter2" not in client.get("/write/second").text


def test_many_requests_during_an_outage_leave_the_session_as_it_was(app, client, store):
    token = client.get_cookie("session").value
    store.failing = ("commit",)
    barrier = threading.Barrier(8)
    statuses = []

    def request(number):
        other = app.test_client()
        other.set_cookie("session", token)
        barrier.wait()
        statuses.append(other.get(f"/write/key{number}").status_code)

    threads = [threading.Thread(target=request, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [503] * 8
    store.failing = ()
    assert client.get("/read").json == {"first": "first"}
