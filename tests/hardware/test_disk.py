from pathlib import Path

import pytest

from traintime.errors import StorageError
from traintime.hardware import disk
from traintime.hardware.disk import reading_speed


def test_a_disk_is_read_at_some_speed_and_left_as_it_was(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(disk, "TRIAL_BYTES", 2**22)
    folder = tmp_path / "new"
    assert 1e5 < reading_speed(folder) < 1e13
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        reading_speed(tmp_path / "file" / "folder")
