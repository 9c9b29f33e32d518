"""Judges secret keys: the one module that knows which of them others know or can guess."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ..model.errors import ConfigError

ADVICE = "Make one with: python -c 'import secrets; print(secrets.token_hex())'"

#: A shorter key can be tried out, and so can what has fewer characters than the second number that are no words.
_SHORT, _LEAST_UNKNOWN = 16, 8

#: Fewer letters in the middle of something are no word: they are there by chance.
_LEAST_RUN = 3

#: A key with fewer different characters is typed by one finger.
_LEAST_DIFFERENT = 5

#: Keys that were printed in documentation, tutorials or configuration that is shipped, and look random
#: (CVE-2023-27524 was one such).
_PRINTED = frozenset(
    {
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        "5791628bb0b13ce0c676dfde280ba245",
        "7d441f27d441f27567d441f2b6176a",
        '_5#y2L"F4Q8z\n\xec]/',
        '_5#y2L"F4Q8z\\n\\xec]/',
        "A0Zr98j/3yX R~XHH!jmN]LWX/,?RT",
        "\x02\x01thisismyscretkey\x01\x02\\e\\y\\y\\h",
        "\\2\\1thisismyscretkey\\1\\2\\e\\y\\y\\h",
        "\x02\x01thisismyscretkey\x01\x02e\\y\\y\\h",
    }
)

#: Words of which keys are made that stand for a key: "you-will-never-guess", "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET".
_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a admin an and any anything api app application asdf at bad be bar baz blog by change changed changeit changeme
        changethis code complex config cookie csrf data database debug default demo dev devel develop development do
        dont easy enter ever example fallback first flask foo for generate generated goes good guess hack hackme hard
        hash hello here i in insert insecure into is it jwt keep key keys kept la local login long lorem me must my
        mykey name need never new no nobody none not nothing of on only or our own paste pass passphrase password
        please precious private prod production project put python quick random replace really s safe sample save
        secrete secretest scret secret secrets secretkey secure security server session set sha should signing simple
        site so some something staging start strong super string temp temporary test testing tests text that the them
        this to todo token too top try tutorial unique unsafe use user value very want web website will with wont
        word words world would xxx you your yours
        brown duper fox jumped jumps lazy dog over
        """,
    )
)
_LONGEST_WORD = max(map(len, _WORDS))

_SEPARATORS = re.compile(r"[\s!-/:-@\[-`{-~]+")
_LEET = str.maketrans("013457@$", "oieastas")


def fault_in(secret_key: Any, fallbacks: Any) -> str | None:
    """Return what is wrong with the kinds of these two settings, with the code; None if nothing is."""
    if not isinstance(secret_key, str | bytes):
        return f"SECRET_KEY is of the type {type(secret_key).__name__}; it must be a text or bytes. {ADVICE} [ISE002]"
    if fallbacks is not None and not isinstance(fallbacks, list | tuple):
        kind = type(fallbacks).__name__
        return f"SECRET_KEY_FALLBACKS is of the type {kind}; it must be a list of former keys. [ISE002]"
    kinds = [type(key).__name__ for key in fallbacks or () if not isinstance(key, str | bytes)]
    if kinds:
        return f"SECRET_KEY_FALLBACKS has something of the type {kinds[0]} in it; it must be a list of texts. [ISE002]"
    return None


def weaknesses_of(secret_keys: Iterable[str | bytes]) -> list[str | None]:
    """Return of each key why others may know it, or can guess it; None for a good one. No key is told."""
    return [_weakness_of(key if isinstance(key, str) else key.decode("latin-1")) for key in secret_keys]


def require_strong_keys(weaknesses: Iterable[str | None], *, for_what: str) -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` if a key is weak: with it alone somebody would be let in.

    ``weaknesses`` is what :func:`weaknesses_of` says; ``for_what`` is the setting that the keys protect.
    """
    for weakness in weaknesses:
        if weakness is not None:
            raise ConfigError(
                f"{for_what} needs a secret key that nobody can guess, since the key alone protects what is kept. "
                f"SECRET_KEY, or one of SECRET_KEY_FALLBACKS, {weakness}. {ADVICE} [ISE001]"
            )


@lru_cache(maxsize=64)
def _weakness_of(text: str) -> str | None:
    if text in _PRINTED:
        return "was printed in documentation"
    if len(text) < _SHORT:
        return f"has {len(text)} characters only"
    if len(set(text)) < _LEAST_DIFFERENT:
        return "is made of a few characters"
    plain = text.lower()
    if not (plain.isascii() and plain.isprintable()):
        return None  # It is not typed.
    if min(_count_unknown(plain), _count_unknown_pieces(plain.translate(_LEET))) < _LEAST_UNKNOWN:
        return "is made of words"
    return None


def _count_unknown(text: str) -> int:
    """Return how many characters are left without words, rows as in "1234", and what stands between words."""
    left = 0
    for piece in _SEPARATORS.split(text):
        for run in re.findall(r"[a-z]+|[^a-z]+", piece):
            is_known = (len(run) >= _LEAST_RUN or run == piece) and (_is_row(run) or _is_made_of_words(run))
            left += 0 if is_known else len(run)
    return left


def _count_unknown_pieces(text: str) -> int:
    """Return how many characters are left where only pieces that are words from end to end are taken away."""
    return sum(len(piece) for piece in _SEPARATORS.split(text) if not _is_made_of_words(piece))


def _is_row(run: str) -> bool:
    """Whether each character is the next one, or the same: "2345", "8901", "abcd", "zzz", also backwards."""
    steps = {ord(after) - ord(before) for before, after in zip(run, run[1:], strict=False)}
    return len(run) > 2 and (steps <= {1, -9} or steps <= {-1, 9} or steps == {0})


def _is_made_of_words(run: str) -> bool:
    """Whether the letters are words, one after the other."""
    ends = {0}
    for end in range(1, len(run) + 1):
        if any(start in ends and run[start:end] in _WORDS for start in range(max(0, end - _LONGEST_WORD), end)):
            ends.add(end)
    return len(run) in ends
