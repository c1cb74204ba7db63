"""Loops of other people's, under a clock that the tests move."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import traintime
from traintime.api.track import Tracker
from traintime.errors import InputError


@dataclass
class Time:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setitem(Tracker._one_epoch.__globals__, "perf_counter", time)
    return time


def test_every_batch_of_every_epoch_comes_once():
    tracker = traintime.track([1, 2, 3], epochs=2, show=False)
    assert list(tracker) == [1, 2, 3, 1, 2, 3]
    assert tracker.epoch == 2
    assert list(traintime.track(range(2), epochs=5, first_epoch=3, show=False)) == [0, 1, 0, 1]


def test_the_end_is_foreseen_with_what_passes_between_epochs(time: Time):
    tracker = traintime.track(range(50), epochs=4, show=False)
    for _ in tracker:
        time.now += 0.1
        if tracker.ends_epoch:
            time.now += 3.0  # a validation
        if tracker.epoch == 2 and tracker.clock.step == 0:
            eta = tracker.eta
            assert eta is not None
            assert eta.finish_s.median == pytest.approx(4 * (5 + 3), rel=0.03)
            assert eta.elapsed_s == pytest.approx(16, rel=0.03)
    assert tracker.eta is not None
    assert tracker.eta.finish_s.median == pytest.approx(32, rel=0.01)


def test_the_first_batch_does_not_count_as_usual(time: Time):
    tracker = traintime.track(range(100), show=False)
    for number in tracker:
        time.now += 60.0 if number == 0 else 0.1
        if number == 50:
            assert tracker.eta is not None
            assert tracker.eta.finish_s.median == pytest.approx(60 + 9.9, rel=0.03)


def test_after_a_resume_only_what_is_left_counts(time: Time):
    tracker = traintime.track(range(10), epochs=10, first_epoch=8, show=False)
    for _ in tracker:
        time.now += 1.0
    assert tracker.clock.elapsed_s == pytest.approx(20, abs=1)


def test_a_loader_without_a_length_is_known_after_its_first_epoch(time: Time):
    class Stream:
        def __iter__(self) -> Iterator[int]:
            yield from range(5)

    tracker = traintime.track(Stream(), epochs=3, show=False)
    seen: list[bool] = []
    for _ in tracker:
        time.now += 1.0
        seen.append(tracker.eta is not None)
    assert seen == [False] * 5 + [True] * 10
    given = traintime.track(Stream(), epochs=3, steps_per_epoch=5, show=False)
    ends = [given.ends_epoch for _ in given]
    assert ends == [False, False, False, False, True] * 3


def test_a_metric_that_is_told_gives_the_time_to_the_target(time: Time):
    tracker = traintime.track(range(10), epochs=20, target="accuracy:0.9", show=False)
    chances: list[float] = []
    for _ in tracker:
        time.now += 1.0
        if tracker.ends_epoch:
            epochs = tracker.epoch + 1
            tracker.log(accuracy=1 - 0.5 * epochs**-0.8, loss=1.0)
        if tracker.eta and tracker.eta.chance_of_target is not None:
            chances.append(tracker.eta.chance_of_target)
            if tracker.epoch == 5:  # 0.5 · n^-0.8 is below 0.1 from the 8th epoch on
                target = tracker.eta.target_s
                assert target is not None
                assert target.low <= 80 + 1e-6  # it is found by halving
                assert target.high * 1.2 >= 80
    assert chances[-1] == 1.0


def test_the_line_is_printed_now_and_then_where_nothing_can_be_drawn(
    time: Time, capsys: pytest.CaptureFixture[str]
):
    for _ in traintime.track(range(30), epochs=2):
        time.now += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 8
    assert "epoch 2/2" in lines[-2]
    assert "100 %  epoch 2/2  step 30/30" in lines[-1]
    assert "to the end" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"epochs": 0}, "leaves nothing to do"),
        ({"epochs": 1.5}, "is no whole number"),
        ({"target": 3}, "target=3 names no metric"),
        ({"epochs": 3, "first_epoch": 3}, "leaves nothing to do"),
        ({"steps_per_epoch": 0}, "at least 1 step"),
        ({"target": "fun:3"}, "names no known metric"),
    ],
)
def test_impossible_loops_are_refused(arguments: dict[str, object], said: str):
    with pytest.raises(InputError, match=said):
        traintime.track([1], **arguments)  # type: ignore[arg-type]


def test_an_iterator_is_gone_over_once():
    assert list(traintime.track(iter([1, 2]), show=False)) == [1, 2]
    with pytest.raises(InputError, match=r"a list_iterator can be gone over once"):
        traintime.track(iter([1, 2]), epochs=2, show=False)
    with pytest.raises(InputError, match=r"no batch in epoch 1"):
        list(traintime.track([], epochs=2, show=False))


def test_a_loader_whose_length_is_not_known_after_all_is_taken():
    class Loader(list[int]):
        def __len__(self) -> int:
            raise TypeError("no length")

    assert list(traintime.track(Loader([1, 2]), epochs=2, show=False)) == [1, 2, 1, 2]


def test_a_resumed_loop_has_its_epochs_where_they_are(time: Time):
    tracker = traintime.track(range(10), epochs=12, first_epoch=5, target="loss:0.6", show=False)
    for _ in tracker:
        time.now += 1.0
        if tracker.ends_epoch:
            tracker.log(loss=1.5 / (tracker.epoch + 1) ** 0.5)
        if tracker.epoch == 5 and tracker.clock.outlook:
            assert tracker.eta is not None
            assert tracker.eta.chance_of_target == pytest.approx(tracker.clock.outlook.chance)
    assert tracker.clock.outlook is not None
    assert min(tracker.clock.outlook.epochs) > 8


def test_what_holds_no_batches_is_refused():
    with pytest.raises(InputError, match=r"a int \(5\) holds none. Give it a list or a DataLoader"):
        traintime.track(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["abc", "0.5", None, [1, 2]])
def test_a_metric_that_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"loss is a number, not .*Write for example log\(loss="):
        traintime.track([1], show=False).log(loss=value)


def test_a_metric_of_another_name_is_refused():
    with pytest.raises(InputError, match="not 'f1'"):
        traintime.track([1], show=False).log(f1=0.5)
    with pytest.raises(InputError, match=r"not 93. Write for example log\(accuracy=0.93\)"):
        traintime.track([1], show=False).log(accuracy=93)


def test_tracking_needs_neither_torch_nor_numpy():
    script = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None; import traintime\n"
        "print(list(traintime.track([1, 2], epochs=2)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "[1, 2, 1, 2]\n"), ended.stderr
