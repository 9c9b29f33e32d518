"""What the page on deploying shows is run: the application, each server with its command or file, nginx before it."""

import configparser
import http.client
import json
import os
import re
import shlex
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
from flask_idlesession import csrf_protect, csrf_token

@app.get("/address")
def address():
    session["seen"] = True
    return f"{request.remote_addr} {request.scheme} {request.host}"

@app.get("/alive")
def alive():
    return "yes"

@app.get("/form")
def form():
    return csrf_token()

@app.post("/form")
@csrf_protect
def sent():
    return "taken"
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
    """Return what a reader types, line by line."""
    lines = [line for block in BLOCKS if block.kind == "console" for line in block.code.splitlines()]
    return [line.removeprefix("$ ") for line in lines]


def command(begins: str) -> list[str]:
    """Return the words of the page's one command that begins so."""
    (found,) = (each for each in commands() if each.startswith(begins))
    return shlex.split(found)


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
    with started(command("gunicorn"), tmp_path_factory.mktemp("deploy")) as port:
        yield port


def answers(port: int) -> bool:
    try:
        return ask(port, "/").status == 404
    except OSError:
        return False


def ask(port: int, path: str, *, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request(method, path, headers=headers)
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
        answer = ask(server.port, "/address", Host="app.example:8443", **forged)
        assert answer.body == "127.0.0.1 http app.example:8443"  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["app.example", "app.example:8443"])
def test_behind_the_pages_nginx_a_form_is_taken_on_each_port(gunicorn: int, host: str) -> None:
    """An older browser sends an Origin, and no Sec-Fetch-Site."""
    (block,) = (block.code for block in BLOCKS if block.kind == "nginx")
    with nginx(block.replace("127.0.0.1:8000", f"127.0.0.1:{gunicorn}")) as server:
        page = ask(server.port, "/form", Host=host)
        shown = {"Cookie": page.headers["Set-Cookie"].partition(";")[0], "X-CSRF-Token": page.body}  # type: ignore[attr-defined]
        for origin, status in ((f"https://{host}", 200), ("https://app.example:9", 403), ("https://evil.example", 403)):
            assert ask(server.port, "/form", method="POST", Host=host, Origin=origin, **shown).status == status


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
    with started(command(name), tmp_path) as port:
        serves(port)


def environment_of(begins: str) -> dict[str, str]:
    """Return what the page exports before the command that begins so."""
    lines = commands()
    (at,) = (at for at, line in enumerate(lines) if line.startswith(begins))
    export, *pairs = shlex.split(lines[at - 1])
    assert export == "export"
    return dict(pair.split("=", 1) for pair in pairs)


def run_command(words: list[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the page in the folder of the application."""
    around = {**os.environ, "SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", "PYTHONPATH": f"{folder}:{CHECKOUT}"}
    around |= {"HOME": str(folder / "home"), **environment}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=around, capture_output=True, text=True)


def test_gunicorns_four_workers_and_the_commands_share_redis_and_the_audit_log(tmp_path: Path) -> None:
    need_packages("gunicorn")
    check = "flask --app wsgi idlesession check"
    told = environment_of("gunicorn")
    assert told == environment_of(check)
    assert told.keys() == {"SECRET_KEY", "SESSION_STORE", "AUDIT_LOG"} and Path(told["AUDIT_LOG"]).is_absolute()
    audit = tmp_path / "audit.log"
    with one_server(redis_program()) as server:
        url = told["SESSION_STORE"].replace("6379", str(server.port))
        environment = {"SESSION_STORE": url, "AUDIT_LOG": str(audit)}
        with started(command("gunicorn"), tmp_path, **environment) as port:
            for _ in range(12):
                serves(port)
            done = run_command(command(check), tmp_path, **environment)
            assert done.returncode in (0, 1), done.stderr
            assert "Errors: 0." in done.stdout
            ended = run_command(
                ["flask", "--app", "wsgi", "idlesession", "revoke", "--all", "--yes"], tmp_path, **environment
            )
            assert (ended.returncode, ended.stdout) == (0, "12 sessions ended.\n"), ended.stderr
    events = [json.loads(line) for line in audit.read_text().splitlines()]
    assert sorted(event["event"] for event in events) == ["created"] * 12 + ["revoked"] * 12
    assert {event["by"] for event in events if event["event"] == "revoked"} == {"flask idlesession"}


def test_without_a_file_the_audit_log_is_in_the_log_of_the_server(tmp_path: Path) -> None:
    need_packages("gunicorn")
    with started(command("gunicorn"), tmp_path) as port:
        serves(port)
    assert '"event": "created"' in (tmp_path / "log").read_text()


_WRITER = """
import json, logging, sys
sys.path.insert(0, "")
from wsgi import keep_audit_log
keep_audit_log(sys.argv[1])
audit = logging.getLogger("flask_idlesession.audit")
sys.stdin.read()
for number in range(400):
    audit.info("%s", json.dumps({"writer": sys.argv[2], "number": number, "agent": sys.argv[2] * 3000}))
"""


def test_processes_that_append_to_one_audit_log_mix_no_lines(tmp_path: Path) -> None:
    """A user agent has 512 characters at most, of six bytes each in JSON."""
    (tmp_path / "wsgi.py").write_text(wsgi())
    around = {**os.environ, "SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", "PYTHONPATH": str(CHECKOUT)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, "audit.log", name], cwd=tmp_path, env=around, stdin=subprocess.PIPE
        )
        for name in "abcd"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert sorted((line["writer"], line["number"]) for line in lines) == [
        (name, number) for name in "abcd" for number in range(400)
    ]


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
    folders = {}  # What StateDirectory= and LogsDirectory= make.
    for above, name in (("/var/lib", "StateDirectory"), ("/var/log", "LogsDirectory")):
        folders[f"{above}/{service[name]}/"] = f"{tmp_path / name}/"
        (tmp_path / name).mkdir(mode=int(service[f"{name}Mode"], 8))
    values = environment_file()
    for shown, meant in folders.items():
        assert sum(value.count(shown) for value in values.values()) == 1
        values = {name: value.replace(shown, meant) for name, value in values.items()}
    program, *options = service["ExecStart"].split()
    assert program == f"{service['WorkingDirectory']}/.venv/bin/gunicorn"
    with started(["gunicorn", *options], tmp_path, **values) as port:
        serves(port)
    assert (tmp_path / "StateDirectory/sessions.db").exists()
    assert "created" in (tmp_path / "LogsDirectory/audit.log").read_text()


def environment_file() -> dict[str, str]:
    """Return what the page's file of the environment sets, without the secret key."""
    lines = code_of("ini", has="AUDIT_LOG").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines) if name != "SECRET_KEY"}


def test_the_command_beside_systemd_has_the_environment_of_the_service(tmp_path: Path) -> None:
    (line,) = (each for each in commands() if each.startswith("sudo sh"))
    shown = environment_file()
    (tmp_path / "app.env").write_text("".join(f"{name}='{value}'\n" for name, value in shown.items()))
    sudo, *words = shlex.split(line)
    program = "runuser -u app -- .venv/bin/flask --app wsgi idlesession stats"
    assert sudo == "sudo" and words[-1].endswith(program)
    script = words[-1].replace(program, "env").replace("/etc", str(tmp_path)).replace("/srv/app", str(tmp_path))
    done = subprocess.run([*words[:-1], script], capture_output=True, text=True, check=True)
    assert {f"{name}={value}" for name, value in shown.items()} <= set(done.stdout.splitlines())


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
