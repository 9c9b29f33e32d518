"""Finds the code of the pages, and runs it as a reader would.

A block of Python is a program of its own. Comments, which no reader sees, say otherwise::

    .. continues              the next block goes on with the names of the one before
    .. given                  the indented code below runs before the next block
    .. check                  the indented code below runs after the block above, and says what is true then;
                              a block of another language is ``shown`` to it
    .. typed                  the blocks of this page are files and commands, which a test of its own types
"""

import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from textwrap import dedent
from typing import Any

CHECKOUT = Path(__file__).parents[2]
PAGES = [
    *(CHECKOUT / name for name in ("README.rst", "CONTRIBUTING.rst")),
    *sorted((CHECKOUT / "docs").glob("*.rst")),
]

#: The comments that are for this module.
COMMENTS = ("continues", "given", "check")

_OPENING = re.compile(r"^( *)\.\. (?:(?:code-block|sourcecode):: *(\S*)|(continues|given|check)\b(.*))$")
_OPTION = re.compile(r"^ +:([\w-]+): *(.*)$")
_TYPED = re.compile(r"^\.\. typed$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page: its language, or the word of a comment; its line; its code; the name of its file."""

    kind: str
    line: int
    code: str
    caption: str = ""


@dataclass(slots=True)
class Program:
    """Blocks that run one after the other, with the same names."""

    page: Path
    parts: list[Block] = field(default_factory=list)

    def __str__(self) -> str:
        shown = next((part for part in self.parts if part.kind == "python"), self.parts[0])
        return f"{self.page.name}:{shown.line}"

    def run(self, **names: Any) -> dict[str, Any]:
        """Run the parts, and return the names that there are then. A traceback shows the page's lines."""
        names = {"__name__": "a_page", **names}
        for part in self.parts:
            source = "\n" * (part.line - 1) + part.code
            name = f"<{self.page.name}:{part.line}>"
            linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
            exec(compile(source, name, "exec"), names)
        return names


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the code blocks of a page, and the comments that are for this module, in their order."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = _OPENING.match(lines[number])
        number += 1
        if opening is None:
            continue
        indent, language, word, rest = opening.groups()
        if rest:
            raise ValueError(f"line {number}: nothing may stand behind '.. {word}'.")
        options: dict[str, str] = {}
        while number < len(lines) and (option := _OPTION.match(lines[number])):
            options[option[1]] = option[2]
            number += 1
        first = number
        while number < len(lines) and (not lines[number].strip() or lines[number].startswith(f"{indent} ")):
            number += 1
        body = lines[first:number]
        blank = next((index for index, line in enumerate(body) if line.strip()), len(body))
        code = dedent("\n".join(body[blank:])).rstrip()
        yield Block(word or language or "text", first + blank + 1, code, options.get("caption", ""))


def programs_of(page: Path) -> list[Program]:
    """Return what a page's Python is together."""
    programs: list[Program] = []
    given: list[Block] = []
    shown = None
    goes_on = False
    text = page.read_text(encoding="utf-8")
    for block in [] if _TYPED.search(text) else blocks_of(text):
        if block.kind == "continues":
            goes_on = True
        elif block.kind == "given":
            given.append(block)
        elif block.kind == "check":
            if not programs:
                programs.append(Program(page))
            if shown is not None:
                programs[-1].parts.append(Block("check", block.line, f"shown = {shown.code!r}"))
            programs[-1].parts.append(block)
        elif block.kind == "python":
            if not goes_on:
                programs.append(Program(page))
            programs[-1].parts += [*given, block]
            given, goes_on = [], False
        if block.kind not in COMMENTS:
            shown = None if block.kind == "python" else block
    if given or goes_on:
        raise ValueError(f"{page.name}: no block of Python follows the last '.. given' or '.. continues'.")
    return programs


def modules_of(page: Path) -> dict[str, str]:
    """Return the files of a page that another block imports, by the module's name."""
    text = page.read_text(encoding="utf-8")
    files = {Path(block.caption).stem: block.code for block in blocks_of(text) if block.caption.endswith(".py")}
    return {name: code for name, code in files.items() if re.search(rf"^ +from {name} import", text, re.MULTILINE)}


def literal_blocks_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield what stands indented after a double colon, with its line."""
    for found in re.finditer(r"^( *)(?!\.\. )\S.*::\n\n((?:\1 +.*\n|\n)+)", f"{text}\n", re.MULTILINE):
        yield text.count("\n", 0, found.start(2)) + 1, dedent(found[2]).strip("\n")
    for found in re.finditer(r"^::\n\n((?: +.*\n|\n)+)", f"{text}\n", re.MULTILINE):
        yield text.count("\n", 0, found.start(1)) + 1, dedent(found[1]).strip("\n")
