"""The languages of the pages: every sentence in each, the right one for the request, and an application's own."""

import gettext
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.mofile import read_mo
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask
from support.pages_site import make_site

from flask_idlesession.pages.durations import ago
from flask_idlesession.pages.durations import ahead
from flask_idlesession.pages.durations import in_words
from flask_idlesession.pages.texts import SHIPPED
from flask_idlesession.pages.texts import Texts
from flask_idlesession.testing import FakeClock

PAGES = SHIPPED.parent
LANGUAGES = ["de", "en", "es", "fr"]
KEYWORDS: Any = {"say": None, "count": (1, 2), "_": None, "_n": (1, 2)}
_PLACE = re.compile(r"\{\w+\}")


def sentences() -> Iterator[str | tuple[str, ...]]:
    """Yield each sentence of the code and of the templates, as gettext names it."""
    for path in sorted(PAGES.rglob("*.py")):
        yield from (found[1] for found in extract_from_file("python", path, keywords=KEYWORDS))
    for path in sorted(PAGES.rglob("*.html")):
        found = extract_from_file("jinja2.ext:babel_extract", path, keywords=KEYWORDS, options={"silent": "false"})
        yield from (message for _, message, *_ in found)


def catalogue(language: str) -> Any:
    with (SHIPPED / language / "LC_MESSAGES" / "idlesession.po").open("rb") as file:
        return read_po(file, locale=language)


def sentences_of(catalogue: Any) -> dict[str, Any]:
    return {str(message.id): message.string for message in catalogue if message.id}


def texts_in(language: str) -> Texts:
    return Texts(language, gettext.translation("idlesession", SHIPPED, [language]))


@pytest.fixture
def shop() -> Flask:
    return make_site(clock=FakeClock())


def ended(shop: Flask, languages: str | None) -> Any:
    headers = {} if languages is None else {"Accept-Language": languages}
    return shop.test_client().get("/session/ended?reason=idle", headers=headers)


def test_there_are_four_languages() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_is_in_each_language_and_no_other(language: str) -> None:
    wanted = set(sentences())
    assert len(wanted) > 50
    assert {message.id for message in catalogue(language) if message.id} == wanted


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_is_whole(language: str) -> None:
    for message in catalogue(language):
        if not message.id:
            continue
        originals = message.id if message.pluralizable else (message.id,)
        translations = message.string if message.pluralizable else (message.string,)
        assert not message.fuzzy
        for original, translation in zip(originals, translations, strict=True):
            assert translation.strip(), original
            assert sorted(_PLACE.findall(original)) == sorted(_PLACE.findall(translation)), original
            assert original[-1] not in ".?" or translation[-1] in ".?", original
            assert language != "en" or translation == original


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_compiled_catalogue_says_the_same_as_its_source(language: str, tmp_path: Path) -> None:
    with (tmp_path / "compiled.mo").open("wb") as file:
        write_mo(file, catalogue(language))
    with (tmp_path / "compiled.mo").open("rb") as file:
        wanted = read_mo(file)
    with (SHIPPED / language / "LC_MESSAGES" / "idlesession.mo").open("rb") as file:
        found = read_mo(file)
    assert sentences_of(found) == sentences_of(wanted)
    assert found.plural_expr == wanted.plural_expr


@pytest.mark.parametrize(
    ("languages", "language", "title"),
    [
        (None, "en", "You were signed out"),
        ("de", "de", "Sie wurden abgemeldet"),
        ("de-AT,en;q=0.5", "de", "Sie wurden abgemeldet"),
        ("en;q=0.5,fr-CA", "fr", "Vous avez été déconnecté"),
        ("es-419", "es", "Se ha cerrado su sesión"),
        ("it,pt;q=0.8", "en", "You were signed out"),
        ("*", "en", "You were signed out"),
        ("../../etc", "en", "You were signed out"),
        (";;q=x", "en", "You were signed out"),
    ],
)
def test_a_page_is_in_the_language_that_the_browser_asks_for(
    shop: Flask, languages: str | None, language: str, title: str
) -> None:
    page = ended(shop, languages).text
    assert f'<html lang="{language}" dir="ltr">' in page
    assert f">{title}</h1>" in page


def test_the_warning_is_in_the_language_of_the_browser(shop: Flask) -> None:
    client = shop.test_client()
    client.post("/log-in", data={"name": "ada"})
    page = client.get("/", headers={"Accept-Language": "de"}).text
    assert '<idlesession-widget lang="de"' in page
    assert "Angemeldet bleiben" in page
    assert 'data-announcement="Sie werden in {time} abgemeldet."' in page


def test_flask_babel_chooses_where_it_is(shop: Flask) -> None:
    from flask_babel import Babel

    chosen = "fr"
    Babel(shop, locale_selector=lambda: chosen)
    assert '<html lang="fr"' in ended(shop, "de").text
    chosen = "de_CH"
    assert '<html lang="de"' in ended(shop, "fr").text
    chosen = "it"
    assert '<html lang="en"' in ended(shop, "fr").text


def own_catalogue(folder: Path, language: str, sentences: dict[str, str]) -> None:
    source = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    source += "".join(f'msgid "{original}"\nmsgstr "{own}"\n\n' for original, own in sentences.items())
    path = folder / "translations" / language / "LC_MESSAGES" / "idlesession.mo"
    path.parent.mkdir(parents=True)
    (folder / "own.po").write_text(source, encoding="utf-8")
    with (folder / "own.po").open("rb") as file, path.open("wb") as compiled:
        write_mo(compiled, read_po(file))


def test_an_application_brings_a_language_of_its_own(shop: Flask, tmp_path: Path) -> None:
    own_catalogue(tmp_path, "ar", {"You were signed out": "تم تسجيل خروجك"})
    shop.root_path = str(tmp_path)
    page = ended(shop, "ar-EG").text
    assert '<html lang="ar" dir="rtl">' in page
    assert "تم تسجيل خروجك" in page


def test_an_application_says_some_sentences_in_its_own_way(shop: Flask, tmp_path: Path) -> None:
    own_catalogue(tmp_path, "de", {"You were signed out": "Du wurdest abgemeldet"})
    shop.root_path = str(tmp_path)
    page = ended(shop, "de").text
    assert "Du wurdest abgemeldet" in page
    assert "Zu Ihrer Sicherheit" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "1 second"),
        (1, "1 second"),
        (40, "40 seconds"),
        (90, "1 minute 30 seconds"),
        (1800, "30 minutes"),
        (5400, "1 hour 30 minutes"),
        (28800, "8 hours"),
        (90061, "1 day 1 hour"),
        (30 * 86400, "30 days"),
    ],
)
def test_a_duration_is_said_by_its_two_largest_units(seconds: float, words: str) -> None:
    assert in_words(seconds, texts_in("en")) == words


@pytest.mark.parametrize(
    ("seconds", "before", "after"),
    [
        (0, "just now", "in 1 minute"),
        (59, "just now", "in 1 minute"),
        (61, "1 minute ago", "in 2 minutes"),
        (3599, "59 minutes ago", "in 1 hour"),
        (7200, "2 hours ago", "in 2 hours"),
        (2 * 86400 + 5, "2 days ago", "in 2 days"),
    ],
)
def test_an_instant_is_said_from_now(seconds: float, before: str, after: str) -> None:
    english, now = texts_in("en"), 1_700_000_000.0
    assert ago(now - seconds, english, now=now).striptags() == before
    assert ahead(now + seconds, english, now=now).striptags() == after
    assert ago(now, english, now=now) == (
        '<time datetime="2023-11-14T22:13:20+00:00" title="2023-11-14 22:13 UTC">just now</time>'
    )


def test_german_has_its_cases() -> None:
    german, now = texts_in("de"), 1_700_000_000.0
    assert in_words(2 * 86400, german) == "2 Tage"
    assert ago(now - 2 * 86400, german, now=now).striptags() == "vor 2 Tagen"
    assert ahead(now + 86400, german, now=now).striptags() == "in 1 Tag"
