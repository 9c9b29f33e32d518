"""Other processes of one application: found by their locks, warned of once, gone without a trace."""

import logging
import os
import subprocess
import sys

import pytest

from flask_idlesession.operations.other_processes import OtherProcesses

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and flock")

PEER = """
import sys
from pathlib import Path
from flask_idlesession.operations.other_processes import OtherProcesses
peers = OtherProcesses(sys.argv[2], folder=Path(sys.argv[1]), shares=len(sys.argv) > 4)
peers.join(sys.argv[3])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Start another process of an application."""
    started = []

    def start(name="app", key="key", shares=False):
        command = [sys.executable, "-c", PEER, str(tmp_path / "peers"), name, key, *["shares"] * shares]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        if not process.stdin.closed:
            process.communicate(timeout=10)


def join(tmp_path, caplog, *, name="app", key="key"):
    peers = OtherProcesses(name, folder=tmp_path / "peers")
    peers.join(key)
    peers.join(key)
    return [record.levelno for record in caplog.records]


def test_a_process_alone_is_warned_of_nothing(tmp_path, caplog):
    assert join(tmp_path, caplog) == []


def test_a_second_process_is_warned_once_with_the_line_that_mends_it(tmp_path, caplog, start):
    other = start()
    assert join(tmp_path, caplog) == [logging.WARNING]
    assert str(other.pid) in caplog.text
    assert 'app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db"' in caplog.text


def test_many_processes_are_told_by_their_number_and_the_first_few_once_over_all(tmp_path, caplog, start):
    pids = sorted(start(key=f"random {number}", shares=True).pid for number in range(6))
    ours = OtherProcesses("app", folder=tmp_path / "peers")
    ours.join("key")
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
    some = f"6 other processes ({', '.join(map(str, pids[:3]))}, …)"
    assert all(some in message and str(pids[3]) not in message for message in caplog.messages)
    told = start().communicate(timeout=10)[1]
    assert told == b"" and len(ours.living()) == 6


def test_another_secret_key_is_an_error_that_does_not_show_it(tmp_path, caplog, start):
    start(key="their random key")
    assert join(tmp_path, caplog, key="our random key") == [logging.WARNING, logging.ERROR]
    assert "random key," not in caplog.text
    files = [path.read_text() for path in (tmp_path / "peers").iterdir()]
    assert all("random" not in text for text in files)


def test_another_application_is_no_peer(tmp_path, caplog, start):
    start(name="another")
    assert join(tmp_path, caplog) == []


def test_a_process_that_was_killed_is_no_peer_and_leaves_no_file(tmp_path, caplog, start):
    other = start()
    other.kill()
    other.wait(timeout=10)
    assert join(tmp_path, caplog) == []
    assert not any(path.suffix == f".{other.pid}" for path in (tmp_path / "peers").iterdir())


def test_a_process_that_drops_its_application_leaves_no_file(tmp_path):
    peers = OtherProcesses("app", folder=tmp_path / "peers")
    peers.join("key")
    assert len(list((tmp_path / "peers").iterdir())) == 1
    del peers
    assert list((tmp_path / "peers").iterdir()) == []


def test_a_forked_child_is_a_peer_of_its_own(tmp_path):
    peers = OtherProcesses("app", folder=tmp_path / "peers")
    peers.join("key")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            peers.join("key")
            status = 0 if os.getpid() in peers._others() or len(peers._others()) == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert peers._others() == {}


def test_a_folder_of_somebody_else_is_not_used(tmp_path, caplog):
    (tmp_path / "peers").mkdir(mode=0o777)
    (tmp_path / "peers").chmod(0o777)
    assert join(tmp_path, caplog) == []
    assert list((tmp_path / "peers").iterdir()) == []
