"""A value that a session refuses is called by its name, and what to store in its place is said for its kind."""

import io
from types import ModuleType
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage

from flask_idlesession.model.recipes import named
from flask_idlesession.model.recipes import recipe_for


def a(name: str, module: str = "shop.models", bases: tuple[type, ...] = (), **attributes: Any) -> Any:
    """Return an instance of a class that was defined so in that module."""
    return type(name, bases, {"__module__": module, **attributes})()


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("numpy", "bool", "numpy.bool"),
        ("numpy", "bool_", "numpy.bool_"),
        ("numpy", "int64", "numpy.int64"),
        ("shop.models", "int", "shop.int"),
        ("shop.models", "Money", "Money"),
        ("builtins", "complex", "complex"),
    ],
)
def test_a_type_is_not_taken_for_a_built_in_one(module: str, name: str, expected: str) -> None:
    assert named(type(name, (), {"__module__": module})) == expected


@pytest.mark.parametrize(
    ("value", "recipe"),
    [
        (a("User", _sa_class_manager=1), "store its primary key, and load the object in the view"),
        (a("User", _meta=1, pk=1), "store its primary key, and load the object in the view"),
        (a("Form", model_dump=1, model_fields={}), 'store value.model_dump(mode="json")'),
        (a("Point", __attrs_attrs__=()), "store attrs.asdict(value)"),
        (a("Frame", to_dict=1, iterrows=1), 'store value.to_dict("list")'),
        (a("int64", "numpy", shape=()), "store value.item()"),
        (a("ndarray", "numpy", shape=(3,)), "store value.tolist()"),
        (FileStorage(), "save the file, and store its path"),
        (a("LazyString", "flask_babel.speaklater"), "store str(value)"),
        (io.BytesIO(b"x"), "store what it reads, or the path of the file"),
        (iter([1]), "store list(value)"),
        ({}.keys(), "store list(value)"),
        (len, "store its name, and find it by that in the view"),
        (int, "store its name, and find it by that in the view"),
        (object(), "store plain data in its place"),
        (SimpleNamespace(model_dump=1), "store plain data in its place"),
        (ModuleType("shop"), "store plain data in its place"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_there_is_a_recipe_for_each_kind(value: Any, recipe: str) -> None:
    assert recipe_for(value) == recipe


def test_an_object_that_answers_to_every_name_is_judged_by_its_class() -> None:
    class Mock:
        def __getattr__(self, name: str) -> Any:
            return self

    assert recipe_for(Mock()) == "store plain data in its place"
