"""The pictures in the documentation are made by a script, and all of them are shown."""

import re
import runpy
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.programs import find_program
from support.programs import need_packages

DOCS = Path(__file__).parents[2] / "docs"


def size_of(picture: Path) -> tuple[int, int]:
    return struct.unpack(">II", picture.read_bytes()[16:24])  # type: ignore[return-value]


def script() -> dict[str, Any]:
    need_packages("playwright")
    find_program("chromium")
    return runpy.run_path(str(DOCS / "pictures" / "make.py"))


def test_the_pictures_are_those_that_the_script_makes_and_the_page_shows() -> None:
    made = {"-".join(picture) + ".png" for picture in script()["SHOWN"]}
    shown = set(re.findall(r"image:: pictures/(\S+)", (DOCS / "gallery.rst").read_text(encoding="utf-8")))
    assert made == shown == {path.name for path in (DOCS / "pictures").glob("*.png")}


def test_the_script_makes_the_same_pictures_again(tmp_path: Path) -> None:
    script()
    names = f"runpy.run_path({str(DOCS / 'pictures' / 'make.py')!r})"
    call = f"{names}['make']([('mine', 'narrow', 'dark', 'en')], pathlib.Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", f"import pathlib, runpy; {call}"], check=True, capture_output=True)
    (made,) = tmp_path.iterdir()
    assert size_of(made) == size_of(DOCS / "pictures" / made.name)
