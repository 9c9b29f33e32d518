"""What the page on deploying shows is run: the application, each server with its command or file, nginx before it."""

import configparser
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.programs import need_packages
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.servers import free_port
from support.web_servers import nginx

BLOCKS = list(blocks_of((CHECKOUT / "docs/deploy.rst").read_text(encoding="utf-8")))

VIEWS = """
from flask import request, session

@app.get("/address")
def address():
    session["seen"] = True
    return f"{request.remote_addr} {request.scheme} {request.host}"

@app.get("/alive")
def alive():
    return "yes"
"""


def wsgi() -> str:
    """Return the page's application as it stands, with views."""
    (code,) = (block.code for block in BLOCKS if block.caption == "wsgi.py")
    return f"{code}\n{VIEWS}\n{ready_view()}\n"


def code_of(kind: str, *, has: str = "") -> str:
    """Return the page's one block of this language that has this text."""
    (code,) = (block.code for block in BLOCKS if block.kind == kind and has in block.code)
    return code


def commands() -> list[str]:
    """Return what a reader types to start a server, without the secret key before it."""
    lines = [line for block in BLOCKS if block.kind == "console" for line in block.code.splitlines()]
    prefix = "$ SECRET_KEY=… "
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def ready_view() -> str:
    """Return the view of the page that tells of the store."""
    (code,) = (block.code for block in BLOCKS if block.kind == "python" and '"/ready"' in block.code)
    return code


@contextmanager
def started(argv: list[str], folder: Path, **environment: str) -> Iterator[int]:
    """Run a server as the page says, on a port that is free; yield the port."""
    port = free_port()
    program, *options = [re.sub(r"(127\.0\.0\.1|0\.0\.0\.0):8000", f"127.0.0.1:{port}", each) for each in argv]
    (folder / "wsgi.py").write_text(wsgi())
    (folder / "home").mkdir(exist_ok=True)
    around = {**os.environ, "SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", "PYTHONPATH": f"{folder}:{CHECKOUT}"}
    around |= {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "home"), **environment}
    command = [str(Path(sys.executable).with_name(program)), *options]
    if program == "granian":
        command += ["--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=around, stdout=log, stderr=log, start_new_session=True)
    try:
        give_up_at = time.monotonic() + 30
        while not answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up_at, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a server, and all its workers if it does not end them in time."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    need_packages("gunicorn")
    (command,) = (each for each in commands() if each.startswith("gunicorn"))
    with started(command.split(), tmp_path_factory.mktemp("deploy")) as port:
        yield port


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


# The other servers, each by the command or the file of the page.


def serves(port: int) -> None:
    """Assert that the application of the page answers, with a session."""
    answer = ask(port, "/address", Host="app.example", **{"X-Forwarded-Proto": "https"})
    assert answer.status == 200
    assert answer.headers["Set-Cookie"].startswith("__Host-session=")


@pytest.mark.parametrize("name", ["waitress-serve", "granian"])
def test_a_command_of_the_page_starts_its_server(name: str, tmp_path: Path) -> None:
    need_packages({"waitress-serve": "waitress"}.get(name, name))
    (command,) = (each for each in commands() if each.startswith(name))
    with started(command.split(), tmp_path) as port:
        serves(port)


def test_gunicorn_has_four_workers_that_share_redis(tmp_path: Path) -> None:
    need_packages("gunicorn")
    (command,) = (each for each in commands() if each.startswith("SESSION_STORE="))
    store, program, *options = command.split()
    with one_server(redis_program()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        assert store == f"SESSION_STORE={url.replace(str(server.port), '6379')}"
        with started([program, *options], tmp_path, SESSION_STORE=url) as port:
            serves(port)
            environment = {"SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", "SESSION_STORE": url}
            (check,) = (block.code for block in BLOCKS if "check --deploy" in block.code)
            assert check.startswith("$ flask --app wsgi ")
            done = subprocess.run(
                [sys.executable, "-m", *check.removeprefix("$ ").split()],
                cwd=tmp_path,
                env={
                    **os.environ,
                    **environment,
                    "PYTHONPATH": f"{tmp_path}:{CHECKOUT}",
                    "HOME": str(tmp_path / "home"),
                },
                capture_output=True,
                text=True,
            )
    assert done.returncode in (0, 1), done.stderr
    assert "Errors: 0." in done.stdout


def test_uwsgi_takes_the_pages_file(tmp_path: Path) -> None:
    need_packages("pyuwsgi")
    (tmp_path / "uwsgi.ini").write_text(f"{code_of('ini', has='[uwsgi]')}\n")
    with started(["uwsgi", "--ini", "uwsgi.ini", "--http-socket", "127.0.0.1:8000", "--die-on-term"], tmp_path) as port:
        serves(port)


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(code_of("ini", has="[Unit]"))
    return parser


def test_the_service_of_systemd_starts_the_application_with_what_it_sets(tmp_path: Path) -> None:
    need_packages("gunicorn")
    service = unit()["Service"]
    name, _, value = service["Environment"].partition("=")
    state = tmp_path / "state"  # What StateDirectory= makes.
    state.mkdir(mode=int(service["StateDirectoryMode"], 8))
    folder = f"/var/lib/{service['StateDirectory']}"
    assert folder in value
    program, *options = service["ExecStart"].split()
    assert program == f"{service['WorkingDirectory']}/.venv/bin/gunicorn"
    with started(["gunicorn", *options], tmp_path, **{name: value.replace(folder, str(state))}) as port:
        serves(port)
    assert (state / "sessions.db").exists()


def test_systemd_takes_the_service(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed.")
    path = tmp_path / "app.service"
    path.write_text(re.sub("ExecStart=\\S+", f"ExecStart={sys.executable}", code_of("ini", has="[Unit]")))
    done = subprocess.run([program, "verify", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_of_the_container_starts_the_application(tmp_path: Path) -> None:
    need_packages("gunicorn")
    lines = dict(line.split(maxsplit=1) for line in code_of("docker").splitlines())
    assert lines.keys() == {"FROM", "WORKDIR", "COPY", "RUN", "USER", "CMD"}
    assert "flask-idlesession[redis]" in lines["RUN"]
    with started(json.loads(lines["CMD"]), tmp_path) as port:
        serves(port)


def test_the_pods_of_kubernetes_start_and_answer_their_probes(tmp_path: Path) -> None:
    need_packages("gunicorn")
    (container,) = yaml.safe_load(code_of("yaml"))["spec"]["template"]["spec"]["containers"]
    assert {each["name"] for each in container["env"]} == {"SECRET_KEY", "SESSION_STORE"}
    probes = {container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"/alive", "/ready"}
    with one_server(redis_program()) as server, started(container["args"], tmp_path, SESSION_STORE=server.url) as port:
        serves(port)
        assert [ask(port, path).status for path in sorted(probes)] == [200, 200]
        server.stop()
        assert [ask(port, path).status for path in sorted(probes)] == [200, 503]
