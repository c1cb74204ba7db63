import pytest

from traintime.hardware import timer
from traintime.hardware.timer import Timing, time_calls


class Clock:
    """Time passes only while something is called, or waited for."""

    def __init__(self, *durations: float, queued: float = 0.0) -> None:
        self.now = 0.0
        self.calls = 0
        self.queued = queued
        self._durations = durations

    def call(self) -> None:
        self.now += self._durations[min(self.calls, len(self._durations) - 1)]
        self.calls += 1

    def synchronize(self) -> None:
        self.now += self.queued

    def __call__(self) -> float:
        return self.now


def timed(monkeypatch: pytest.MonkeyPatch, clock: Clock, **options: float) -> Timing:
    monkeypatch.setattr(timer, "perf_counter", clock)
    return time_calls(clock.call, synchronize=clock.synchronize, **options)


def test_the_first_two_calls_stay_out_and_the_median_resists_one_slow_call(monkeypatch):
    clock = Clock(100, 50, 1, 3, 2, 1, 9)
    assert timed(monkeypatch, clock, budget_s=16) == Timing(2, 1, 9, calls=5)
    assert clock.calls == 7


@pytest.mark.parametrize(
    ("duration", "options", "calls"),
    [
        (1, {"budget_s": 10}, 10),
        (1, {"budget_s": 9.5}, 10),
        (1, {"budget_s": 0}, 3),
        (100, {"budget_s": 10}, 3),
        (100, {"budget_s": 10, "least_calls": 1}, 1),
        (0, {"budget_s": 10}, 200),
        (1, {"budget_s": 10, "most_calls": 4}, 4),
    ],
)
def test_calls_are_counted_until_the_budget_is_used_up(monkeypatch, duration, options, calls):
    assert timed(monkeypatch, Clock(duration), **options).calls == calls


def test_waiting_for_the_device_belongs_to_the_call(monkeypatch):
    assert timed(monkeypatch, Clock(0.25, queued=0.75), budget_s=3).median_s == 1
