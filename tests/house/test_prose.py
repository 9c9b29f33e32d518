"""The prose: sentences of docstrings, comments, messages and pages have no word that a late reader has not learnt."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

#: A word that stays out, and what stands in its place.
WORDS = {
    r"anew": "again, new",
    r"whoever|whomever": "the user who, the client that, anybody who",
    r"in vain": "without effect, or what happens",
    r"so many": "the number",
    r"mend(?:s|ed|ing)?": "repair, fix, what to write instead",
    r"ways? to (?:a|the) server": "round trip",
}
_WORDS = {re.compile(rf"\b(?:{word})\b", re.IGNORECASE): instead for word, instead in WORDS.items()}

#: A sentence whose subject is a clause: "What is encrypted is …", "Who was nobody keeps …". A question is none.
_FREE_RELATIVE = re.compile(r"(?:^|[.:;] )((?:What|Who|Whom|Whose)\b(?![^.?!]*\?)[^.?!]*[.!])")

#: Words that a sentence has at most.
LONGEST = 25

PAGES = [path for pattern in ("*.rst", "*.md", "docs/*.rst", ".github/**/*.md") for path in CHECKOUT.glob(pattern)]
MODULES = sorted(
    path
    for folder in ("flask_idlesession", "benchmarks", "docs", "example_app", ".github")
    for path in (CHECKOUT / folder).rglob("*.py")
)


def place_of(path: Path) -> str:
    """Return the room that a module is in, or the page itself."""
    top, *inner = path.relative_to(CHECKOUT).parts
    return "/".join([top, *inner[: 1 if path.suffix == ".py" else None]])


PLACES: dict[str, list[Path]] = {}
for each in [*PAGES, *MODULES]:
    PLACES.setdefault(place_of(each), []).append(each)


def faults(prose: str) -> Iterator[str]:
    """Yield what is wrong with a paragraph: the words, and what to write instead."""
    for word, instead in _WORDS.items():
        for found in word.finditer(prose):
            yield f"{found[0]!r} (write: {instead}) in: {prose[max(found.start() - 40, 0) : found.end() + 40]}"
    for found in _FREE_RELATIVE.finditer(prose):
        yield f"begin with the thing that the sentence is about: {found[1]}"


def paragraphs_of(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    for paragraph in _of_module(source) if path.suffix == ".py" else _of_page(source):
        yield _plain(paragraph)


def _plain(paragraph: str) -> str:
    """Return a paragraph on one line, with a sign in place of each literal."""
    return " ".join(re.sub(r"``.*?``|`[^`]*`", "…", paragraph, flags=re.DOTALL).split())


#: What is no prose on a page: directives with code or a picture, comments, and blocks after a double colon.
_OTHER = re.compile(
    r"^( *)(?:\.\. (?:code-block|literalinclude|include|image|raw|timeline)::.*|\.\. \w[^:\n]*|```.*|[^\n]*::)\n"
    r"(?:\1 +.*\n|\n)*",
    re.MULTILINE,
)
_BREAK = re.compile(r"\n\s*\n|\n *(?:[-*] |\d+\. )")
_TABLE = re.compile(r"^ *=+ +=[= ]*\n(?:.*\n)*? *=+ +=[= ]*\n(?=\n|\Z)", re.MULTILINE)
_TERM = re.compile(r"^(\S.*)\n(?= +\S)", re.MULTILINE)
_RULER = re.compile(r"\s*([=\-~^#|+])[=\-~^#|+ ]*")


def _of_page(source: str) -> Iterator[str]:
    """Yield a page's paragraphs, and the entries of its lists."""
    for paragraph in _BREAK.split(_OTHER.sub("\n\n", source)):
        yield "\n".join(line for line in paragraph.splitlines() if not _RULER.fullmatch(line))


def _of_module(source: str) -> Iterator[str]:
    """Yield a module's docstrings, its messages (strings of three words or more) and its comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) > 2:
            yield from node.value.split("\n\n")
    lines: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines.append(token.string.lstrip("#: "))
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            yield " ".join(lines)
            lines = []
    yield " ".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    long = list(too_long(page.read_text(encoding="utf-8")))
    assert not long, f"Split these: {LONGEST} words are enough."


@pytest.mark.parametrize(
    "module",
    [path for path in MODULES if path.relative_to(CHECKOUT).parts[0] == "flask_idlesession"],
    ids=lambda path: path.relative_to(CHECKOUT).as_posix(),
)
def test_sentences_of_docstrings_and_comments_are_short(module: Path) -> None:
    long = [sentence for text in documentation_of(module.read_text(encoding="utf-8")) for sentence in too_long(text)]
    assert not long, f"Split these: {LONGEST} words are enough."


def documentation_of(source: str) -> Iterator[str]:
    """Yield a module's docstrings, and its comments without their tables, which are indented."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    lines: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines.append("" if re.match(r"#:?  ", token.string) else token.string.lstrip("#: "))
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            yield "\n".join(lines)
            lines = []
    yield "\n".join(lines)


def too_long(page: str) -> Iterator[str]:
    """Yield the sentences of a page, tables apart, that have more words than a reader keeps in mind."""
    for paragraph in _of_page(_TERM.sub(r"\1\n\n", _TABLE.sub("\n", f"{page}\n"))):
        for sentence in re.split(r"(?<=[.!?:;]) ", _plain(paragraph)):
            if len(sentence.split()) > LONGEST:
                yield sentence


@pytest.mark.parametrize("place", sorted(PLACES))
def test_sentences_are_plain(place: str) -> None:
    found = [
        f"{path.name}: {fault}"
        for path in PLACES[place]
        for paragraph in paragraphs_of(path)
        for fault in faults(paragraph)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "prose",
    [
        "Both clocks start anew.",
        "Whoever holds the token is let in.",
        "What is encrypted is encrypted the same way each time.",
        "The end is final. Who was nobody keeps what they have.",
        "The lock was taken in vain.",
    ],
)
def test_a_sentence_that_is_not_plain_is_seen(prose: str) -> None:
    assert list(faults(prose))


@pytest.mark.parametrize(
    "prose", ["What is a session?", "We renewed it.", "Amend the commit.", "The user who asks waits."]
)
def test_a_plain_sentence_passes(prose: str) -> None:
    assert not list(faults(prose))


def test_a_long_sentence_is_seen() -> None:
    words = "word " * LONGEST
    assert list(too_long(f"A {words}ends.\n"))
    assert not list(
        too_long(f"{words.strip()}.\n\n====  ====\n{words * 2}\n====  ====\n\nA term of some words\n    {words}\n")
    )


def test_a_long_sentence_of_a_module_is_seen() -> None:
    words = "word " * LONGEST
    for source in (f'def f():\n    """Short.\n\n    A {words}ends.\n    """\n', f"#: A {words}\n#: ends.\nA = 1\n"):
        assert [sentence for text in documentation_of(source) for sentence in too_long(text)]
    table = f"#: Two fields.\n#:   one  {words}\n#:   two  {words}\nA = 1\n"
    assert not [sentence for text in documentation_of(table) for sentence in too_long(text)]


def test_code_is_no_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text("Write this::\n\n    anew = 1\n\n.. code-block:: python\n\n    mend = anew\n\nAnd ``mend``.\n")
    assert not [fault for paragraph in paragraphs_of(page) for fault in faults(paragraph)]
    page.write_text("Write this::\n\n    a = 1\n\nIt starts\nanew.\n")
    assert [fault for paragraph in paragraphs_of(page) for fault in faults(paragraph)]


def test_docstrings_messages_and_comments_are_prose(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    for source in ('"""It begins anew."""', 'raise E(f"{name} must begin anew now")', "a = 1  # It begins anew."):
        module.write_text(source)
        assert [fault for paragraph in paragraphs_of(module) for fault in faults(paragraph)]
