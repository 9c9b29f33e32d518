"""The examples of Flask, Flask-Login, Flask-WTF and Flask-SocketIO, as they ship, in a browser, with one line added.

They are taken from the packages' source distributions, which are downloaded. None of their code is kept here.
"""

import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.archives import extract
from support.browsers import chromium
from support.programs import need_packages
from support.servers import free_port

pytestmark = pytest.mark.soak

#: The one line, in a module of its own that imports what the example's own command runs.
SWITCH = "from flask_idlesession import IdleSession\n{imports}\nIdleSession(app)\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


def unpack(package: str, folder: Path) -> Path:
    """Download a package's source distribution; return its folder."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
    subprocess.run([*command, package], check=True, capture_output=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        extract(opened, folder)
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def program_of(readme: Path) -> str:
    """Return the Python of a README in Markdown, one block after the other."""
    return "\n".join(re.findall(r"^```(?:python|py)\n(.*?)^```", readme.read_text(encoding="utf-8"), re.M | re.S))


@contextmanager
def running(folder: Path, imports: str) -> Iterator[tuple[str, Path]]:
    """Serve the application that these imports give the name ``app``, by ``flask run`` without debug mode."""
    (folder / "switched.py").write_text(SWITCH.format(imports=imports))
    port, log = free_port(), folder / "log"
    with log.open("w") as opened:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "switched", "run", "--port", str(port)],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
            },
            stdout=opened,
            stderr=opened,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/", log)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.terminate()
        process.wait(30)
    assert "Traceback" not in log.read_text(), log.read_text()


def wait_for(url: str, log: Path) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


def warnings_of(log: Path) -> list[str]:
    """Return the codes of what the package says."""
    return re.findall(r"\[(IS\w\d{3})\]", log.read_text())


def test_flaskr_keeps_its_user_and_its_posts(page: Any, tmp_path: Path) -> None:
    tutorial = unpack("flask", tmp_path) / "examples/tutorial"
    subprocess.run([sys.executable, "-m", "flask", "--app", "flaskr", "init-db"], cwd=tutorial, check=True)
    with running(tutorial, "from flaskr import create_app\napp = create_app()") as (url, log):
        page.goto(f"{url}/auth/register")
        page.fill("[name=username]", "ada")
        page.fill("[name=password]", "analytical engine")
        page.click("[type=submit]")
        page.fill("[name=username]", "ada")
        page.fill("[name=password]", "wrong")
        page.click("[type=submit]")
        assert "Incorrect password." in page.inner_text(".flash")
        page.fill("[name=username]", "ada")
        page.fill("[name=password]", "analytical engine")
        page.click("[type=submit]")
        assert "ada" in page.inner_text("nav")
        page.click("text=New")
        page.fill("[name=title]", "Notes")
        page.fill("[name=body]", "On the engine")
        page.click("[type=submit]")
        assert "On the engine" in page.inner_text("article")
        page.click("text=Log Out")
        assert "Log In" in page.inner_text("nav")
        assert warnings_of(log) == ["ISW001"], "Its key is 'dev', which is told once, and locks nobody out."


def test_the_application_of_flask_logins_readme_logs_in_and_out(page: Any, tmp_path: Path) -> None:
    need_packages("flask_login")
    folder = unpack("flask-login", tmp_path)
    (folder / "readme.py").write_text(program_of(folder / "README.md"))
    with running(folder, "from readme import app") as (url, log):
        assert page.goto(f"{url}/protected").status == 401
        page.goto(f"{url}/login")
        page.fill("#email", "foo@bar.tld")
        page.fill("#password", "secret")
        page.click("[type=submit]")
        assert page.inner_text("body") == "Logged in as: foo@bar.tld"
        page.goto(f"{url}/logout")
        assert page.goto(f"{url}/protected").status == 401
        assert warnings_of(log) == ["ISW001"]


def test_a_form_of_flask_wtf_is_sent_with_its_token(page: Any, tmp_path: Path) -> None:
    need_packages("flask_wtf", "flask_babel")
    folder = unpack("flask-wtf", tmp_path) / "examples"
    with running(folder / "babel", "from app import app") as (url, _):
        page.goto(url)
        page.click("[type=submit]")
        page.fill("#name", "Ada")
        page.click("[type=submit]")
        assert page.input_value("#name") == "Ada"
        assert "CSRF" not in page.content()
    with running(folder / "uploadr", "from app import app") as (url, _):
        page.goto(url)
        page.locator("[type=file]").first.set_input_files(
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"notes"}
        )
        page.click("[type=submit]")
        assert "notes.txt" in page.inner_text("body")


#: Speaks Engine.IO 4 and Socket.IO 5 from a page, since their script is on another site.
CALL = """url => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.onerror = () => reject("no connection");
  socket.onmessage = ({data}) => {
    if (data.startsWith("0")) socket.send("40");
    else if (data.startsWith("40")) socket.send('42["my_event",{"data":"hello"}]');
    else if (data.startsWith("42")) { socket.close(); resolve(data.slice(2)); }
  };
})"""


def test_the_application_of_flask_socketios_readme_answers(page: Any, tmp_path: Path) -> None:
    need_packages("flask_socketio", "simple_websocket")
    folder = unpack("flask-socketio", tmp_path)
    (folder / "readme.py").write_text(program_of(folder / "README.md"))
    (folder / "templates").mkdir()
    (folder / "templates/index.html").write_text("<!doctype html><title>Socket</title>")
    with running(folder, "from readme import app") as (url, log):
        page.goto(url)
        said = page.evaluate(CALL, f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket")
        assert said == '["my response",{"data":"got it!"}]'
        assert set(warnings_of(log)) <= {"ISW001"}
