"""Fifty mistakes that newcomers make. Each answer says what is wrong and names what to write instead."""

import datetime
import enum
import html
import logging
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import session

import flask_idlesession
from flask_idlesession import csrf_protect
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import login_required
from flask_idlesession import MemoryStore
from flask_idlesession import reauthenticate
from flask_idlesession import revoke_user
from flask_idlesession import revoke_where
from flask_idlesession import SessionManager

KEY = "2d1f0a7be03c4c6f9d1b7c55e2a84e0f"

Mistake = Callable[[], object]

#: Each mistake with what its answer must say: the wrong thing, and what to write instead.
MISTAKES: list[Any] = []


def mistake(*said: str) -> Callable[[Mistake], Mistake]:
    """Note a mistake. ``said`` are regular expressions: all are found in the answer."""

    def note(make: Mistake) -> Mistake:
        MISTAKES.append(pytest.param(make, said, id=make.__name__))
        return make

    return note


def plain(**config: Any) -> Flask:
    """Return an application without this package."""
    app = Flask("shop")
    app.config.update({"SECRET_KEY": KEY, "PROPAGATE_EXCEPTIONS": True, **config})
    return app


def made(**config: Any) -> Flask:
    app = plain(**config)
    IdleSession(app)
    return app


def run(view: Callable[[], Any], app: Flask | None = None, **request: Any) -> Any:
    """Call a view once, in an application with idle sessions, and return what it answers."""
    app = made() if app is None else app
    app.add_url_rule("/", "view", lambda: view() or "", methods=["GET", "POST"])
    return app.test_client().open("/", **request)


# Settings.


@mistake("There is no setting IDLESESSION_TIMEOUT", "did you mean IDLESESSION_IDLE_TIMEOUT")
def a_setting_with_another_name() -> None:
    made(IDLESESSION_TIMEOUT=1800)


@mistake("IDLESESION_STORE", "did you mean IDLESESSION_STORE")
def a_letter_is_missing_in_the_prefix() -> None:
    made(IDLESESION_STORE="redis://localhost")


@mistake("IDLE_SESSION_LIFETIME", "did you mean IDLESESSION_LIFETIME")
def an_underscore_too_many_in_the_prefix() -> None:
    made(IDLE_SESSION_LIFETIME=3600)


@mistake("IDLESESSION_IDLE_TIMEOUT is '30 minutes'", "seconds")
def a_timeout_in_words() -> None:
    made(IDLESESSION_IDLE_TIMEOUT="30 minutes")


@mistake("IDLESESSION_IDLE_TIMEOUT is 0", "above 0")
def no_timeout_by_zero() -> None:
    made(IDLESESSION_IDLE_TIMEOUT=0)


@mistake("IDLESESSION_IDLE_TIMEOUT is None", "seconds")
def no_timeout_by_none() -> None:
    made(IDLESESSION_IDLE_TIMEOUT=None)


@mistake("IDLESESSION_ACTIVITY is 'clicks'", '"all", "navigation" or a callable')
def a_word_that_is_no_choice() -> None:
    made(IDLESESSION_ACTIVITY="clicks")


@mistake("IDLESESSION_AUDIT is 'yes'", "True or False")
def a_flag_as_a_text() -> None:
    made(IDLESESSION_AUDIT="yes")


@mistake("IDLESESSION_PAGES is 'session/'", '"/session"')
def a_prefix_without_its_slash() -> None:
    made(IDLESESSION_PAGES="session/")


@mistake("IDLESESSION_PAGES is '/session', but it was None", r"before IdleSession\(app\)")
def pages_that_are_switched_on_too_late() -> None:
    app = made()
    app.config["IDLESESSION_PAGES"] = "/session"
    app.test_client().get("/")


@mistake("IDLESESSION_JOURNAL", 'IDLESESSION_STORE = "memory://"')
def a_journal_beside_a_database() -> None:
    made(IDLESESSION_STORE="sqlite:///sessions.db", IDLESESSION_JOURNAL="sessions.journal")


@mistake("IDLESESSION_ENCRYPTION_KEYS has 6 bytes", "32 or more", "token_urlsafe")
def a_short_encryption_key() -> None:
    made(IDLESESSION_ENCRYPTION_KEYS=["secret"])


@mistake("SESSION_TYPE", "IDLESESSION_STORE", "redis://")
def the_type_of_flask_session() -> None:
    made(SESSION_TYPE="redis")


@mistake("SESSION_REDIS", "IDLESESSION_STORE")
def the_client_of_flask_session() -> None:
    made(SESSION_REDIS="redis://:hunter2@localhost")


@mistake("SESSION_USE_SIGNER", "remove it")
def a_switch_of_flask_session_that_is_needless() -> None:
    made(SESSION_USE_SIGNER=True)


@mistake("longer than 400 days")
def a_lifetime_of_ten_years() -> None:
    made(PERMANENT_SESSION_LIFETIME=datetime.timedelta(days=3650))


# Keys.


@mistake("no secret key was set", "Set the secret_key")
def no_secret_key() -> None:
    def view() -> None:
        session["a"] = 1

    run(view, made(SECRET_KEY=None))


@mistake("SECRET_KEY of the application 'shop' has 3 characters only", "token_hex")
def a_short_secret_key() -> None:
    run(lambda: session.get("a"), made(SECRET_KEY="dev"))


@mistake("SECRET_KEY of the application 'shop' is made of words", "token_hex")
def a_secret_key_from_a_tutorial() -> None:
    run(lambda: session.get("a"), made(SECRET_KEY="you-will-never-guess-this"))


@mistake("SECRET_KEY is of the type int", "a text or bytes")
def a_number_as_secret_key() -> None:
    made(SECRET_KEY=12345678901234567890)


@mistake("SECRET_KEY_FALLBACKS is of the type str", "a list of former keys")
def one_former_key_without_its_list() -> None:
    made(SECRET_KEY_FALLBACKS="0f0e0d0c0b0a09080706050403020100")


# The cookie.


@mistake("SESSION_COOKIE_SAMESITE is 'bogus'", "Lax")
def a_same_site_that_there_is_not() -> None:
    made(SESSION_COOKIE_SAMESITE="bogus")


@mistake("SESSION_COOKIE_SECURE", "SESSION_COOKIE_SECURE = True")
def a_cookie_for_all_sites_over_http() -> None:
    made(SESSION_COOKIE_SAMESITE="None")


@mistake("SESSION_COOKIE_SECURE is the text 'False'", "True or False")
def a_flag_from_the_environment() -> None:
    made(SESSION_COOKIE_SECURE="False")


@mistake("SESSION_COOKIE_DOMAIN is 'https://shop.example'", "the domain alone")
def an_address_as_domain() -> None:
    made(SESSION_COOKIE_DOMAIN="https://shop.example")


@mistake("SESSION_COOKIE_NAME is 'my session'", "letters")
def a_name_with_a_space() -> None:
    made(SESSION_COOKIE_NAME="my session")


@mistake("__Host-session", "SESSION_COOKIE_SECURE")
def a_host_cookie_that_is_not_secure() -> None:
    made(SESSION_COOKIE_NAME="__Host-session")


# Stores.


@mistake("IDLESESSION_STORE is 'redis'", "redis://")
def the_name_of_a_store_for_its_url() -> None:
    made(IDLESESSION_STORE="redis")


@mistake("postgres://", r"write postgresql\+psycopg://")
def the_scheme_of_heroku() -> None:
    made(IDLESESSION_STORE="postgres://ada@localhost/shop")


@mistake("IDLESESSION_STORE is 'sqlite://'", "sqlite:///sessions.db")
def a_file_without_its_path() -> None:
    made(IDLESESSION_STORE="sqlite://")


@mistake(
    r"^ConfigError: IDLESESSION_STORE is '\S*', which needs the package 'redis'",
    r"pip install 'flask_idlesession\[redis\]'",
)
def a_package_that_is_not_installed() -> None:
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "redis"}
    sys.modules["redis"] = None  # type: ignore[assignment]
    try:
        made(IDLESESSION_STORE="redis://localhost")
    finally:
        del sys.modules["redis"]
        sys.modules.update(hidden)


@mistake("port", "number")
def a_port_that_is_no_number() -> None:
    made(IDLESESSION_STORE="redis://localhost:port/0")


@mistake("of the type dict", "a Redis client")
def options_for_a_store() -> None:
    made(IDLESESSION_STORE={"host": "localhost"})


@mistake("IDLESESSION_STORE is the class MemoryStore", r"an object, as MemoryStore\(")
def a_class_for_a_store() -> None:
    made(IDLESESSION_STORE=MemoryStore)


# The extension.


@mistake("has no idle sessions", r"call IdleSession\(app\)")
def the_extension_is_forgotten() -> None:
    run(lambda: log_in("ada"), plain())


@mistake("already set up for 'shop'", r"init_app\(\) once")
def two_inits() -> None:
    app = plain()
    IdleSession(app).init_app(app)


@mistake("given 'shop'; it needs the application", r"IdleSession\(app\)")
def a_module_in_place_of_the_application() -> None:
    IdleSession("shop")  # type: ignore[arg-type]


@mistake("no argument 'idle_timeout'", r'set app\.config\["IDLESESSION_IDLE_TIMEOUT"\]')
def a_setting_as_an_argument() -> None:
    IdleSession(plain(), idle_timeout=1800)  # type: ignore[call-arg]


@mistake("guarded by a decorator that stands above its route", r"write it below @app\.route\(\)")
def a_guard_above_the_route() -> None:
    app = made()

    @login_required
    @app.get("/account")
    def account() -> str:
        return "account"

    app.test_client().get("/account")


@mistake("fresh_login_required", r"@fresh_login_required\(max_age=…\)")
def an_age_without_its_name() -> None:
    fresh_login_required(300)  # type: ignore[call-overload]


@mistake("has no CSRF token", r"\{\{ csrf_token\(\) \}\}", "X-CSRF-Token")
def a_form_without_its_token() -> object:
    return run(csrf_protect(lambda: "sent"), made(TESTING=True), method="POST").text


@mistake("no argument 'mode'", r"docs/settings\.rst")
def an_argument_that_there_never_was() -> None:
    IdleSession(plain(), mode="strict")  # type: ignore[arg-type]


@mistake("given <function", "it needs the application")
def a_factory_in_place_of_the_application() -> None:
    IdleSession(plain)  # type: ignore[arg-type]


# Requests and users.


@mistake("There is no request here", r'app\.extensions\["idlesession"\]\.manager', r"logged_in\(client, user_id\)")
def a_session_outside_of_a_request() -> None:
    with made().app_context():
        log_in("ada")


@mistake("outside of application context", r"app\.app_context\(\)")
def a_revocation_in_a_script() -> None:
    revoke_user("ada")


@mistake("needs the user's id", "None")
def a_user_that_was_not_found() -> None:
    run(lambda: log_in(None))  # type: ignore[arg-type]


@mistake("needs the user's id as a str, an int or a UUID", "User")
def a_user_in_place_of_an_id() -> None:
    class User:
        id = 7

        def __repr__(self) -> str:
            return "<User 7>"

    run(lambda: log_in(User()))  # type: ignore[arg-type]


@mistake("reauthenticate", r"call log_in\(\)")
def a_proof_of_nobody() -> None:
    run(lambda: reauthenticate())


@mistake("label", "level", "choose another name")
def a_label_with_a_name_of_the_package() -> None:
    run(lambda: log_in("ada", labels={"level": "admin"}))


@mistake("revoke_where", r"revoke_all\(\)")
def an_end_of_everybody_without_a_criterion() -> None:
    run(lambda: str(revoke_where()))


@mistake("user_id=None", "leave it out")
def a_criterion_that_is_none() -> None:
    run(lambda: str(revoke_where(user_id=None)))


# Values.


class Colour(enum.Enum):
    RED = 1


class Cart:
    pass


@mistake(r"session\['cart'\] is a Cart", "store plain data|register")
def an_object_of_a_class() -> None:
    run(lambda: session.__setitem__("cart", Cart()))


@mistake(r"session\['colour'\] is a Colour", r"store its \.value")
def an_enum() -> None:
    run(lambda: session.__setitem__("colour", Colour.RED))


@mistake(r"session\['cart'\]\['items'\]\[1\]", "lock", "store plain data")
def something_deep_in_a_list() -> None:
    run(lambda: session.__setitem__("cart", {"items": [1, threading.Lock()]}))


@mistake(r"session\['names'\] is a generator", "plain data|list")
def a_generator_for_a_list() -> None:
    run(lambda: session.__setitem__("names", (name for name in ["ada"])))


@mistake(r"session\['names'\] is a dict_keys", "plain data|list")
def the_keys_of_a_dict_for_a_list() -> None:
    run(lambda: session.__setitem__("names", {"ada": 1}.keys()))


@mistake("7 is of the type int", r"Write session\['7'\]")
def a_number_as_a_key() -> None:
    run(lambda: session.__setitem__(7, "ada"))  # type: ignore[index]


@mistake(r"session\.modify\('cart', …\)", "must return the new value")
def a_change_that_returns_nothing() -> None:
    def view() -> None:
        session["cart"] = ["tea"]
        flask_idlesession.session.modify("cart", lambda cart: cart.append("milk"))

    run(view)


@mistake("a uuid.UUID, not a str", r"uuid\.UUID\(text\)")
def a_text_for_a_session_id() -> None:
    with SessionManager() as manager:
        manager.read("3b5f219c-2c2b-4f5a-9a53-7b6f0d2c9b7f")  # type: ignore[arg-type]


def answer_to(make: Mistake, caplog: pytest.LogCaptureFixture) -> str:
    """Return what a newcomer reads: the exception's text, or else the lines of the log."""
    try:
        with caplog.at_level(logging.WARNING, "flask_idlesession"):
            answer = make()
    except Exception as error:  # Any kind: the text is what counts.
        return f"{type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", ()))
    if isinstance(answer, str):
        return html.unescape(answer)
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("flask_idlesession"))


@pytest.mark.parametrize(("make", "said"), MISTAKES)
def test_the_answer_to_a_mistake_names_what_to_write_instead(
    make: Mistake, said: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    answer = answer_to(make, caplog)
    print(make.__name__, "=>", answer)
    for each in said:
        assert re.search(each, answer), answer


def test_there_are_fifty() -> None:
    assert len(MISTAKES) >= 50
