"""Forms that outlive their session: in the tab, from the server, and never what is secret."""

import json
from typing import Any

import pytest
from support.pages_site import IDLE
from support.pages_site import Site
from support.pages_site import Tab

SECRETS = {
    "Phrase": "hush hush",
    "Code": "998877",
    "Card": "none of your business",
    "Other card": "4111 1111 1111 1111",
    "Pass word": "sesame",
}


def fill(page: Any) -> None:
    page.get_by_label("Title").fill("half a sent")
    page.get_by_label("Text").fill('line one\nline <two> & "three"')
    page.get_by_label("Colour").select_option("blue")
    page.get_by_label("Urgent").check()
    for label, text in SECRETS.items():
        page.get_by_label(label, exact=True).fill(text)


def is_filled(page: Any) -> bool:
    return bool(
        page.get_by_label("Title").input_value() == "half a sent"
        and page.get_by_label("Text").input_value() == 'line one\nline <two> & "three"'
        and page.get_by_label("Colour").input_value() == "blue"
        and page.get_by_label("Urgent").is_checked()
    )


def secrets_in(page: Any) -> dict[str, str]:
    found = {label: page.get_by_label(label, exact=True).input_value() for label in SECRETS}
    return {label: value for label, value in found.items() if value}


def storage(page: Any) -> str:
    return json.dumps(page.evaluate("({ ...sessionStorage })"))


@pytest.fixture
def ended(tab: Tab) -> Tab:
    """A tab in which the session ended while a form was half filled in."""
    fill(tab.page)
    tab.expect_touches(1)
    tab.wait(2 * IDLE)
    tab.page.wait_for_url("**/session/ended?*")
    return tab


def test_a_half_written_form_is_back_after_the_log_in_without_what_is_secret(ended: Tab) -> None:
    page = ended.page
    assert page.get_by_text("Your text was kept in this tab.").is_visible()
    assert not page.get_by_text("was not kept").is_visible()
    page.get_by_role("link", name="Sign in again").click()
    ended.enter()
    page.get_by_text("The text that you typed before you were signed out is here again.").wait_for()
    assert is_filled(page)
    assert secrets_in(page) == {}


def test_no_secret_is_ever_in_the_tab_s_storage(ended: Tab) -> None:
    kept = storage(ended.page)
    assert "half a sent" in kept
    assert not any(secret in kept for secret in SECRETS.values())
    assert "wizard" not in kept


def test_a_password_that_the_page_shows_as_text_is_not_kept_either(tab: Tab) -> None:
    tab.page.get_by_label("Phrase").focus()
    tab.page.evaluate(
        """() => {
          const field = document.querySelector("[name=phrase]");
          field.type = "text";
          field.removeAttribute("autocomplete");
        }"""
    )
    fill(tab.page)
    tab.expect_touches(1)
    tab.wait(2 * IDLE)
    tab.page.wait_for_url("**/session/ended?*")
    assert "half a sent" in storage(tab.page)
    assert "hush hush" not in storage(tab.page)


def test_another_user_gets_nothing_of_it_and_it_is_gone_then(ended: Tab) -> None:
    ended.page.get_by_role("link", name="Sign in again").click()
    ended.enter("grace")
    assert ended.page.get_by_label("Title").input_value() == ""
    assert "half a sent" not in storage(ended.page)


def test_a_form_outlives_a_log_in_that_failed(ended: Tab) -> None:
    ended.page.get_by_role("link", name="Sign in again").click()
    ended.enter("nobody")
    ended.page.get_by_text("There is no such user.").wait_for()
    ended.enter("ada")
    ended.page.get_by_text("is here again").wait_for()
    assert is_filled(ended.page)


@pytest.mark.parametrize("how", ["in the warning", "by the application's own button", "in another tab"])
def test_after_a_sign_out_nothing_is_kept(window: Any, ended: Tab, site: Site, how: str) -> None:
    page = ended.page
    page.get_by_role("link", name="Sign in again").click()
    ended.enter()
    page.get_by_text("is here again").wait_for()
    match how:
        case "in the warning":
            ended.warned()
            ended.button("Sign out now").click()
            page.wait_for_url("**/session/ended?*")
        case "by the application's own button":
            page.get_by_role("button", name="Log out").click()
            page.wait_for_url("**/log-in")
        case "in another tab":
            other = Tab(window, site)
            other.open()
            other.page.get_by_role("button", name="Log out").click()
            page.wait_for_url("**/session/ended?*")
    assert "half a sent" not in storage(page)
    ended.sign_in()
    assert page.get_by_label("Title").input_value() == ""


def test_after_a_revocation_nothing_is_kept(tab: Tab, site: Site) -> None:
    fill(tab.page)
    site.app.extensions["idlesession"].manager.revoke_user("ada")
    tab.live(3)  # A click just before might have been on the way to another page.
    tab.look()
    tab.page.wait_for_url("**/session/ended?*reason=revoked*")
    assert "half a sent" not in storage(tab.page)


def test_what_is_an_hour_old_is_gone(ended: Tab) -> None:
    ended.page.clock.fast_forward(3_700_000)
    ended.sign_in()
    assert ended.page.get_by_label("Title").input_value() == ""
    assert "half a sent" not in storage(ended.page)


def test_a_form_that_was_sent_is_not_offered_again(ended: Tab) -> None:
    ended.page.get_by_role("link", name="Sign in again").click()
    ended.enter()
    ended.page.get_by_text("is here again").wait_for()
    ended.page.get_by_role("button", name="Save").click()
    ended.page.wait_for_url("**/other")
    ended.open("/")
    assert ended.page.get_by_label("Title").input_value() == ""


def test_what_is_back_can_be_discarded(ended: Tab) -> None:
    ended.page.get_by_role("link", name="Sign in again").click()
    ended.enter()
    ended.page.get_by_role("button", name="Discard").click()
    assert ended.page.get_by_label("Title").input_value() == ""
    assert ended.page.get_by_label("Colour").input_value() == "red"
    assert not ended.page.get_by_label("Urgent").is_checked()
    assert ended.focus == "title"
    ended.page.reload()
    assert ended.page.get_by_label("Title").input_value() == ""


def test_a_form_that_is_not_marked_is_not_kept(tab: Tab) -> None:
    tab.page.get_by_label("Search").fill("private query")
    tab.wait(2 * IDLE)
    tab.page.wait_for_url("**/session/ended?*")
    assert tab.page.get_by_text("Text that you did not send was not kept.").is_visible()
    assert "private query" not in storage(tab.page)


def test_a_form_is_kept_over_the_end_again(ended: Tab) -> None:
    ended.page.get_by_role("link", name="Sign in again").click()
    ended.enter()
    ended.page.get_by_text("is here again").wait_for()
    ended.wait(2 * IDLE)
    ended.page.wait_for_url("**/session/ended?*")
    ended.page.get_by_role("link", name="Sign in again").click()
    ended.enter()
    ended.page.get_by_text("is here again").wait_for()
    assert is_filled(ended.page)


def test_what_was_typed_for_one_thing_is_not_offered_for_another(tab: Tab) -> None:
    tab.open("/?edit=1")
    fill(tab.page)
    tab.expect_touches(1)
    tab.wait(2 * IDLE)
    tab.page.wait_for_url("**/session/ended?*")
    tab.sign_in()
    tab.open("/?edit=2")
    assert tab.page.get_by_label("Title").input_value() == ""
    tab.open("/?edit=1")
    tab.page.get_by_text("is here again").wait_for()
    assert is_filled(tab.page)


def test_a_form_with_every_kind_of_field_is_back_as_it_was(tab: Tab) -> None:
    tab.page.evaluate(_EVERY_KIND)
    page = tab.page
    page.locator("[name=kind][value=b]").check()
    page.locator("[name=tags]").select_option(["x", "z"])
    page.locator("[name=box][value='1']").uncheck()
    page.locator("[name=box][value='3']").check()
    page.locator("[name=day]").fill("2031-02-03")
    page.locator("[name=size]").fill("7.5")
    page.locator("[name=line] >> nth=1").fill("second")
    page.locator("[name=default]").fill("")
    page.locator("[name=outside]").fill("not within")
    wanted = page.evaluate(_FORM)
    tab.expect_touches(1)
    tab.wait(2 * IDLE)
    page.wait_for_url("**/session/ended?*")
    page.get_by_role("link", name="Sign in again").click()
    tab.enter()
    page.wait_for_url("**/")
    page.evaluate(_EVERY_KIND)
    page.evaluate("document.dispatchEvent(new Event('idlesession:check'))")
    page.locator("#kinds .idlesession-restored").wait_for()
    assert page.evaluate(_FORM) == wanted


#: A form that a script puts on the page.
_EVERY_KIND = """() => document.querySelector("main").insertAdjacentHTML("beforeend", `
  <form id=kinds data-idlesession-keep>
    <input type=radio name=kind value=a checked><input type=radio name=kind value=b>
    <select name=tags multiple><option>x<option selected>y<option>z</select>
    <input type=checkbox name=box value=1 checked><input type=checkbox name=box value=2 checked>
    <input type=checkbox name=box value=3>
    <input type=date name=day><input type=number step=any name=size>
    <input name=line><input name=line><textarea name=default>as it was</textarea>
  </form><input name=outside form=kinds>`)"""
_FORM = "[...new FormData(document.querySelector('#kinds'))]"


# What was sent too late.


@pytest.fixture
def sent_late(tab: Tab) -> Tab:
    """A tab whose form was sent when the session was over, before the page knew."""
    fill(tab.page)
    tab.expect_touches(1)
    tab.site.clock.advance(2 * IDLE)
    tab.page.get_by_role("button", name="Save").click()
    tab.page.wait_for_url("**/log-in?next=/")
    return tab


def test_a_form_that_came_too_late_is_back_after_the_log_in_without_what_is_secret(sent_late: Tab) -> None:
    page = sent_late.page
    sent_late.enter()
    assert page.url == sent_late.site.url + "/"
    page.get_by_text("The text that you typed before you were signed out is here again.").wait_for()
    assert is_filled(page)
    assert secrets_in(page) == {}
    fields = page.evaluate("fetch('/kept').then((answer) => answer.json())")["fields"]
    assert sorted(fields) == ["colour", "text", "title", "urgent", "wizard"]


def test_a_form_that_came_too_late_is_nobody_else_s(sent_late: Tab) -> None:
    sent_late.enter("grace")
    assert sent_late.page.get_by_label("Title").input_value() == ""
    assert sent_late.page.evaluate("fetch('/kept').then((answer) => answer.json())") == {"fields": None}


def test_a_form_that_came_too_late_can_be_discarded(sent_late: Tab) -> None:
    sent_late.enter()
    sent_late.page.get_by_role("button", name="Discard").click()
    sent_late.page.reload()
    assert sent_late.page.get_by_label("Title").input_value() == ""


def test_a_form_that_is_sent_again_arrives_with_what_was_typed(sent_late: Tab) -> None:
    sent_late.enter()
    sent_late.page.get_by_text("is here again").wait_for()
    sent_late.page.get_by_role("button", name="Save").click()
    sent_late.page.wait_for_url("**/other")
    sent_late.open("/")
    assert sent_late.page.get_by_label("Title").input_value() == ""
