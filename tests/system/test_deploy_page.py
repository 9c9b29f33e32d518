"""What the page on deploying shows is run: the application, gunicorn, nginx in front of it."""

import configparser
import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.programs import need_packages
from support.servers import free_port
from support.web_servers import nginx

BLOCKS = list(blocks_of((CHECKOUT / "docs/deploy.rst").read_text(encoding="utf-8")))

VIEWS = """
from flask import request, session

@app.get("/address")
def address():
    session["seen"] = True
    return f"{request.remote_addr} {request.scheme} {request.host}"
"""


def wsgi() -> str:
    """Return the page's application, with the imports that the page leaves to the reader."""
    start = next(index for index, block in enumerate(BLOCKS) if "ProxyFix(" in block.code)
    assert BLOCKS[start - 1].kind == "given"
    return f"{BLOCKS[start - 1].code}\n{BLOCKS[start].code}\n{VIEWS}"


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    need_packages("gunicorn")
    folder, port = tmp_path_factory.mktemp("deploy"), free_port()
    (folder / "wsgi.py").write_text(wsgi())
    (command,) = re.findall(r"gunicorn (--workers.*) wsgi:app", next(b.code for b in BLOCKS if b.kind == "console"))
    options = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}").split()
    environment = {**os.environ, "SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "wsgi:app"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        give_up_at = time.monotonic() + 30
        while time.monotonic() < give_up_at and not answers(port):
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    try:
        return ask(port, "/").status == 404
    except OSError:
        return False


def ask(port: int, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.body = answer.read().decode()  # type: ignore[attr-defined]
        return answer


def test_behind_the_pages_nginx_a_client_has_its_own_address_and_cannot_choose_one(gunicorn: int) -> None:
    (block,) = (block.code for block in BLOCKS if block.kind == "nginx")
    with nginx(block.replace("127.0.0.1:8000", f"127.0.0.1:{gunicorn}")) as server:
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        answer = ask(server.port, "/address", Host="app.example", **forged)
        assert answer.body == "127.0.0.1 http app.example"  # type: ignore[attr-defined]
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-session=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


def test_without_nginx_a_client_can_say_what_it_likes_which_is_why_the_header_is_set(gunicorn: int) -> None:
    answer = ask(gunicorn, "/address", Host="app.example", **{"X-Forwarded-For": "203.0.113.9"})
    assert answer.body.startswith("203.0.113.9 ")  # type: ignore[attr-defined]


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "ini"], ids=lambda block: str(block.line))
def test_a_configuration_is_read(block: object, tmp_path: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(block.code)  # type: ignore[attr-defined]
    assert parser.sections()


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "yaml"], ids=lambda block: str(block.line))
def test_a_manifest_is_read_and_names_what_the_page_has(block: object) -> None:
    manifest = yaml.safe_load(block.code)  # type: ignore[attr-defined]
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "wsgi:app"
    assert {each["name"] for each in container["env"]} == {"SECRET_KEY", "SESSION_STORE"}
