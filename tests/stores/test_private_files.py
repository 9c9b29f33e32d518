"""Where a store's files may lie: in a folder that nobody else may write, as files of this user alone."""

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.stores import private_files
from flask_idlesession.stores.private_files import check_file
from flask_idlesession.stores.private_files import place_of
from flask_idlesession.stores.private_files import prepare_folder

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="Only root gives files away.")


@pytest.fixture(autouse=True)
def _nothing_was_told() -> Iterator[None]:
    private_files._told.clear()
    yield
    private_files._told.clear()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_folders_that_are_missing_are_made_for_this_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        prepare_folder(tmp_path / "a" / "b" / "c" / "file", of="thing")
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o702, 0o1777, 0o1775, 0o2775, 0o3777])
def test_a_folder_that_others_may_write_is_refused_and_one_inside_it_is_the_way_out(tmp_path: Path, mode: int) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as caught:
        prepare_folder(volume / "sessions.db", of="session database")
    inside = volume / "sessions" / "sessions.db"
    assert repr(str(inside)) in str(caught.value)
    prepare_folder(inside, of="session database")
    assert mode_of(inside.parent) & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o2755, 0o1755])
def test_a_folder_that_others_may_only_read_is_taken(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    prepare_folder(tmp_path / "file", of="thing")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is no folder"):
        prepare_folder(tmp_path / "file" / "sessions.db", of="session database")
    with pytest.raises(ConfigError, match="Not a directory"):
        prepare_folder(tmp_path / "file" / "more" / "sessions.db", of="session database")


def test_names_are_quoted_so_that_none_begins_a_line_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "a\nSessions are fine."
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError) as caught:
        prepare_folder(folder / "file", of="thing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
        (errno.EACCES, ConfigError),
        (errno.EROFS, ConfigError),
        (errno.ENAMETOOLONG, ConfigError),
    ],
)
def test_a_full_disk_is_an_outage_and_a_place_that_nobody_may_write_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(kind, match=os.strerror(code)):
        prepare_folder(tmp_path / "new" / "file", of="thing")


@AS_ROOT
def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, 4242, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="belongs to user 4242.*this process is user 1000"):
        prepare_folder(tmp_path / "file", of="thing")
    os.chown(tmp_path, 0, -1)
    prepare_folder(tmp_path / "file", of="thing")  # It is the administrator's.


@AS_ROOT
def test_root_is_told_once_of_a_folder_that_is_one_other_user_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.chown(tmp_path, 4242, -1)
    for _ in range(3):
        prepare_folder(tmp_path / "file", of="session database")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{str(tmp_path)!r} of the session database belongs to user 4242, and this process is root" in caplog.text


@AS_ROOT
def test_root_takes_a_file_of_the_folder_s_owner_and_no_other_s(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o600)
    os.chown(file, 4242, -1)
    with pytest.raises(ConfigError, match="belongs to user 4242, and this process is user 0"):
        check_file(file, of="thing")
    os.chown(tmp_path, 4242, -1)
    check_file(file, of="thing")


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    check_file(tmp_path / "none", of="thing")


def test_another_file_of_one_name_has_another_place(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    assert place_of(file) is None
    with file.open("w") as opened:
        assert place_of(file) == place_of(opened.fileno())
        other.touch()
        other.rename(file)
        assert place_of(file) != place_of(opened.fileno())
