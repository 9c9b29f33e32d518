"""Says the pages' sentences in the language of the request: by Flask-Babel where the application has it."""

import gettext
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import current_app
from flask import request
from werkzeug.datastructures import LanguageAccept

#: The name of the catalogues: ``translations/de/LC_MESSAGES/idlesession.mo``.
DOMAIN = "idlesession"

#: Where the catalogues are that are shipped.
SHIPPED = Path(__file__).parent / "translations"

#: The language that the sentences have in the code.
SOURCE = "en"

#: Scripts' languages that are written from right to left.
_RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ks", "ps", "sd", "ug", "ur", "yi"})


class Texts:
    """The sentences in one language. Placeholders are those of :meth:`str.format`."""

    def __init__(self, language: str, catalogue: gettext.NullTranslations) -> None:
        self.language = language
        self._catalogue = catalogue

    @property
    def direction(self) -> str:
        """The direction of the script, as the attribute ``dir`` has it."""
        return "rtl" if self.language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"

    def say(self, sentence: str, **values: object) -> str:
        """Return the sentence with the values in it."""
        return self._catalogue.gettext(sentence).format(**values)

    def count(self, one: str, many: str, n: int) -> str:
        """Return the one sentence or the other, as ``n`` is a singular or a plural; ``{n}`` stands for it."""
        return self._catalogue.ngettext(one, many, n).format(n=n)

    def for_templates(self) -> dict[str, Any]:
        """Return what each template of the pages is given of the language."""
        return {"_": self.say, "_n": self.count, "lang": self.language, "direction": self.direction}


def texts() -> Texts:
    """Return the sentences for the present request, in a language that there is a catalogue for, else in English."""
    folders = (Path(current_app.root_path, "translations"), SHIPPED)  # The application's own come first.
    known = languages(folders)
    language = next((known[wanted] for wanted in _wanted() if wanted in known), SOURCE)
    return _open(language, folders)


@lru_cache(64)
def languages(folders: tuple[Path, ...]) -> Mapping[str, str]:
    """Return the languages that there are catalogues for, by their names in small letters: ``pt-br`` is ``pt-BR``."""
    names = {path.parts[-3].replace("_", "-") for folder in folders for path in folder.glob(f"*/*/{DOMAIN}.mo")}
    return {name.lower(): name for name in names}


def _wanted() -> Iterator[str]:
    """Yield the languages to try, the most wanted first, each before the one that it is a kind of."""
    locale = _babel_locale()
    accepted: LanguageAccept = request.accept_languages
    asked = [name for name, quality in accepted if quality > 0] if locale is None else [str(locale)]
    for name in asked:
        parts = name.lower().replace("_", "-").split("-")
        yield from ("-".join(parts[:length]) for length in range(len(parts), 0, -1))


def _babel_locale() -> Any:
    """Return the locale that Flask-Babel has chosen; None where the application does not use it."""
    if "babel" not in current_app.extensions or "flask_babel" not in sys.modules:
        return None
    return sys.modules["flask_babel"].get_locale()


@lru_cache(256)
def _open(language: str, folders: tuple[Path, ...]) -> Texts:
    """Return the sentences in a language. A catalogue of the application may be of a few of them."""
    catalogue: gettext.NullTranslations = gettext.NullTranslations()
    for folder in reversed(folders):
        path = folder / language.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.mo"
        if path.is_file():
            with path.open("rb") as file:
                found = gettext.GNUTranslations(file)
            found.add_fallback(catalogue)
            catalogue = found
    return Texts(language, catalogue)
