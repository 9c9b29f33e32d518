"""The tutorial, typed as it stands: files into a folder, commands into a shell, clicks into a browser."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.documents import Block
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.programs import find_program
from support.programs import need_packages
from support.servers import free_port

TEXT = (CHECKOUT / "docs/tutorial.rst").read_text(encoding="utf-8")

#: Each step's blocks, by its number.
STEPS: dict[int, list[Block]] = {
    int(number): list(blocks_of(step))
    for number, step in re.findall(r"^Step (\d).*\n-+\n((?:.*\n)*?)(?=^Step \d|^What you have|\Z)", TEXT, re.MULTILINE)
}

_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def type_files(folder: Path, *, to_step: int) -> None:
    """Type what a reader has typed by the end of a step."""
    for number in range(1, to_step + 1):
        for block in STEPS[number]:
            if block.caption:
                path = folder / block.caption
                path.parent.mkdir(exist_ok=True)
                path.write_text(f"{block.code}\n")


@contextmanager
def running(folder: Path, command: str, **environment: str) -> Iterator[str]:
    """Run the command of a step, on a port that is free; the block is given the address."""
    *settings, program, action = command.split()
    assert (program, action) == ("flask", "run")
    asked = dict(setting.split("=") for setting in settings)
    port = free_port()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "run", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "FLASK_SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", **asked, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(port, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, folder: Path) -> None:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail((folder / "log").read_text())


def command_of(step: int) -> str:
    (block,) = (block for block in STEPS[step] if block.kind == "console")
    return block.code.removeprefix("$ ")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need_packages("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=_CHROMIUM)
        yield browser
        browser.close()


def enter(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("analytical engine")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Notes").wait_for()


def write(page: Any, text: str) -> None:
    page.get_by_label("A note").fill(text)
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("listitem").filter(has_text=text).wait_for()


def test_there_are_four_steps_whose_files_are_whole() -> None:
    assert list(STEPS) == [1, 2, 3, 4]
    files = {block.caption for blocks in STEPS.values() for block in blocks if block.caption}
    assert files == {"app.py", "config.py", *(f"templates/{name}.html" for name in ("layout", "notes", "log_in"))}


def test_step_1_keeps_notes_over_a_restart(tmp_path: Path, browser: Any) -> None:
    type_files(tmp_path, to_step=1)
    page = browser.new_page()
    with running(tmp_path, command_of(1)) as url:
        page.goto(url)
        write(page, "the first")
    assert list(tmp_path.rglob("sessions.db"))
    with running(tmp_path, command_of(1)) as other:
        page.context.add_cookies(
            [{"name": each["name"], "value": each["value"], "url": other} for each in page.context.cookies()]
        )
        page.goto(other)
        assert page.get_by_role("listitem").all_inner_texts() == ["the first"]
        stranger = browser.new_page()
        stranger.goto(other)
        assert stranger.get_by_role("listitem").count() == 0
        stranger.close()
    page.close()


def test_step_2_asks_who_it_is_and_forgets_at_the_log_out(tmp_path: Path, browser: Any) -> None:
    type_files(tmp_path, to_step=2)
    page = browser.new_page()
    with running(tmp_path, command_of(2)) as url:
        page.goto(url)
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").wait_for()
        enter(page, url)
        write(page, "of the first session")
        page.get_by_role("button", name="Log out").click()
        enter(page, url)
        assert page.get_by_role("listitem").count() == 0
    page.close()


def test_step_3_warns_and_then_says_why(tmp_path: Path, browser: Any) -> None:
    type_files(tmp_path, to_step=3)
    page = browser.new_page()
    with running(tmp_path, command_of(3), FLASK_IDLESESSION_IDLE_TIMEOUT="8") as url:
        enter(page, url)
        dialog = page.get_by_role("alertdialog")
        dialog.wait_for(timeout=8000)
        dialog.get_by_role("button").first.click()
        dialog.wait_for(state="hidden")
        dialog.wait_for(timeout=8000)
        page.wait_for_url("**/session/ended**", timeout=12000)
        assert "not active for 8 seconds" in page.inner_text("body")
    page.close()


def test_step_4_lists_both_browsers_and_signs_the_other_out(tmp_path: Path, browser: Any) -> None:
    type_files(tmp_path, to_step=4)
    here, there = browser.new_context().new_page(), browser.new_context().new_page()
    with running(tmp_path, "flask run") as url:
        enter(here, url)
        enter(there, url)
        here.get_by_role("link", name="Where you are signed in").click()
        here.get_by_role("button", name="Sign out").first.wait_for()
        ours, theirs = here.locator("form[action='/session/mine/end'] button").all()
        theirs.click()
        here.wait_for_load_state()
        there.reload()
        there.get_by_role("heading", name="Log in").wait_for()
        here.goto(url)
        here.get_by_role("heading", name="Notes").wait_for()
    for page in (here, there):
        page.context.close()


@pytest.mark.soak
def test_an_empty_folder_becomes_one_in_which_the_steps_run(tmp_path: Path) -> None:
    """The first commands of the page, as they are typed; the package comes from a wheel of this working copy."""
    need_packages("build", "setuptools")
    tree = shutil.copytree(CHECKOUT, tmp_path / "tree", ignore=shutil.ignore_patterns(".git", "build", "*.egg-info"))
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels), str(tree)]
    subprocess.run(build, check=True, capture_output=True)
    (first,) = (block for block in blocks_of(TEXT.partition("Step 1")[0]) if block.kind == "console")
    typed = "\n".join(line.removeprefix("$ ") for line in first.code.splitlines())
    looks = "flask --version; python -c 'import flask_idlesession as f; print(f.__file__)'; echo $FLASK_SECRET_KEY; pwd"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PIP_FIND_LINKS": str(wheels), "PIP_PRE": "1"}
    done = subprocess.run(
        ["bash", "-ec", f"{typed}\n{looks}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *_, module, key, folder = done.stdout.splitlines()
    assert Path(folder) == tmp_path / "notebook"
    assert Path(module).is_relative_to(tmp_path / "notebook/.venv")
    assert len(key) == 64


def test_what_is_installed_first_is_what_the_steps_need() -> None:
    first = TEXT.partition("Step 1")[0]
    (install,) = re.findall(r"^ +\$ python -m pip install (.*)$", first, re.MULTILINE)
    assert install.split() == ["flask-idlesession"]
