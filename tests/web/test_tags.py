"""Types that an application has taught to its session's serializer are kept as before, whenever that was."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask import session
from flask.json.provider import DefaultJSONProvider
from flask.json.tag import JSONTag
from flask.json.tag import TagDateTime
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SecureCookieSessionInterface

from flask_idlesession import Codec
from flask_idlesession import EncodeError
from flask_idlesession import IdleSession


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyTag(JSONTag):
    key = " money"

    def check(self, value: Any) -> bool:
        return isinstance(value, Money)

    def to_json(self, value: Any) -> Any:
        return value.cents

    def to_python(self, value: Any) -> Any:
        return Money(value)


class OrderedTag(JSONTag):
    key = " od"

    def check(self, value: Any) -> bool:
        return isinstance(value, OrderedDict)

    def to_json(self, value: Any) -> Any:
        return [[key, self.serializer.tag(item)] for key, item in value.items()]

    def to_python(self, value: Any) -> Any:
        return OrderedDict(value)


class NaiveTag(TagDateTime):
    def to_python(self, value: Any) -> Any:
        return super().to_python(value).replace(tzinfo=None)


class ShoutTag(JSONTag):
    """Turns each text that ends with a sign into another one, and nothing back."""

    key = ""

    def check(self, value: Any) -> bool:
        return isinstance(value, str) and value.endswith("!")

    def to_json(self, value: Any) -> Any:
        return value.upper().rstrip("!")

    tag = to_json


class OwnDictTag(JSONTag):
    """Takes plain dicts with a mark, before Flask's own tag for dicts does."""

    key = " own"

    def check(self, value: Any) -> bool:
        return isinstance(value, dict) and "__own__" in value

    def to_json(self, value: Any) -> Any:
        return {key: self.serializer.tag(item) for key, item in value.items() if key != "__own__"}

    def to_python(self, value: Any) -> Any:
        return {**value, "came": "back"}


def an_app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    app.session_interface = SecureCookieSessionInterface()
    app.session_interface.serializer = TaggedJSONSerializer()  # Flask's is one for all applications.
    return app


def come_back(app: Flask, value: Any) -> Any:
    """Return the value as a later request finds it."""
    found = []
    app.add_url_rule("/put", "put", lambda: session.update(value=value) or "")
    app.add_url_rule("/get", "get", lambda: found.append(session["value"]) or "")
    client = app.test_client()
    client.get("/put")
    client.get("/get")
    return found[0]


REGISTRATIONS: dict[str, tuple[Any, Callable[[Any], None], Any]] = {
    "plain": (MoneyTag, lambda serializer: serializer.register(MoneyTag), [Money(3)]),
    "index": (OrderedTag, lambda serializer: serializer.register(OrderedTag, index=0), {"a": OrderedDict(b=(1, 2))}),
    "by place": (OrderedTag, lambda serializer: serializer.register(OrderedTag, False, 0), OrderedDict(b=1)),
    "force": (NaiveTag, lambda serializer: serializer.register(NaiveTag, force=True), datetime(2024, 1, 2)),
    "no key": (ShoutTag, lambda serializer: serializer.register(ShoutTag, index=0), ["hello!", {"k": "you!"}]),
    "own dict": (OwnDictTag, lambda serializer: serializer.register(OwnDictTag, index=0), {"__own__": 1, "x": [2]}),
}


def shown(value: Any) -> Any:
    """Return a value with the names of its types, to compare."""
    if isinstance(value, Money):
        return "Money", value.cents
    if isinstance(value, dict):
        return type(value).__name__, [(key, shown(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [shown(item) for item in value]
    return type(value).__name__, value


@pytest.mark.parametrize("name", REGISTRATIONS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_tag_does_the_same_as_on_flasks_serializer(name: str, when: str) -> None:
    _, register, value = REGISTRATIONS[name]
    theirs = an_app()
    register(theirs.session_interface.serializer)  # type: ignore[attr-defined]
    ours = an_app()
    if when == "before":
        register(ours.session_interface.serializer)  # type: ignore[attr-defined]
    IdleSession(ours)
    if when == "after":
        register(ours.session_interface.serializer)  # type: ignore[attr-defined]
    assert shown(come_back(ours, value)) == shown(come_back(theirs, value))


def test_a_name_that_is_taken_is_a_key_error_as_flasks_is_unless_it_is_forced() -> None:
    for serializer in (TaggedJSONSerializer(), Codec()):
        serializer.register(MoneyTag)
        with pytest.raises(KeyError):
            serializer.register(MoneyTag)
        serializer.register(MoneyTag, force=True)
    codec = Codec()
    codec.register(Money, name="money", dump=lambda money: money.cents, load=Money)
    with pytest.raises(ValueError, match=r"'money'; choose another.*\[ISE063\]$"):
        codec.register(Money, name="money", dump=lambda money: money.cents, load=Money)
    codec.register(Money, force=True, name="money", dump=lambda money: money.cents * 2, load=Money)
    assert codec.decode(codec.encode(Money(2))).cents == 4


def test_what_the_codec_was_taught_counts_more_than_what_is_taken_over() -> None:
    app, codec = an_app(), Codec()
    app.session_interface.serializer.register(MoneyTag)  # type: ignore[attr-defined]
    codec.register(Money, name="money", dump=lambda money: money.cents, load=lambda cents: Money(cents + 1))
    IdleSession(app, codec=codec)
    assert come_back(app, Money(1)).cents == 2


def test_a_name_that_was_taken_over_can_be_given_again_and_one_object_serves_two_applications() -> None:
    sessions = IdleSession()
    for _ in range(2):
        app = an_app()
        app.session_interface.serializer.register(MoneyTag)  # type: ignore[attr-defined]
        sessions.init_app(app)
        assert come_back(app, Money(1)).cents == 1
    app.session_interface.serializer.register(type("OtherTag", (MoneyTag,), {}))  # type: ignore[attr-defined]


def test_a_serializer_of_another_kind_is_no_trouble() -> None:
    app = an_app()
    app.session_interface.serializer = object()  # type: ignore[attr-defined]
    IdleSession(app)
    assert come_back(app, {"a": (1,)}) == {"a": (1,)}


# The application's JSON provider.


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class Provider(DefaultJSONProvider):
    @staticmethod
    def default(value: Any) -> Any:
        if isinstance(value, Celsius):
            return {"degrees": value.degrees}
        return DefaultJSONProvider.default(value)


def test_what_the_applications_json_provider_makes_plainer_is_kept_so_as_by_flask() -> None:
    value = [Celsius(20.5), {"at": (Celsius(1), 2)}]
    kept = []
    for is_ours in (False, True):
        app = an_app()
        app.json = Provider(app)
        if is_ours:
            IdleSession(app)
        kept.append(shown(come_back(app, value)))
    assert kept[0] == kept[1]


def test_what_the_json_provider_refuses_is_refused_and_what_a_session_keeps_better_is_kept() -> None:
    app = an_app()
    app.json = Provider(app)
    IdleSession(app)
    assert come_back(app, {"when": datetime(2024, 1, 2, 3, 4, 5, 6)}) == {"when": datetime(2024, 1, 2, 3, 4, 5, 6)}
    with app.test_request_context(), pytest.raises(EncodeError, match=r"session\['v'\]\[0\] is a Money"):
        session["v"] = [Money(1)]


def test_without_a_provider_of_its_own_nothing_more_is_kept() -> None:
    app = an_app()
    IdleSession(app)
    with app.test_request_context(), pytest.raises(EncodeError, match="is a Celsius"):
        session["v"] = Celsius(1)
