import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from traintime.clock.eta import Eta
from traintime.clock.run_state import Curves, RunState, RunWarning
from traintime.clock.thinned import MOST_POINTS, Point
from traintime.recipe import read_recipe
from traintime.report.watch_view import result_line, watch_view
from traintime.units import GIB, Interval

NAME = "20261120-120000-digits-lenet"
SIZES = [(80, 24), (120, 40), (160, 50)]


def curve(*ys: float) -> tuple[Point, ...]:
    return tuple(Point(float(x), y, 0.9 * y, 1.1 * y) for x, y in enumerate(ys))


def state(**changes: Any) -> RunState:
    usage = {
        "cpu": 0.91,
        "others_cpu": 0.03,
        "rss_bytes": GIB,
        "available_bytes": 12 * GIB,
        "limit_bytes": 16 * GIB,
        "read_bytes_per_s": 0.0,
        "written_bytes_per_s": 2.0**20,
        "disk_free_bytes": 60 * GIB,
        "gpu": 0.97,
        "gpu_memory_bytes": 20 * GIB,
        "gpu_limit_bytes": 80 * GIB,
    }
    falling = [2.0 * 0.9**n + 0.2 for n in range(40)]
    return dataclasses.replace(
        RunState(
            run=NAME,
            folder=Path("/runs") / NAME,
            status="training",
            recipe=read_recipe(data="digits", model="lenet", epochs=100, target="accuracy:0.99"),
            pid=4711,
            host="ada",
            started_at="2026-11-20T12:00:00+01:00",
            elapsed_s=125.0,
            steps_per_epoch=20,
            last_step={
                "step": 780,
                "epoch": 39.0,
                "loss": 0.2345,
                "lr": 0.0123,
                "samples_per_s": 18_400.0,
            },
            last_epoch={"epoch": 39, "validation_loss": 0.31, "validation_accuracy": 0.9765},
            eta=Eta(
                elapsed_s=125.0,
                finish_s=Interval(325.0, 305.0, 355.0),
                target_s=Interval(225.0, 205.0, 255.0),
                chance_of_target=0.83,
                final=Interval(0.9912, 0.985, 0.994),
            ),
            phases_s={"train": 110.0, "validate": 10.0, "prepare": 5.0},
            usage=usage,
            curves=Curves(
                train_loss=curve(*falling),
                validation_loss=curve(*falling),
                validation_accuracy=curve(*(1 - loss / 4 for loss in falling)),
                lr=curve(*falling),
                samples_per_s=curve(*falling),
                cpu=curve(0.9, 0.91),
                gpu=curve(0.9, 0.97),
            ),
        ),
        **changes,
    )


def drawn(shown: RunState, width: int = 120, height: int | None = 40) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(watch_view(shown, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "height"), [*SIZES, (60, 20), (40, 12), (200, 70), (20, 5)])
def test_screen_is_just_as_large_as_the_terminal(width: int, height: int) -> None:
    lines = watch_view(state(), width, height).lines
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width


def test_drawing_twice_a_second_takes_little_of_a_core() -> None:
    noise = curve(*(1 + n % 7 / 7 for n in range(MOST_POINTS - 1)))
    long = state(curves=Curves(*[noise] * 10))
    began = time.process_time()
    for _ in range(10):
        drawn(long, 160, 50)
    assert (time.process_time() - began) / 10 < 0.06, "measured: 0.012"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_everything_is_on_the_screen_at_each_size(width: int, height: int) -> None:
    screen = drawn(state(), width, height)
    for words in (
        "lenet on digits to 99 % accuracy",
        " training ",
        "process 4711 on ada · since 12:00",
        "39 % · epoch 39/100 · step 780 · after 2 m 05 s",
        "to target  1 m 40 s (80 s - 2 m 10 s)",
        "chance 83 %",
        "to the end 3 m 20 s (3 m 00 s - 3 m 50 s)",
        "99.12 % (98.50-99.40 %)",
        "train 88 %",
        "18.4 k samples/s",
        "0.0123",
        "97.65 % · loss 0.3100",
        "91 % · others 3 %",
        "12 GiB left",
        "97 %",
        "60 GiB left",
        "60 GiB free",
        "traintime runs set | pause | continue | save",
        " q ",
    ):
        assert words in screen, words


@pytest.mark.parametrize(("width", "height"), [(60, 20), (50, 12), (40, 12), (30, 8), (20, 5)])
@pytest.mark.parametrize("warnings", [0, 3])
def test_the_time_that_is_left_is_the_last_thing_to_go(
    width: int, height: int, warnings: int
) -> None:
    warning = RunWarning("late data", "The data is late: 35 % of each step waits.", "Try more")
    screen = drawn(state(warnings=(warning,) * warnings), width, height)
    assert "to target  1 m 40 s" in screen
    assert "to the end 3 m 20 s" in screen


def test_tall_screen_has_a_second_row_of_charts() -> None:
    assert "learning rate" in drawn(state(), 160, 50)
    assert "learning rate" not in drawn(state(), 80, 24)


def test_warnings_say_what_to_do_and_wrap() -> None:
    warning = RunWarning(
        "late data", "The data is late: 35 % of each step waits.", "Try " + "x " * 40
    )
    lines = drawn(state(warnings=(warning,)), 80, 24).splitlines()
    start = next(n for n, line in enumerate(lines) if "▲ The data is late" in line)
    assert lines[start + 1].startswith("  x")


def test_changes_and_events_are_listed_newest_first_and_marked_on_the_curves() -> None:
    changes = (
        {
            "verb": "set",
            "step": 200,
            "elapsed_s": 30.0,
            "by": "ada",
            "changes": {"lr": [0.03, 0.01]},
        },
        {"verb": "save", "step": 300, "elapsed_s": 50.0, "by": "ada", "changes": {}},
        {"verb": "set", "step": 310, "elapsed_s": 55.0, "changes": {}, "refused": "no such field"},
    )
    events = ({"kind": "spike", "message": "went back", "step": 250, "elapsed_s": 40.0},)
    screen = drawn(state(changes=changes, events=events))
    tops, _, notes = screen.partition("changes and events")
    assert tops.count("①") >= 2, "on the loss and on the accuracy"
    assert "①" in notes
    words = [
        "set was refused: no such field",
        "saved  ada",
        "! spike  went back",
        "lr 0.03 → 0.01  ada",
    ]
    assert sorted(words, key=notes.index) == words


def test_run_before_its_first_step_has_a_screen() -> None:
    bare = RunState(NAME, Path("/runs"), "preparing", state().recipe)
    screen = drawn(bare, 80, 24)
    assert " preparing " in screen
    assert "nothing yet" in screen
    assert "the first step is to come" in screen


def test_plain_snapshot_has_no_footer() -> None:
    text = drawn(state(), 140, None)
    assert "traintime runs set" not in text
    assert "to target" in text


def test_finished_run_shows_what_it_took() -> None:
    result = {"status": "target reached", "time_to_target_s": 99.0, "test": {"accuracy": 0.9875}}
    over = state(status="target reached", result=result)
    screen = drawn(over)
    assert "took       2 m 05 s" in screen
    assert "accuracy 98.75 %" in screen
    assert "100 % · epoch 39/100" in screen
    assert result_line(over).plain == (
        "target reached after 2 m 05 s · 98.75 % on the test set · "
        f"report: /runs/{NAME}/report.html"
    )


def test_interrupted_run_says_how_to_go_on() -> None:
    assert result_line(state(status="interrupted")).plain == (
        f"interrupted at step 780 · go on with: traintime runs resume {NAME}"
    )


def test_run_on_a_processor_shows_no_gpu() -> None:
    usage = {
        **(state().usage or {}),
        "gpu": None,
        "gpu_memory_bytes": None,
        "gpu_limit_bytes": None,
    }
    assert "gpu" not in drawn(state(usage=usage))
