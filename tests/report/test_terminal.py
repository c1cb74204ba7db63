import dataclasses
import io

import pytest
from rich.console import Console

from traintime.clock.eta import Eta
from traintime.forecast.forecast import Forecast
from traintime.forecast.kind_share import KindShare
from traintime.hardware.execution import Execution
from traintime.recipe import read_recipe
from traintime.report import terminal
from traintime.report.rows import BAR_WIDTH, progress_bar
from traintime.train.records import EpochRecord, StepRecord
from traintime.units import Interval

RECIPE = read_recipe(["data=mnist", "model=lenet", "target=accuracy:0.99"])
TEN = Interval(10.0, 8.0, 13.0)
FORECAST = Forecast(
    evidence="measured on this machine",
    assumptions=("the machine is quiet",),
    execution=Execution("cpu", "bf16", "contiguous", fused=True),
    picks=("precision: bf16 (5 ms a step; fp32 9 ms)",),
    total_s=TEN,
    time_to_target_s=TEN,
    chance_of_target=0.91,
    time_to_end_s=TEN,
    stages_s={"prepare": TEN, "train": TEN, "validate": TEN, "evaluate": TEN},
    step_time_s=Interval(0.005, 0.004, 0.006),
    step_by_kind=(KindShare("convolution", 0.004, 0.8),),
    peak_memory_bytes=Interval(2.0**29, 2.0**28, 2.0**30),
    memory_by_part={"weights": 4.0},
    parameters=61_706,
    steps_per_epoch=223,
    epochs=3,
)


def shown(renderable: object) -> str:
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_forecast_shows_its_interval_chance_and_what_it_stands_on():
    text = shown(terminal.forecast_lines(RECIPE, FORECAST))
    for part in ("10 s (8-13 s)", "chance 91 %", "measured on this machine", "61,706", "512 MiB"):
        assert part in text


@pytest.mark.parametrize(
    ("chance", "says"), [(None, "unknown before"), (0.0, "out of reach"), (0.005, "out of reach")]
)
def test_a_target_that_has_no_time_says_why(chance: float | None, says: str):
    forecast = dataclasses.replace(FORECAST, time_to_target_s=None, chance_of_target=chance)
    assert says in shown(terminal.forecast_lines(RECIPE, forecast))


def test_progress_shows_what_is_left_to_target_and_end():
    step = StepRecord(300, 1.35, 0.0812, 0.01, 41_000.0, 4.0, 0.006)
    eta = Eta(4.0, Interval(10.0, 9.0, 11.5), Interval(7.0, 6.0, 8.0), 0.95)
    text = shown(terminal.progress_lines(RECIPE, 669, eta, step))
    for part in (
        "45 %",
        "epoch 2/3",
        "step 300/669",
        "41 k samples/s",
        "3 s (2-4 s)",
        "6 s (5-7.5 s)",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("fields", "final", "says"),
    [
        ({}, Interval(0.9872, 0.981, 0.9914), "validation accuracy 98.72 % (98.10-99.14 %)"),
        ({"monitor": "loss"}, Interval(0.312, 0.29, 0.341), "validation loss 0.312 (0.29-0.341)"),
    ],
)
def test_progress_shows_where_the_metric_will_end(fields, final: Interval, says: str):
    step = StepRecord(300, 1.35, 0.0812, 0.01, 41_000.0, 4.0, 0.006)
    recipe = RECIPE.model_copy(update={"target": None, **fields})
    eta = Eta(4.0, Interval(10.0, 9.0, 11.5), None, None, final)
    assert says in shown(terminal.progress_lines(recipe, 669, eta, step))


def test_with_a_budget_progress_is_that_of_time():
    step = StepRecord(300, 1.35, 0.0812, 0.01, 41_000.0, 4.0, 0.006)
    recipe = RECIPE.model_copy(update={"target": None, "budget": "8s"})
    text = shown(
        terminal.progress_lines(recipe, 669, Eta(4.0, Interval(8, 8, 8), None, None), step)
    )
    assert "50 %" in text
    assert "epoch 2 of about 3" in text
    assert "669" not in text


def test_the_closing_line_of_a_run_that_was_changed_judges_nothing():
    line = terminal.closing_line(FORECAST, 9e9, 0.99, "report.html", was_changed=True)
    assert ", changed on the way · 99.0 % · report: report.html" in line.plain
    assert not any("yellow" in str(span.style) for span in line.spans)


def test_the_closing_line_names_a_target_that_was_missed():
    line = terminal.closing_line(FORECAST, 9.64, 0.5, "report.html", missed="accuracy:0.99").plain
    assert "took 9.6 s · accuracy:0.99 was not reached · 50.0 %" in line


def test_the_closing_line_holds_forecast_against_fact():
    line = terminal.closing_line(FORECAST, 9.64, 0.9912, "runs/x/report.html").plain
    assert line == "forecast 10 s (8-13 s) · took 9.6 s · 99.1 % · report: runs/x/report.html"


def test_an_epoch_leaves_a_line():
    record = EpochRecord(2, 446, 0.31, 0.05, 0.9867, 4e4, 6.2)
    text = terminal.epoch_line(RECIPE, record, best=True).plain
    assert "epoch 2/3" in text
    assert "98.67 %" in text


def test_the_bar_is_as_long_as_what_is_done():
    assert progress_bar(0.5).plain.count("█") == BAR_WIDTH // 2
    assert len(progress_bar(0.123).plain) == BAR_WIDTH
    assert progress_bar(7.0).plain == "█" * BAR_WIDTH


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["T-shirt", "trouser"], ["T-shi", "trous"]),
        (["digit 0", "digit 11"], ["git 0", "it 11"]),
        (["a fox in snow", "a fox by snow"], ["0", "1"]),
    ],
)
def test_classes_are_told_apart_in_the_confusion_matrix(names: list[str], shown: list[str]) -> None:
    others = [f"{number}" for number in range(10, 20)]
    assert terminal._short([*names, *others])[:2] == shown
    assert terminal._short(names) == names


def scored(names: list[str], confusion: list[list[int]]) -> str:
    right = sum(row[truth] for truth, row in enumerate(confusion))
    test = {
        "accuracy": right / max(1, sum(map(sum, confusion))),
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "loss": 1.0,
        "samples": sum(map(sum, confusion)),
        "per_class": [{"class": name} for name in names],
        "confusion": confusion,
    }
    console = Console(width=100, file=io.StringIO())
    console.print(terminal.score_lines(test))
    return console.file.getvalue()


def test_of_many_classes_the_pairs_are_shown_that_are_confused_most():
    names = [f"class{number}" for number in range(40)]
    confusion = [[10 * (truth == taken) for taken in range(40)] for truth in range(40)]
    confusion[3][7], confusion[5][2] = 6, 4
    lines = scored(names, confusion).splitlines()
    assert len(lines) < 10
    assert [line.split() for line in lines[-2:]] == [
        ["class3", "class7", "6", "16"],
        ["class5", "class2", "4", "14"],
    ]
    assert "no class was taken for another" in scored(names, [[0] * 40] * 40)


def test_scores_that_guessing_would_have_had_say_so():
    assert "which is right in 60.00 %" in scored(["a", "b"], [[6, 0], [4, 0]])
    assert "right in" not in scored(["a", "b"], [[4, 1], [1, 2]])
    assert "right in" not in scored(["a", "b"], [[5, 0], [0, 0]]), "there is nothing to tell apart"
    assert "right in" not in scored(["a", "b"], [[0, 0], [0, 0]])
    assert "right in 50.00 %" in scored(["a", "b", "c"], [[2, 0, 0], [2, 0, 0], [0, 0, 0]])


def test_a_target_out_of_reach_is_said_as_such():
    step = StepRecord(5, 0.1, 0.31, 0.005, 4e4, 1.0, 0.01)
    eta = Eta(1.0, TEN, None, 0.0)
    assert "target out of reach" in terminal.plain_step_line(RECIPE, 9, step, eta)
    assert "target in 9 s" in terminal.plain_step_line(RECIPE, 9, step, Eta(1.0, TEN, TEN, 0.9))


def test_names_of_a_few_classes_are_not_cut():
    said = scored(["a very long name", "[bold] another"], [[1, 2], [3, 4]])
    assert "a very long name" in said
    assert "[bold] another" in said
