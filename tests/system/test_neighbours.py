"""Extensions that applications have beside these sessions: each is used as it documents itself."""

import json
import warnings
from base64 import urlsafe_b64decode
from contextlib import closing
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from flask import Flask
from flask import session

from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import is_authenticated
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_where

KEY = "2c1f0fd0a3c3ff60e8a8a9d7b0c1d5f1"


def make_app(**config: Any) -> Flask:
    app = Flask("neighbours")
    app.config.update(SECRET_KEY=KEY, TESTING=True, **config)
    IdleSession(app)

    @app.post("/in/<name>")
    def enter(name: str) -> str:
        log_in(name)
        return name

    @app.post("/out")
    def leave() -> str:
        log_out()
        return ""

    return app


def entered(app: Flask, name: str = "ada") -> Any:
    client = app.test_client()
    client.post(f"/in/{name}")
    return client


def test_flask_caching_caches_no_page_of_a_logged_in_user() -> None:
    caching = pytest.importorskip("flask_caching")
    app = make_app()
    cache = caching.Cache(app, config={"CACHE_TYPE": "SimpleCache"})

    @app.get("/page")
    @cache.cached(unless=is_authenticated)  # type: ignore[untyped-decorator]
    def page() -> str:
        return f"for {current_user_id()}"

    assert entered(app).get("/page").text == "for ada"
    assert entered(app, "bob").get("/page").text == "for bob"
    assert app.test_client().get("/page").text == "for None"
    assert cache.cache._cache, "The page of those who are not logged in is cached."
    assert entered(app).get("/page").text == "for ada"


def test_flask_limiter_counts_by_session() -> None:
    limiter = pytest.importorskip("flask_limiter")
    app = make_app()

    def who() -> str:
        return str(session.sid or limiter.util.get_remote_address())  # type: ignore[attr-defined]

    limits = limiter.Limiter(who, app=app, storage_uri="memory://")

    @app.get("/twice")
    @limits.limit("2/hour")  # type: ignore[untyped-decorator]
    def twice() -> str:
        return ""

    ada, bob, nobody = entered(app), entered(app, "bob"), app.test_client()
    for client in (ada, bob, nobody):
        assert [client.get("/twice").status_code for _ in range(3)] == [200, 200, 429]
    ada.post("/in/ada")
    assert ada.get("/twice").status_code == 429, "A new token is no new session."


def test_flask_talisman_makes_the_cookie_secure_and_lets_the_pages_work() -> None:
    talisman = pytest.importorskip("flask_talisman")
    app = make_app(IDLESESSION_PAGES="/session")
    talisman.Talisman(app, force_https=False)
    client = app.test_client()
    cookie = client.post("/in/ada", base_url="https://localhost").headers["Set-Cookie"]
    assert "Secure" in cookie and "HttpOnly" in cookie
    page = client.get("/session/mine", base_url="https://localhost")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text and " style=" not in page.text


def test_flask_babel_takes_the_language_from_the_session() -> None:
    babel = pytest.importorskip("flask_babel")
    app = make_app()
    babel.Babel(app, locale_selector=lambda: session.get("language", "en"))

    @app.post("/speak/<language>")
    def speak(language: str) -> str:
        session["language"] = language
        return ""

    app.add_url_rule("/number", "number", lambda: babel.format_decimal(1234.5))
    client = entered(app)
    assert client.get("/number").text == "1,234.5"
    client.post("/speak/de")
    assert client.get("/number").text == "1.234,5"


def test_flask_wtf_s_token_outlives_a_log_in_and_not_a_log_out() -> None:
    csrf = pytest.importorskip("flask_wtf.csrf")
    app = make_app()
    csrf.CSRFProtect(app)
    app.add_url_rule("/token", "token", csrf.generate_csrf)
    client = app.test_client()
    token = client.get("/token").text
    assert client.post("/in/ada").status_code == 400
    assert client.post("/in/ada", headers={"X-CSRFToken": token}).status_code == 200
    assert client.post("/out", headers={"X-CSRFToken": token}).status_code == 200
    client.get("/token")
    assert client.post("/in/ada", headers={"X-CSRFToken": token}).status_code == 400


def test_flask_admin_is_for_those_who_are_logged_in() -> None:
    admin = pytest.importorskip("flask_admin")
    babel: Any = import_module("flask_babel") if find_spec("flask_babel") else None

    class Index(admin.AdminIndexView):  # type: ignore[misc]
        def is_accessible(self) -> bool:
            return current_user_id() == "ada"

    app = make_app()
    if babel is not None:
        babel.Babel(app)  # Flask-Admin uses it where it is installed.
    admin.Admin(app, index_view=Index())
    assert entered(app).get("/admin/").status_code == 200
    assert entered(app, "bob").get("/admin/").status_code == 403
    assert app.test_client().get("/admin/").status_code == 403


def test_authlib_keeps_its_state_and_a_back_channel_log_out_ends_the_right_sessions() -> None:
    client_of_flask = pytest.importorskip("authlib.integrations.flask_client")
    app = make_app()
    oauth = client_of_flask.OAuth(app)
    oauth.register(
        "idp",
        client_id="us",
        client_secret="secret",
        authorize_url="https://idp.example/authorize",
        access_token_url="https://idp.example/token",
        client_kwargs={"scope": "profile", "code_challenge_method": "S256"},
    )
    app.add_url_rule("/who", "who", lambda: str(current_user_id()))
    app.add_url_rule("/login", "login", lambda: oauth.idp.authorize_redirect("https://localhost/back"))

    @app.get("/back")
    def back() -> str:
        try:
            oauth.idp.authorize_access_token()
        except Exception as error:
            return type(error).__name__
        return "a token"

    @app.post("/enter/<name>/<idp_sid>")
    def with_idp(name: str, idp_sid: str) -> str:
        log_in(name, labels={"idp_sid": idp_sid})
        return ""

    @app.post("/back-channel/<idp_sid>")
    def back_channel(idp_sid: str) -> str:
        return str(revoke_where(idp_sid=idp_sid))

    browser = app.test_client()
    address = browser.get("/login").headers["Location"]
    state = address.partition("state=")[2].partition("&")[0]
    with browser.session_transaction() as kept:
        assert any(state in key for key in kept)
        assert all(kept[key]["data"]["code_verifier"] for key in kept if state in key)
    assert browser.get("/back?code=x&state=another").text == "MismatchingStateError"

    browsers = {name: app.test_client() for name in ("one", "two", "three")}
    for number, (name, each) in enumerate(browsers.items()):
        each.post(f"/enter/{name}/{'shared' if number < 2 else 'other'}")
    assert app.test_client().post("/back-channel/shared").text == "2"
    assert [each.get("/who").text for each in browsers.values()] == ["None", "None", "three"]


@pytest.mark.parametrize("cookie", ["session", "__Host-id"])
@pytest.mark.parametrize("tells_all", [False, True])
def test_sentry_s_events_have_no_token(cookie: str, tells_all: bool) -> None:
    sentry = pytest.importorskip("sentry_sdk")
    from sentry_sdk.integrations.flask import FlaskIntegration
    from sentry_sdk.scrubber import DEFAULT_DENYLIST
    from sentry_sdk.scrubber import EventScrubber

    events: list[Any] = []
    store = MemoryStore()
    app = make_app(SESSION_COOKIE_NAME=cookie, SESSION_COOKIE_SECURE=True, SESSION_COOKIE_PATH="/")
    app.testing, app.config["IDLESESSION_STORE"] = False, store

    @app.get("/fail")
    def fail() -> str:
        word = session["word"]
        raise RuntimeError(f"failed at {word}")

    @app.get("/unreadable")
    def unreadable() -> str:
        store.load = None  # type: ignore[assignment, method-assign]
        return str(session["word"])

    with sentry.isolation_scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Newer versions call the option by another name.
        sentry.init(
            "https://key@sentry.invalid/1",
            integrations=[FlaskIntegration()],
            default_integrations=False,
            send_default_pii=tells_all,
            before_send=lambda event, hint: events.append(event),
            event_scrubber=EventScrubber(denylist=[*DEFAULT_DENYLIST, cookie], recursive=True),
        )
        client = app.test_client()
        client.post("/in/ada", base_url="https://localhost")
        token = client.get_cookie(cookie).value
        with client.session_transaction(base_url="https://localhost") as kept:
            kept["word"] = "hello"
        assert client.get("/fail", base_url="https://localhost").status_code == 500
        assert client.get("/unreadable", base_url="https://localhost").status_code == 500
        sentry.init()
    assert len(events) == 2
    told = json.dumps(events, default=repr)
    secret = token.partition(".")[0]
    assert "failed at hello" in told
    assert token not in told and secret not in told


class Traces:
    """The spans of an instrumentation, which ends with the block."""

    def __init__(self, name: str, kind: str) -> None:
        module = pytest.importorskip(f"opentelemetry.instrumentation.{name}")
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter, self._provider = InMemorySpanExporter(), TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._instrumentor = getattr(module, f"{kind}Instrumentor")()

    def __enter__(self) -> "Traces":
        self._instrumentor.instrument(tracer_provider=self._provider, skip_dep_check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._instrumentor.uninstrument()

    @property
    def names(self) -> set[str]:
        return {span.name.split()[0] for span in self._exporter.get_finished_spans()}

    @property
    def text(self) -> str:
        return " ".join(span.to_json() for span in self._exporter.get_finished_spans())


@pytest.mark.parametrize(
    ("server", "name", "kind", "seen"),
    [
        ("redis_server", "redis", "Redis", {"EVALSHA", "EVAL"}),
        ("postgresql", "psycopg", "Psycopg", {"INSERT", "UPDATE", "WITH", "SELECT"}),
        ("postgresql", "sqlalchemy", "SQLAlchemy", {"SELECT", "CREATE", "connect"}),
    ],
)
def test_opentelemetry_has_spans_of_the_store_without_token_secret_or_id(
    request: pytest.FixtureRequest, server: str, name: str, kind: str, seen: set[str]
) -> None:
    url = request.getfixturevalue(server).url
    with Traces(name, kind) as traces:
        app = make_app(IDLESESSION_STORE=url, IDLESESSION_NAMESPACE=name)  # Other tests' ada is signed in there, too.
        manager = app.extensions["idlesession"].manager
        with closing(manager):
            client = entered(app)
            token = client.get_cookie("session").value
            with client.session_transaction() as kept:
                kept["word"] = "swordfish"
                sid = kept.sid
            assert manager.revoke_user("ada") == 1
            client.post("/out")
    assert traces.names & seen, traces.names
    told = traces.text
    packed = urlsafe_b64decode(f"{token.partition('.')[0]}==")
    secret = packed[16:]
    for private in (token, token.partition(".")[0], str(sid), sid.hex, secret.hex(), "swordfish"):
        assert private not in told
    assert repr(secret)[2:-1] not in told and repr(sha256(secret).digest())[2:-1] not in told
