"""The wheel and the source distribution: whole, and of use without a checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from glob import glob
from pathlib import Path

import pytest
from support.documents import CHECKOUT
from support.documents import programs_of
from support.programs import need_packages

#: What a working copy, or an unpacked source distribution, has besides what belongs to the project.
_OTHERS = ".git __pycache__ *.egg-info build dist _build .venv .*_cache .hypothesis .coverage instance PKG-INFO"

#: What is tried after each extra was installed: a store that a URL opens, a setting. None needs a server.
EXTRAS = {
    "": "ask()",
    "redis": "ask(STORE='redis://127.0.0.1:1/0')",
    "valkey": "ask(STORE='valkey://127.0.0.1:1/0')",
    "sqlalchemy": "import sqlalchemy; from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore as Store; "
    "Store(sqlalchemy.create_engine('sqlite://'), create_table=False).close()",
    "cachelib": "from cachelib import SimpleCache; ask(STORE=SimpleCache())",
    "encryption": "ask(ENCRYPTION_KEYS=['mvLBiZsiTbGwrfJB6srAmuF9yLFrOyw3pUTWxqBJKcw'])",
    "jwt": "ask(CLAIMS='claims', CLAIMS_KEY='0Q1xJkR0XzBpS2k4b0V5c2J6eTh3M0h1Vd5KqfYx')",
    "prometheus": "ask(METRICS='/metrics', METRICS_TOKEN='5mS3VnUYkeSWJQ8C')",
    "opentelemetry": "ask(OPENTELEMETRY=True)",
    "devices": "import ua_parser; ask()",
    "socketio": "from flask_idlesession.integrations.socketio import SocketIO; "
    "from flask import Flask; app = Flask('app'); app.secret_key = '7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f'; "
    "IdleSession(app); assert SocketIO(app).test_client(app).is_connected()",
    "sock": "from flask_idlesession.integrations.flask_sock import Sock; "
    "from flask import Flask; app = Flask('app'); app.secret_key = '7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f'; "
    "IdleSession(app); Sock(app)",
}

#: The extras of those who work on the package: what they bring is in no application.
OF_THE_WORKSHOP = {"test", "bench", "docs", "lint"}

_USE = """
from flask import Flask
from flask_idlesession import IdleSession

def ask(**settings):
    app = Flask("app")
    app.config.update({f"IDLESESSION_{key}": value for key, value in settings.items()})
    app.config.update(SECRET_KEY="7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", TESTING=True)
    IdleSession(app)
    assert app.test_client().get("/").status_code == 404

"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working copy, so that nothing is built inside it."""
    ignored = shutil.ignore_patterns(*_OTHERS.split())
    return Path(shutil.copytree(CHECKOUT, tmp_path_factory.mktemp("tree") / "tree", ignore=ignored))


def built(tree: Path, kind: str, folder: Path) -> Path:
    need_packages("build", "setuptools")
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(folder), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tree, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # Python 3.11.2, which Debian 12 has, knows no filters yet.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    (inner,) = folder.iterdir()
    return inner


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as an installer makes it that has the source distribution only."""
    return built(unpacked, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as the wheel has it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def metadata(installed: Path) -> Message:
    (path,) = installed.glob("*.dist-info/METADATA")
    return message_from_string(path.read_text(encoding="utf-8"))


def run(code: str, *paths: Path, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_source_distribution_has_every_file(tree: Path, unpacked: Path) -> None:
    made = {"PKG-INFO", *(name for name in files_below(unpacked) if ".egg-info/" in name)}
    assert files_below(unpacked) - made == {name for name in files_below(tree) if ".egg-info/" not in name}


def test_the_wheel_has_the_package_and_nothing_else(tree: Path, installed: Path) -> None:
    files = {name for name in files_below(installed) if not name.startswith("flask_idlesession-")}
    assert files == {f"flask_idlesession/{name}" for name in files_below(tree / "flask_idlesession")}
    assert {"flask_idlesession/py.typed", "flask_idlesession/__init__.pyi"} <= files


def test_every_licence_is_in_the_wheel(tree: Path, installed: Path) -> None:
    licences = {path.relative_to(tree) for path in tree.rglob("LICENSE*")}
    (info,) = installed.glob("*.dist-info")
    assert {str(path) for path in licences} == files_below(info / "licenses")
    assert metadata(installed)["License-Expression"] == "BSD-3-Clause AND MIT"


def test_the_metadata_says_what_it_is(installed: Path) -> None:
    told = metadata(installed)
    assert told["Name"] == "flask-idlesession"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Description-Content-Type"] == "text/x-rst"
    assert told["Author"] == "the flask_idlesession authors"
    extras = {name.lower() for name in told.get_all("Provides-Extra", [])}
    assert extras - OF_THE_WORKSHOP == EXTRAS.keys() - {""}, "EXTRAS has no trial of one of these."
    assert told.get_all("Project-URL") is None, "An address is made up; write one when there is one."


def test_the_page_on_installing_has_every_extra() -> None:
    page = (CHECKOUT / "docs/install.rst").read_text(encoding="utf-8")
    assert not [name for name in EXTRAS if name and f"\n``{name}``" not in page]


def test_readme_is_a_page_on_an_index(installed: Path) -> None:
    """An index takes no directive that only Sphinx knows."""
    from docutils.core import publish_string

    text = str(metadata(installed).get_payload())
    page = publish_string(text, writer="html5", settings_overrides={"halt_level": 2, "report_level": 2})
    assert b"Try it" in page


def test_the_wheel_runs_readmes_example(installed: Path, tmp_path: Path) -> None:
    (program,) = programs_of(CHECKOUT / "README.rst")
    code = f"{program.parts[0].code}\nimport flask_idlesession as f; print(f.__file__, app.test_client().get('/').text)"
    path, answer = run(code, installed, folder=tmp_path).split(" ", 1)
    assert Path(path).is_relative_to(installed)
    assert answer == "visit 1"


def test_the_tests_of_the_source_distribution_run(unpacked: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "tests/house",
        "tests/model/test_ids.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


# In fresh environments, with the packages that an installer finds.


def clean() -> dict[str, str]:
    """Return the environment without what leads to a working copy, which pip would take for an installed package."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "PYTHONPATH")}


def fresh_environment(folder: Path, *, python: str = sys.executable) -> str:
    """Return the Python of a new environment."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    return str(folder / "bin/python")


@pytest.mark.soak
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_it_is_for(extra: str, wheel: Path, tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "venv")
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    subprocess.run([python, "-m", "pip", "install", "-q", wanted], check=True, env=clean())
    subprocess.run([python, "-c", _USE + EXTRAS[extra]], check=True, cwd=tmp_path, env=clean())


def pythons() -> list[str]:
    """Return each supported Python that is found here: those of pyenv, and those on the path."""
    found = glob(str(Path.home() / ".pyenv/versions/3.*/bin/python"))
    found += [path for minor in range(11, 30) if (path := shutil.which(f"python3.{minor}"))]
    asked = "import sys; print(sys.version_info >= (3, 11), sys.version.split()[0])"
    by_version = {}
    for path in found:
        done = subprocess.run([path, "-c", asked], capture_output=True, text=True)
        supported, _, version = done.stdout.strip().partition(" ")
        if supported == "True":
            by_version[version] = path
    return [pytest.param(path, id=version) for version, path in sorted(by_version.items())]


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
@pytest.mark.parametrize("python", pythons())
def test_all_tests_run_in_a_fresh_environment(
    python: str, kind: str, unpacked: Path, wheel: Path, tmp_path: Path
) -> None:
    """For the source distribution as README says it; for the wheel with the package's files as it installed them.

    What fails beside other tests on a busy machine runs again by itself.
    """
    tree = Path(shutil.copytree(unpacked, tmp_path / "tree"))
    python = fresh_environment(tmp_path / "venv", python=python)
    wanted = ["-e", f"{tree}[test]"] if kind == "sdist" else [f"{wheel}[test]"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True, env=clean())
    if kind == "wheel":
        (packages,) = (tmp_path / "venv/lib").glob("python3.*/site-packages")
        shutil.rmtree(tree / "flask_idlesession")
        shutil.copytree(packages / "flask_idlesession", tree / "flask_idlesession")
        shutil.rmtree(packages / "flask_idlesession")
        (packages / "the_tree.pth").write_text(f"{tree}\n")
    is_green = run_all(python, tree) or run_all(python, tree, "--last-failed", "-n", "0")
    shutil.rmtree(tmp_path / "venv")
    assert is_green, "The output above names the tests."


def run_all(python: str, tree: Path, *options: str) -> bool:
    """Run the tests of a tree, and tell how it ended; return whether all passed."""
    command = [python, "-m", "pytest", "-q", "-rfE", "--tb=short", *options]
    done = subprocess.run(command, cwd=tree, env=clean(), capture_output=True, text=True)
    print(python, *options, done.stdout[-8000:], sep="\n")
    return done.returncode == 0
