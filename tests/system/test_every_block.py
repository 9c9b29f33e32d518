"""Each block of README and of the pages runs in a test: Python by itself, the others where this table says."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import Block
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.documents import COMMENTS
from support.documents import literal_blocks_of
from support.documents import PAGES
from support.programs import find_program
from support.programs import need_packages
from support.servers import postgresql

_DEPLOY, _OPERATE = "tests/system/test_deploy_page.py", "tests/system/test_operate_page.py"
_DISTRIBUTIONS, _HERE = "tests/system/test_distributions.py", "tests/system/test_every_block.py"
_SCRIPTS, _COMPARED = "tests/system/test_pages_scripts.py", "tests/system/test_compared.py"
_COMMANDS, _TUTORIAL = "tests/cli/test_commands_page.py", "tests/system/test_tutorial.py"
_WORKFLOW = ".github/workflows/tests.yml"

#: The commands by which a reader installs something.
_INSTALLS = f"{_DISTRIBUTIONS}::test_an_extra_brings_what_it_is_for"

#: For each page, how its blocks begin that are of another language than Python, and the file (and the function in it)
#: that runs them. A page whose blocks run all in one place has no beginnings.
RUN: dict[str, dict[str, str]] = {
    "README.rst": {
        "python -m pip install -e . &&": "tests/system/test_example_app.py",
        "python -m pip install -e '.[test]' &&": ".ci/run",
    },
    "CONTRIBUTING.rst": {
        "$ python -m pip install -e '.[test,lint,docs]'": _WORKFLOW,
        "$ python -m pip install pre-commit": "tests/house/test_contributing.py::test_the_hooks_use_the_tools_that",
        "$ python -m pytest\n": ".ci/run",
        "$ python -m pytest tests/sessions": f"{_HERE}::test_the_rooms_that_are_named_have_tests",
        "$ python -m pytest -m soak tests/system/test_coverage.py": _WORKFLOW,
        "$ python -m pytest -m soak tests/system/test_distributions.py": _WORKFLOW,
        "$ ruff check": ".ci/run",
        "$ .ci/matrix": _WORKFLOW,
        ".. given": "tests/system/test_pages_code.py::test_blocks_make_programs",
        "$ python -m pip install -e '.[bench]'": "tests/system/test_benchmarks.py",
        "$ git worktree add": "tests/system/test_benchmarks.py",
    },
    "activity.rst": {"setInterval": _SCRIPTS},
    "commands.rst": {"": f"{_COMMANDS}::test_each_command_prints_what_the_page_shows"},
    "compared.rst": {"": f"{_COMPARED}::test_each_table_has_its_command"},
    "deploy.rst": {
        '$ python -c "import secrets': "tests/system/test_quickstart.py",
        "$ python -m pip install 'flask-idlesession[redis]' gunicorn": _INSTALLS,
        "$ export SECRET_KEY=…": f"{_DEPLOY}::test_gunicorns_four_workers_and_the_commands_share_redis",
        "$ sudo install -d": f"{_HERE}::test_the_folder_of_the_audit_log_is_for_its_user_alone",
        "SECRET_KEY=…": f"{_DEPLOY}::test_the_service_of_systemd_starts_the_application",
        "$ sudo sh -c": f"{_DEPLOY}::test_the_command_beside_systemd_has_the_environment",
        "[uwsgi]": f"{_DEPLOY}::test_uwsgi_takes_the_pages_file",
        "$ waitress-serve": f"{_DEPLOY}::test_a_command_of_the_page_starts_its_server",
        "location / {": f"{_DEPLOY}::test_behind_the_pages_nginx_a_client",
        "[Unit]": f"{_DEPLOY}::test_the_service_of_systemd_starts_the_application",
        "FROM python": f"{_DEPLOY}::test_the_command_of_the_container_starts",
        "apiVersion": f"{_DEPLOY}::test_the_pods_of_kubernetes_start",
    },
    "endpoints.rst": {"const answer": _SCRIPTS},
    "install.rst": {"": _INSTALLS},
    "dashboard.rst": {"$ curl": "tests/pages/test_dashboard.py::test_accept_decides_between_the_page_and_json"},
    "metrics.rst": {
        "$ python -m pip install": _INSTALLS,
        "scrape_configs": f"{_HERE}::test_prometheus_takes_the_pages_configuration",
    },
    "neighbours.rst": {
        "$ pip install": _INSTALLS,
        "const source": _SCRIPTS,
        "$ python tests/system/others.py": f"{_HERE}::test_the_tests_of_others_pass",
    },
    "operate.rst": {
        "$ flask idlesession": f"{_OPERATE}::test_each_command_is_one",
        "$ python -c": f"{_OPERATE}::test_the_copy_of_an_sqlite_file_is_whole",
        "$ redis-cli": f"{_OPERATE}::test_the_copy_of_a_redis_server_is_whole",
        "/notifications comes": f"{_HERE}::test_a_poller_is_told_as_the_page_says",
        "$ pg_": f"{_OPERATE}::test_the_copy_of_a_postgresql_table_is_whole",
    },
    "pages.rst": {
        "$ pybabel compile": f"{_HERE}::test_a_catalogue_is_compiled_by_the_pages_command",
        "document.addEventListener": _SCRIPTS,
        "export async function": _SCRIPTS,
        "<meta name=": "tests/system/test_pages_code.py::test_a_block_is_what_its_language_takes",
    },
    "performance.rst": {"": "tests/system/test_benchmarks.py"},
    "protection.rst": {"$ python -m pip install 'flask-idlesession[encryption]'": f"{_HERE}::test_a_key_is_made_by"},
    "quickstart.rst": {"": "tests/system/test_quickstart.py"},
    "stores-redis.rst": {"": _INSTALLS},
    "stores.rst": {
        "$ python -m pip install": _INSTALLS,
        "ALTER TABLE": f"{_HERE}::test_postgresql_takes_the_pages_statement",
    },
    "write-a-store.rst": {"": "tests/system/test_store_page.py::test_the_files_of_the_page"},
    "testing.rst": {"": "tests/system/test_testing_page.py::test_the_page_is_a_suite_that_passes"},
    "tutorial.rst": {
        "$ mkdir notebook": f"{_TUTORIAL}::test_an_empty_folder_becomes_one",
        "": _TUTORIAL,
    },
}

#: Blocks that are no code: a drawing.
DRAWINGS = {"design.rst": "cookie ─ web/interface"}


def blocks_elsewhere(page: Path) -> Iterator[Block]:
    """Yield the blocks that the page itself does not run: neither Python, nor followed by a check."""
    text = page.read_text(encoding="utf-8")
    blocks = list(blocks_of(text))
    for block, after in zip(blocks, [*blocks, None][1:], strict=True):
        is_checked = after is not None and after.kind == "check"
        if block.kind not in ("python", *COMMENTS) and not is_checked:
            yield block
    for line, code in literal_blocks_of(text):
        yield Block("literal", line, code)


ELSEWHERE = [
    pytest.param(page.name, block, id=f"{page.name}:{block.line}") for page in PAGES for block in blocks_elsewhere(page)
]


def place_of(page: str, code: str) -> str | None:
    """Return where a block runs."""
    return next((where for begins, where in RUN.get(page, {}).items() if f"{code}\n".startswith(begins)), None)


@pytest.mark.parametrize(("page", "block"), ELSEWHERE)
def test_a_block_that_is_not_python_runs_somewhere(page: str, block: Block) -> None:
    if page in DRAWINGS and block.code.startswith(DRAWINGS[page]):
        return
    where = place_of(page, block.code)
    assert where, "Add a '.. check' below it, or a test, and a line to RUN."
    path, _, function = where.partition("::")
    source = (CHECKOUT / path).read_text(encoding="utf-8")
    if function:
        named = [each.name for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
        assert any(name.startswith(function) for name in named), where
    else:
        of_its_own = page.partition(".")[0].lower() in source.lower()
        assert of_its_own or path.startswith((".", "tests/system/test_bench", "tests/system/test_quickstart"))


def test_each_line_of_the_table_is_of_a_block() -> None:
    codes = [(page, f"{block.code}\n") for page, block in (each.values for each in ELSEWHERE)]
    for page, lines in RUN.items():
        for begins in lines:
            assert any(name == page and code.startswith(begins) for name, code in codes), (page, begins)


# What runs nowhere else.


def block(page: str, begins: str) -> str:
    """Return the one block of a page that begins so."""
    blocks = blocks_of((CHECKOUT / page).read_text(encoding="utf-8"))
    (code,) = (each.code for each in blocks if each.code.startswith(begins))
    return code


def shell(command: str, folder: Path) -> str:
    """Type a command where the programs of this environment come first; return its output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-ec", command], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_poller_is_told_as_the_page_says() -> None:
    from flask_idlesession.operations.polling import Poller

    poller = Poller(endpoint="notifications", period=60.0, spread=1.0, share=0.94)
    assert poller.told("/notifications").startswith(block("docs/operate.rst", "/notifications comes"))


def test_a_catalogue_is_compiled_by_the_pages_command(tmp_path: Path) -> None:
    need_packages("babel")
    folder = tmp_path / "translations/it/LC_MESSAGES"
    folder.mkdir(parents=True)
    shipped = CHECKOUT / "flask_idlesession/pages/translations/en/LC_MESSAGES/idlesession.po"
    shutil.copy(shipped, folder)
    shell(block("docs/pages.rst", "$ pybabel").removeprefix("$ "), tmp_path)
    assert (folder / "idlesession.mo").stat().st_size > 100


def test_a_key_is_made_by_the_command_of_the_page_on_protection(tmp_path: Path) -> None:
    _, command = block("docs/protection.rst", "$ python -m pip").splitlines()
    key = shell(f"{command.removeprefix('$ ')}; echo $SESSION_KEY", tmp_path).strip()
    from flask import Flask

    from flask_idlesession import IdleSession

    app = Flask("app")
    app.config.update(SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_ENCRYPTION_KEYS=[key])
    IdleSession(app)


def test_the_folder_of_the_audit_log_is_for_its_user_alone(tmp_path: Path) -> None:
    told = block("docs/deploy.rst", "$ sudo install").removeprefix("$ sudo ")
    shell(told.replace("-o app ", "").replace("/var/log", str(tmp_path)), tmp_path)
    assert (tmp_path / "app").stat().st_mode & 0o777 == 0o700


def test_prometheus_takes_the_pages_configuration(tmp_path: Path) -> None:
    program = find_program("promtool")
    (tmp_path / "token").touch()
    told = block("docs/metrics.rst", "scrape_configs").replace("/etc/prometheus/shop-token", str(tmp_path / "token"))
    (tmp_path / "prometheus.yml").write_text(told)
    done = subprocess.run(
        [program, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.soak
def test_the_tests_of_others_pass() -> None:
    """Those of one package; the page has the figures of all."""
    command = block("docs/neighbours.rst", "$ python tests/system/others.py").removeprefix("$ python")
    done = subprocess.run(
        [sys.executable, *command.split(), "pytest-flask"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_postgresql_takes_the_pages_statement() -> None:
    need_packages("sqlalchemy", "psycopg")
    from sqlalchemy import create_engine
    from sqlalchemy import text

    from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

    with postgresql() as server:
        engine = create_engine(server.url)
        store = SQLAlchemyStore(engine)
        assert store.next_expiry() is None  # The first call makes the tables.
        store.close()
        with engine.begin() as connection:
            connection.execute(text(block("docs/stores.rst", "ALTER TABLE")))
        engine.dispose()


def test_the_rooms_that_are_named_have_tests(tmp_path: Path) -> None:
    for line in block("CONTRIBUTING.rst", "$ python -m pytest tests/sessions").splitlines():
        told = shell(f"cd {CHECKOUT}; {line.removeprefix('$ ')} --collect-only -q -n 0 -p no:cacheprovider", tmp_path)
        assert "::test_" in told
