import errno
import os
from pathlib import Path

import pytest

from traintime.errors import StorageError
from traintime.ledger.atomic import (
    refused_writes_explained,
    remove_leftovers,
    write_atomically,
    write_bytes_atomically,
)

# as safetensors 0.8 puts it on a full disk
RUST_FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


class SafetensorError(Exception):
    pass


def refuse_with(error: Exception):
    """Write half of the content, then fail."""

    def write(path: Path) -> None:
        path.write_bytes(b"ha")
        raise error

    return write


def test_content_is_replaced_and_folders_are_made(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file"
    write_bytes_atomically(path, b"old")
    write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), ValueError("no"), KeyboardInterrupt()]
)
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises((StorageError, ValueError, KeyboardInterrupt)):
        write_atomically(path, refuse_with(error))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_there_before_all_is_written(tmp_path: Path):
    path = tmp_path / "file"
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"new")
        seen.append(path.exists())

    write_atomically(path, write)
    assert seen == [False]
    assert path.exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), SafetensorError(RUST_FULL)],
)
def test_a_full_disk_is_told_with_the_command_that_shows_it(tmp_path: Path, error: Exception):
    path = tmp_path / "file"
    with pytest.raises(StorageError) as caught:
        write_atomically(path, refuse_with(error))
    message = str(caught.value)
    assert message.startswith(f"The disk is full: '{path}' could not be written.")
    assert f"(see it with: df -h '{tmp_path}')" in message
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO])
def test_a_refused_write_is_told_with_the_command_that_shows_why(tmp_path: Path, number: int):
    path = tmp_path / "file"
    with pytest.raises(StorageError) as caught:
        write_atomically(path, refuse_with(OSError(number, "whatever")))
    assert str(caught.value) == (
        f"'{path}' cannot be written ({os.strerror(number)}). Check with: ls -ld '{tmp_path}'"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        write_bytes_atomically(folder / "file", b"new")


def test_a_file_where_a_folder_should_be_is_a_storage_error(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        write_bytes_atomically(tmp_path / "home" / "cache" / "file", b"new")


def test_errors_that_are_not_the_disks_pass_through(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), refused_writes_explained(tmp_path):
        raise ZeroDivisionError


def test_a_folder_that_is_gone_is_told(tmp_path: Path):
    path = tmp_path / "gone" / "file"
    with pytest.raises(StorageError) as caught, refused_writes_explained(path):
        path.write_bytes(b"new")
    assert str(caught.value) == f"'{path}' cannot be written: the folder '{path.parent}' is gone"


def test_a_file_gets_the_permissions_that_the_user_gives_new_files(tmp_path: Path):
    def write(temporary: Path) -> None:  # as safetensors does
        temporary.unlink()
        temporary.touch(mode=0o600)

    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", write)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_dead_processes_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path):
    dead = [".file.999999999.tmp", ".tmpXy12Zq", f".file.{os.getpid()}.tmp"]
    living = [f".file.{os.getppid()}.tmp", "file", "step-000000001.safetensors", "tmp.txt"]
    for name in (*dead, *living):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(living)


def test_there_is_nothing_to_remove_from_a_folder_that_is_not_there(tmp_path: Path):
    remove_leftovers(tmp_path / "missing")
