import time
from pathlib import Path

import pytest

from traintime.api.usage_recorder import UsageRecorder
from traintime.ledger.run_folder import RunFolder
from traintime.train.records import Start

from .known_machine import records

START = Start(steps_per_epoch=10, total_steps=100, first_step=0, elapsed_s=5.0)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "digits-mlp", "0.1.0")


def record_for(folder: RunFolder, seconds: float, start: Start = START) -> None:
    recorder = UsageRecorder(folder, "cpu", every_s=0.05)
    recorder.on_start(start)
    time.sleep(seconds)
    recorder.close()


def test_usage_is_sampled_by_the_run_s_own_clock(folder: RunFolder) -> None:
    record_for(folder, 0.4)
    samples = records(folder.path, "usage")
    assert 3 <= len(samples) <= 8
    assert 5.0 < samples[0]["elapsed_s"] < samples[-1]["elapsed_s"] < 6.0
    assert samples[0]["rss_bytes"] > 0


def test_nothing_is_written_after_closing(folder: RunFolder) -> None:
    record_for(folder, 0.2)
    before = (folder.path / "usage.jsonl").read_text()
    time.sleep(0.2)
    assert (folder.path / "usage.jsonl").read_text() == before


def test_samples_beyond_the_checkpoint_that_is_resumed_from_are_dropped(folder: RunFolder) -> None:
    record_for(folder, 0.2)
    again = Start(10, 100, first_step=3, elapsed_s=8.0, resumed_at_s=4.0)
    record_for(folder, 0.2, again)
    assert all(sample["elapsed_s"] > 8 for sample in records(folder.path, "usage"))


def test_run_goes_on_when_its_usage_cannot_be_written(folder: RunFolder) -> None:
    (folder.path / "usage.jsonl").mkdir()
    record_for(folder, 0.2)


def test_run_goes_on_when_its_folder_is_gone(folder: RunFolder) -> None:
    recorder = UsageRecorder(folder, "cpu", every_s=0.05)
    recorder.on_start(START)
    time.sleep(0.2)
    folder.delete()
    time.sleep(0.1)
    recorder.close()


def test_recorder_that_never_started_can_be_closed(folder: RunFolder) -> None:
    UsageRecorder(folder, "cpu").close()
