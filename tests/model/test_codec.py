"""The codec: every type comes back, the two engines write the same bytes, and what is wrong is said."""

import collections
import dataclasses
import enum
import importlib.util
import math
import sys
import threading
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from datetime import timezone
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from flask.json.tag import JSONTag
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from markupsafe import Markup

from flask_idlesession.model import codec as codec_module
from flask_idlesession.model import msgpack as engine_module
from flask_idlesession.model.codec import ATOMS
from flask_idlesession.model.codec import Codec
from flask_idlesession.model.errors import DecodeError
from flask_idlesession.model.errors import EncodeError

BERLIN = ZoneInfo("Europe/Berlin")

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    10**100,
    -(10**100),
    0.0,
    -0.0,
    1.5,
    1e-300,
    math.inf,
    -math.inf,
    "",
    "text",
    "名前 🪑",
    "nul\x00",
    "\ud800",
    "a\udfffb",
    b"",
    b"\x00\xff",
    b"\xc1" * 300,
    UUID(int=0),
    UUID("12345678-1234-5678-9234-567812345678"),
    Decimal("1.10"),
    Decimal("-0"),
    Decimal("1E+30"),
    Decimal("Infinity"),
    Decimal(10) ** 40,
    datetime(2024, 2, 29, 12, 30, 59, 123456),
    datetime(2024, 2, 29),
    datetime.min,
    datetime.max,
    datetime(2024, 1, 1, 12, tzinfo=UTC),
    datetime(2024, 1, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30, seconds=5, microseconds=7))),
    datetime(2024, 7, 1, 12, tzinfo=BERLIN),
    datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN),
    datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=BERLIN),
    datetime(2025, 10, 26, 2, 30, fold=1),
    date(2024, 2, 29),
    date.min,
    date.max,
    time(),
    time(23, 59, 59, 999999),
    time(1, 2, fold=1),
    time(1, 2, tzinfo=UTC),
    time(1, 2, tzinfo=BERLIN),
    timedelta(),
    timedelta(microseconds=1),
    timedelta.min,
    timedelta.max,
    Markup(""),
    Markup("<b>&amp;</b>"),
    Markup("\ud800"),
    [],
    [1, [2, [3]]],
    (),
    (1, (2, [3, (4,)])),
    set(),
    {1, "a", b"b", None, (1, 2)},
    frozenset(),
    frozenset({frozenset({1}), 2.5}),
    {},
    {"a": {"b": {"c": []}}},
    {1: "int", "1": "str"},
    {None: 1, 2.5: 2, b"b": 3, (1, "x"): 4, UUID(int=5): 5, date(2024, 1, 1): 6, frozenset({1}): 7},
    {True: 1, "\ud800": [Markup("x")]},
    {2**70: -(2**70)},
    [("message", Markup("<i>saved</i>")), ("error", "no")],
    {"": "", " t": 1, " di": 2, "__html__": 3},
]


def name_of(value: Any) -> str:
    """The value as its test is called, in every process alike: a set shows its values in another order in each."""
    return f"set of {len(value)}" if type(value) is set and value else ascii(value)[:40]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, of the same types all through, and alike where equality is not enough."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return one == other and Codec().encode(one) == Codec().encode(other)
    if isinstance(one, datetime | time):
        return (repr(one), one.fold) == (repr(other), other.fold)
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    return bool(one == other)


def load_plain_engine() -> ModuleType:
    """Return the engine module as it is where ormsgpack is not installed."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "ormsgpack"}
    sys.modules["ormsgpack"] = None  # type: ignore[assignment]
    try:
        spec = importlib.util.spec_from_file_location("plain_engine", str(engine_module.__file__))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules["ormsgpack"]
        sys.modules.update(hidden)
    return module


plain_engine = load_plain_engine()
ENGINES = {"ormsgpack": engine_module, "msgpack": plain_engine}


@pytest.fixture(params=list(ENGINES))
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Codec:
    monkeypatch.setattr(codec_module, "engine", ENGINES[request.param])
    return Codec()


def test_the_engines_are_two() -> None:
    assert not hasattr(plain_engine, "ormsgpack") and hasattr(plain_engine, "msgpack")
    assert Path(str(plain_engine.__file__)) == Path(str(engine_module.__file__))


# Round trips.


@pytest.mark.parametrize("value", VALUES, ids=name_of)
def test_every_type_comes_back_as_it_went_in(codec: Codec, value: Any) -> None:
    data = codec.encode(value)
    assert type(data) is bytes
    decoded = codec.decode(data)
    assert same(decoded, value)
    assert codec.encode(decoded) == data, "What was read and not changed would be written again."


def test_a_decimal_that_is_no_number_comes_back(codec: Codec) -> None:
    for text in ("NaN", "-NaN", "sNaN", "NaN123"):
        assert repr(codec.decode(codec.encode(Decimal(text)))) == repr(Decimal(text))


def test_a_float_that_is_no_number_comes_back(codec: Codec) -> None:
    assert math.isnan(codec.decode(codec.encode(math.nan)))


def test_a_zone_keeps_its_name_and_its_changes(codec: Codec) -> None:
    value = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=BERLIN)
    decoded = codec.decode(codec.encode(value))
    assert decoded.tzinfo == BERLIN and decoded.fold == 1
    assert decoded.utcoffset() == timedelta(hours=1)
    assert (decoded - timedelta(days=1)).utcoffset() == timedelta(hours=2)


def test_a_zone_that_this_host_does_not_know_leaves_the_instant(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    value = datetime(2024, 7, 1, 12, tzinfo=BERLIN)
    data = codec.encode(value)
    decoded = codec.decode(data.replace(b"Europe/Berlin", b"Europe/Birlen"))
    assert decoded == value and decoded.utcoffset() == timedelta(hours=2)


def test_equal_sets_have_the_same_bytes(codec: Codec) -> None:
    members = [str(number) for number in range(50)] + [(1,), 2, None, b"3"]
    first, second = set(), set()
    for one, other in zip(members, reversed(members), strict=True):
        first.add(one)
        second.add(other)
    assert codec.encode(first) == codec.encode(second)
    assert codec.encode({"a": [first]}) == codec.encode({"a": [second]})
    assert codec.encode({1: first}) == codec.encode({1: second})


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 255, 65535, 65536, 70000])
def test_containers_and_texts_of_any_size_come_back(codec: Codec, size: int) -> None:
    for value in (
        set(range(size)),
        tuple(range(size)),
        list(range(size)),
        {str(number): number for number in range(size)},
        "x" * size,
        b"x" * size,
        Markup("x" * size),
    ):
        assert codec.decode(codec.encode(value)) == value


def test_a_change_in_the_middle_changes_the_bytes(codec: Codec) -> None:
    value = {"items": [{"n": 1, "tags": {"a"}}, (1, {"x": [None]})]}
    data = codec.encode(value)
    value["items"][1][1]["x"].append(1)  # type: ignore[index]
    assert codec.encode(value) != data


@pytest.mark.parametrize("pair", [(1, True), (0, False), (1, 1.0), ("a", b"a"), ((1,), [1]), ({1}, frozenset({1}))])
def test_equal_or_similar_values_of_two_types_have_different_bytes(codec: Codec, pair: tuple[Any, Any]) -> None:
    assert codec.encode(pair[0]) != codec.encode(pair[1])


def test_atoms_are_exactly_the_types_that_cannot_change() -> None:
    kinds = {type(value) for value in VALUES}
    assert kinds - ATOMS == {list, tuple, set, frozenset, dict}


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Data(bytes):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Size(enum.StrEnum):
    SMALL = "s"


Pair = collections.namedtuple("Pair", "a b")


class Html:
    def __repr__(self) -> str:
        return "Html()"

    def __html__(self) -> str:
        return "<hr>"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Text("a"), "a"),
        (Number(5), 5),
        (Number(2**80), 2**80),
        (Real(1.5), 1.5),
        (Data(b"a"), b"a"),
        (Colour.RED, 1),
        (Size.SMALL, "s"),
        (Pair(1, 2), (1, 2)),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (Point(1, [Point(2, ())]), {"x": 1, "y": [{"x": 2, "y": ()}]}),
        (Html(), Markup("<hr>")),
        ({Text("k"): Text("v")}, {"k": "v"}),
        ({Size.SMALL: 1}, {"s": 1}),
        (Text("\ud800"), "\ud800"),
    ],
    ids=repr,
)
def test_a_subclass_comes_back_as_its_base(codec: Codec, value: Any, plain: Any) -> None:
    for wrap in (lambda it: it, lambda it: [it], lambda it: {1: (it,)}):
        assert same(codec.decode(codec.encode(wrap(value))), wrap(plain))


# Hypothesis.

texts = st.text(st.characters(exclude_categories=()), max_size=8)
zones = st.sampled_from([None, UTC, BERLIN, ZoneInfo("America/St_Johns"), timezone(timedelta(minutes=-754))])
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=8),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.datetimes(timezones=zones, allow_imaginary=False),
    st.dates(),
    st.times(timezones=st.sampled_from([None, UTC, BERLIN])),
    st.timedeltas(),
    texts.map(Markup),
)
hashables = st.recursive(
    atoms,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables, max_size=4),
        st.frozensets(hashables, max_size=4),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=4),
    ),
    max_leaves=12,
)


@given(values)
def test_anything_comes_back_and_both_engines_agree_to_the_byte(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        data = Codec().encode(value)
        assert same(Codec().decode(data), value)
        patch.setattr(codec_module, "engine", plain_engine)
        assert Codec().encode(value) == data
        assert same(Codec().decode(data), value)


@pytest.mark.parametrize("value", VALUES, ids=name_of)
def test_both_engines_write_the_same_bytes(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Codec().encode(value)
    monkeypatch.setattr(codec_module, "engine", plain_engine)
    assert Codec().encode(value) == data
    assert same(Codec().decode(data), value)


def test_both_engines_write_the_same_bytes_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sized = [
        kind(size)
        for size in (0, 1, 2, 4, 8, 15, 16, 31, 32, 255, 256, 65535, 65536)
        for kind in (
            lambda n: "x" * n,
            lambda n: b"x" * n,
            lambda n: [None] * n,
            lambda n: {str(i): i for i in range(n)},
            lambda n: Markup("x" * n),
            lambda n: set(range(n)),
            lambda n: (None,) * n,
            lambda n: 2 ** (8 * n + 70) if n < 300 else 0,
        )
    ]
    sized += [sign * (2**bits) + by for bits in range(66) for sign in (1, -1) for by in (-1, 0, 1)]
    written = [Codec().encode(value) for value in sized]
    monkeypatch.setattr(codec_module, "engine", plain_engine)
    assert [Codec().encode(value) for value in sized] == written


# What cannot be kept.


class Stranger:
    pass


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (Stranger(), "session['cart']", "Stranger"),
        ({"items": [1, 2, 3, {"when": Stranger()}]}, "session['cart']['items'][3]['when']", "Stranger"),
        ([[], (1, [Stranger()])], "session['cart'][1][1][0]", "Stranger"),
        ({1: {2: Stranger()}}, "session['cart'][1][2]", "Stranger"),
        ({(1, "a"): Stranger()}, "session['cart'][(1, 'a')]", "Stranger"),
        ({"a": {Stranger()}}, "session['cart']['a']", "Stranger"),
        ({"a": frozenset({frozenset({Stranger()})})}, "session['cart']['a']", "Stranger"),
        ({"\ud800": Stranger()}, "session['cart']['\\ud800']", "Stranger"),
        (Point(1, {"z": Stranger()}), "session['cart']['y']['z']", "Stranger"),
        (Point(1, threading.Lock()), "session['cart']['y']", "lock"),
        ([object()], "session['cart'][0]", "object"),
        ([1j], "session['cart'][0]", "complex"),
        ([range(3)], "session['cart'][0]", "range"),
        ([print], "session['cart'][0]", "builtin_function_or_method"),
        ([Point], "session['cart'][0]", "type"),
        ([iter([])], "session['cart'][0]", "list_iterator"),
    ],
    ids=lambda value: ascii(value)[:30] if isinstance(value, str) else "",
)
def test_what_cannot_be_kept_is_named_with_its_path(codec: Codec, value: Any, path: str, kind: str) -> None:
    with pytest.raises(EncodeError) as caught:
        codec.encode(value, path="session['cart']")
    message = str(caught.value)
    assert message.startswith(f"{path} is a {kind}, which a session cannot keep; ")
    assert "register()" in message


def test_a_refused_value_is_a_type_error_as_in_flask(codec: Codec) -> None:
    with pytest.raises(TypeError):
        codec.encode(Stranger())


def test_a_value_that_contains_itself_is_refused(codec: Codec) -> None:
    own_list: list[Any] = []
    own_list.append(own_list)
    own_dict: dict[str, Any] = {}
    own_dict["me"] = (own_dict,)
    for value in (own_list, own_dict, [own_dict], {1: own_list}):
        with pytest.raises(EncodeError, match="value is nested too deeply, or contains itself"):
            codec.encode(value)


NESTS = {
    "list": lambda value: [value],
    "dict": lambda value: {"a": value},
    "pairs": lambda value: {1: value},
    "tuple": lambda value: (value,),
    "frozenset": lambda value: frozenset({value}),
    "point": lambda value: Point(0, value),
    "tuple in list": lambda value: [(value,)],
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("depth", [10, 20, 31, 32, 33, 34, 50, 100, 250, 260, 300, 400, 500, 520, 900, 1100, 5000])
def test_what_is_nested_is_refused_or_comes_back(codec: Codec, nest: str, depth: int) -> None:
    value: Any = "end"
    for _ in range(depth):
        value = NESTS[nest](value)
    refusal = ""
    try:
        data = codec.encode(value, path="here")
    except EncodeError as error:
        refusal = str(error)
    if refusal:
        assert depth > 31
        assert refusal.startswith("here is nested too deeply, or contains itself; a session cannot keep it.")
        return
    decoded = codec.decode(data)
    for _ in range(depth):
        decoded = next(iter(decoded.values() if isinstance(decoded, dict) else decoded), None)
        decoded = decoded[0] if nest == "tuple in list" else decoded
        if nest == "point":
            break
    assert decoded == "end" or nest == "point"


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("depth", [60, 1000])
def test_a_stranger_deep_within_is_refused_in_no_time(codec: Codec, nest: str, depth: int) -> None:
    value: Any = Stranger()
    for _ in range(depth):
        value = NESTS[nest](value)
    with pytest.raises(EncodeError):
        codec.encode(value)


# Bytes that nobody wrote.


def ext(code: int, payload: bytes) -> bytes:
    return b"\xc9" + len(payload).to_bytes(4) + code.to_bytes(1, signed=True) + payload


GARBAGE = [
    b"",
    b"\xc1",
    b"\x91",
    b"\xa5abc",
    b"\xd9",
    b"\xa1\xff",
    b"\xc0\xc0",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x81\x90\x90",
    b"\x91" * 5000,
    b"\x91" * 100_000 + b"\xc0",
    b"\x81\xa1a" * 5000 + b"\xc0",
    ext(99, b"x"),
    ext(-5, b"x"),
    ext(0, b""),
    *[ext(code, payload) for code in range(1, 16) for payload in (b"", b"\xc1", b"\xff\xff\xff", b"\xc0", b"\x90")],
    *[ext(code, b"\x92\x01\x02") for code in (3, 6, 8, 14)],
    ext(2, b"\x91\x90"),
    ext(3, b"\x91\x80"),
    ext(14, b"\x92\x90\x90"),
    ext(12, b"\x91\x01"),
    ext(12, b"\x92\x90\x01"),
    ext(9, b"\x93\xcf" + b"\xff" * 8 + b"\x00\x00"),
    ext(6, b"\x93\xb92024-01-01T00:00:00+00:00\x00\xa6Europe"),
    ext(6, b"\x93\xb92024-01-01T00:00:00+00:00\x00\xa2.."),
    ext(6, b"\x93\xb92024-01-01T00:00:00+00:00\x07\xc0"),
    ext(6, b"\x93\xb92024-01-01T00:00:00+00:00\x00\x05"),
]


def decode_or_refuse(codec: Codec, data: bytes) -> None:
    refusal = "a reason"
    try:
        codec.decode(data)
    except DecodeError as error:
        refusal = str(error)
    assert refusal


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: data[:24].hex())
def test_garbage_is_a_decode_error_or_a_value_and_nothing_else(codec: Codec, data: bytes) -> None:
    decode_or_refuse(codec, data)


@pytest.mark.parametrize("depth", [90, 150, 300, 1000, 3000])
@pytest.mark.parametrize("code", [1, 2, 12, 14])
def test_extensions_nested_by_hand_are_a_decode_error_or_a_value(codec: Codec, code: int, depth: int) -> None:
    data = codec.encode(None)
    for _ in range(depth):
        data = ext(code, b"\x91" + data)
    decode_or_refuse(codec, data)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.sampled_from(list(ENGINES)))
def test_random_bytes_are_a_decode_error_or_a_value(data: bytes, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_module, "engine", ENGINES[name])
        decode_or_refuse(Codec(), data)


@given(values, st.data(), st.sampled_from(list(ENGINES)))
def test_damaged_bytes_are_a_decode_error_or_a_value(value: Any, draw: st.DataObject, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_module, "engine", ENGINES[name])
        data = bytearray(Codec().encode(value))
        for _ in range(draw.draw(st.integers(1, 3))):
            data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
        decode_or_refuse(Codec(), bytes(data))
        decode_or_refuse(Codec(), bytes(data[: draw.draw(st.integers(0, len(data)))]))


# Types of the application's own.


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


class OrderedDictTag(JSONTag):
    """As in the documentation of Flask."""

    key = " od"

    def check(self, value: Any) -> bool:
        return isinstance(value, collections.OrderedDict)

    def to_json(self, value: Any) -> Any:
        return [[key, self.serializer.tag(item)] for key, item in value.items()]

    def to_python(self, value: Any) -> Any:
        return collections.OrderedDict(value)


def register_money(codec: Codec) -> None:
    codec.register(Money, name="money", dump=lambda money: money.cents, load=Money)


def test_a_registered_type_comes_back(codec: Codec) -> None:
    register_money(codec)
    for value in (Money(5), [Money(1)], {"a": (Money(2**90),)}, {Money(3)}, {Money(4): [Money(5)]}):
        assert codec.decode(codec.encode(value)) == value


def test_a_tag_of_flasks_own_session_comes_back(codec: Codec) -> None:
    codec.register(OrderedDictTag)
    value = {"x": collections.OrderedDict(b=(1, 2), a=collections.OrderedDict(c={3}))}
    decoded = codec.decode(codec.encode(value))
    assert decoded == value
    assert type(decoded["x"]) is type(decoded["x"]["a"]) is collections.OrderedDict
    assert type(decoded["x"]["b"]) is tuple


def test_a_registered_type_is_told_apart_from_its_subclasses(codec: Codec) -> None:
    codec.register(Pair, name="pair", dump=list, load=lambda parts: Pair(*parts))
    decoded = codec.decode(codec.encode([Pair(1, 2), (1, 2)]))
    assert [type(item) for item in decoded] == [Pair, tuple]


def test_a_type_that_is_registered_no_more_is_a_decode_error(codec: Codec) -> None:
    register_money(codec)
    data = codec.encode([Money(5)])
    with pytest.raises(DecodeError, match="'money' is stored, which is not registered"):
        Codec().decode(data)


def test_a_load_function_that_raises_is_a_decode_error(codec: Codec) -> None:
    def load(payload: Any) -> Any:
        raise LookupError("moved away")

    codec.register(Money, name="money", dump=lambda money: money.cents, load=load)
    with pytest.raises(DecodeError, match="load function for 'money' raised LookupError"):
        codec.decode(codec.encode([(Money(1),)]))


def test_what_a_dump_function_returns_must_be_known_too(codec: Codec) -> None:
    codec.register(Money, name="money", dump=lambda money: Stranger(), load=Money)
    with pytest.raises(EncodeError, match="a Stranger"):
        codec.encode({"price": Money(1)})


def test_what_a_dump_function_raises_comes_through(codec: Codec) -> None:
    def dump(money: Money) -> int:
        raise TypeError("no cents")

    codec.register(Money, name="money", dump=dump, load=Money)
    with pytest.raises(TypeError, match="no cents"):
        codec.encode({"price": Money(1)})


def test_a_name_is_given_once(codec: Codec) -> None:
    register_money(codec)
    with pytest.raises(ValueError, match="'money'"):
        codec.register(Stranger, name="money", dump=str, load=str)
    codec.register(OrderedDictTag)
    with pytest.raises(ValueError, match="' od'"):
        codec.register(OrderedDictTag)


def test_a_half_registration_is_refused(codec: Codec) -> None:
    with pytest.raises(TypeError, match=r"register\(Money\) needs name=, dump= and load="):
        codec.register(Money, name="money")


def test_nothing_in_the_bytes_names_code(codec: Codec) -> None:
    data = codec.encode({"p": Point(1, 2), "when": datetime(2024, 1, 1), "id": UUID(int=1)})
    assert b"datetime" not in data and b"Point" not in data and b"uuid" not in data.lower()
