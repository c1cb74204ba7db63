from functools import partial

import pytest

from traintime.forecast.steady_parts import MOST_AGAIN, in_steady_parts
from traintime.hardware.processor import ProcessorRates

USUAL = ProcessorRates(100e9, 200e9, 10e9, 40e9, 2e-6, 5e-6)


class Machine:
    """One whose speed at each moment is given; a look takes one moment and a part another."""

    def __init__(self, *speeds: float) -> None:
        self.speeds, self.moment, self.measured = speeds, 0, list[str]()

    def _speed(self) -> float:
        self.moment += 1
        return self.speeds[self.moment - 1] if self.moment <= len(self.speeds) else 1.0

    def look(self) -> ProcessorRates:
        return USUAL.scaled_by(self._speed())

    def measure(self, part: str) -> list[tuple[str, float]]:
        self.measured.append(part)
        speed = self._speed()
        return [(name, speed) for name in part]


def rates_of(machine: Machine, *parts: str, usual: ProcessorRates | None = None) -> list[float]:
    calls = [partial(machine.measure, part) for part in parts]
    found, looks = in_steady_parts(calls, machine.look, max, usual)
    assert [name for name, _ in found] == list("".join(parts))
    assert len(looks) == len(parts) + 1
    return [speed for _, speed in found]


def test_what_was_measured_in_a_slow_moment_is_measured_again():
    # look, ab, look, cd, look, ef, look
    machine = Machine(1, 1, 1, 0.5, 0.5, 1, 1)
    assert rates_of(machine, "ab", "cd", "ef") == [1.0] * 6
    assert machine.measured == ["ab", "cd", "ef", "cd", "ef"]


def test_a_steady_machine_is_measured_once():
    machine = Machine(1, 0.9, 0.9, 1, 1.1, 1, 0.95)
    assert rates_of(machine, "ab", "cd", "ef") == [0.9, 0.9, 1.0, 1.0, 1.0, 1.0]
    assert machine.measured == ["ab", "cd", "ef"]


def test_the_better_of_two_counts():
    machine = Machine(1, 1, 1, 1, 0.5, 0.5, 1, 0.4, 0.4)
    assert rates_of(machine, "a", "b", "c") == pytest.approx([1.0, 1.0, 0.5])


def test_measuring_ends_on_a_machine_that_is_never_steady():
    machine = Machine(*[1.0, 0.3] * 20)
    rates_of(machine, *"abcdefgh")
    assert len(machine.measured) <= 8 + MOST_AGAIN


def test_a_machine_that_is_slow_throughout_is_as_it_is():
    machine = Machine(*[0.5] * 40)
    assert rates_of(machine, "a", "b", "c") == [0.5] * 3


def test_what_is_usual_may_be_known():
    machine = Machine(*[0.5] * 5)
    assert rates_of(machine, "a", "b", usual=USUAL) == [1.0, 1.0]
