"""What the sections of the page say, and the files that they read it from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.synthetic_run import epochs, eta, forecast, interval, steps, write_run
from traintime.report.html import render_report
from traintime.report.page.comparison import Row, compare
from traintime.report.page.curves import MOST_POINTS, chart_data, eta_finding, smooth
from traintime.report.page.facts import recipe_pairs
from traintime.report.page.headline import headline
from traintime.report.page.incidents import incidents, marks
from traintime.report.page.quality import wilson
from traintime.report.page.run_files import read_run_files
from traintime.units import Interval, format_duration


def test_a_line_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    with (write_run(tmp_path) / "steps.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 900, "lo')
    assert read_run_files(tmp_path).steps[-1]["step"] == 892


def test_what_a_resumed_run_did_twice_counts_once(tmp_path: Path) -> None:
    first, again = epochs()[:3], [{**epoch, "train_loss": 9.0} for epoch in epochs()[1:]]
    run = read_run_files(write_run(tmp_path, epochs=first + again))
    assert [epoch["epoch"] for epoch in run.epochs] == [1, 2, 3, 4]
    assert [epoch["train_loss"] for epoch in run.epochs] == [0.412, 9.0, 9.0, 9.0]


def test_verdicts_follow_the_ends_of_the_interval() -> None:
    def verdict(fact: float | None) -> str:
        return Row("Whole run", Interval(20, 16, 25), fact, format_duration).verdict

    facts = [16, 25, 15.9, 25.1, None]
    assert [verdict(fact) for fact in facts] == [
        "inside",
        "inside",
        "below",
        "above",
        "not measured",
    ]


def test_the_ends_share_a_unit_only_if_both_have_just_that_one() -> None:
    def ends(low: float, high: float) -> str:
        return Row("Whole run", Interval(low, low, high), None, format_duration).range_text

    assert [ends(17, 26), ends(0.9, 1.6), ends(83, 115)] == [
        "17 – 26 s",
        "900 ms – 1.6 s",
        "83 s – 1 m 55 s",
    ]


def test_half_and_double_lie_equally_far_from_the_median(tmp_path: Path) -> None:
    expected = forecast() | {"total_s": interval(20.0, 2.0)}
    comparison = compare(read_run_files(write_run(tmp_path, forecast=expected)))
    assert comparison
    low, high = (comparison.place(comparison.total, value) for value in (10.0, 40.0))
    assert comparison.place(comparison.total, 20.0) == 50
    assert low + high == pytest.approx(100)
    assert low == pytest.approx(50 - 50 / 1.12, abs=0.01)  # the axis reaches 12 % beyond


def test_smoothing_of_a_constant_is_the_constant_from_the_first_value() -> None:
    assert smooth([2.0, 2.0, None, 2.0], span=10) == [2.0, 2.0, 2.0, 2.0]


def test_charts_keep_the_first_and_the_last_of_many_points(tmp_path: Path) -> None:
    first = steps()[0]
    records = [{**first, "step": step, "elapsed_s": float(step)} for step in range(1, 5001)]
    drawn = chart_data(read_run_files(write_run(tmp_path, steps=records)))["steps"]["elapsed_s"]
    assert (len(drawn), drawn[0], drawn[-1]) == (MOST_POINTS, 1.0, 5000.0)


def test_the_estimate_settles_when_it_is_never_again_ten_percent_off(tmp_path: Path) -> None:
    medians = {1.0: 30.0, 2.0: 20.0, 3.0: 25.0, 4.0: 19.0, 5.0: 19.5}  # the truth is 19.6 s
    moved = [{"elapsed_s": at, "finish_s": interval(m, 1.1)} for at, m in medians.items()]
    finding = eta_finding(read_run_files(write_run(tmp_path, eta=moved)))
    assert finding.startswith("From 4 s on")
    assert "67 %" in finding  # the forecast and three of the five estimates hold 19.6 s


def test_only_estimates_after_the_last_change_are_judged(tmp_path: Path) -> None:
    medians = {1.0: 9.0, 7.0: 19.0, 12.0: 19.5}  # the truth is 19.6 s
    moved = [{"elapsed_s": at, "finish_s": interval(m, 1.1)} for at, m in medians.items()]
    longer = {"verb": "extend", "step": 200, "elapsed_s": 6.0, "changes": {"epochs": [2, 4]}}
    finding = eta_finding(read_run_files(write_run(tmp_path, eta=moved, changes=[longer])))
    assert finding == (
        "The run was changed on the way, the last time after 6 s. From then on, the estimate "
        "stayed within 10 % of the truth; the truth lay inside the band at 100 % of the moments."
    )


def test_a_run_that_was_changed_is_said_to_be_and_not_held_against_its_forecast(
    tmp_path: Path,
) -> None:
    longer = {"verb": "extend", "step": 200, "elapsed_s": 6.0, "changes": {"epochs": [2, 4]}}
    run = read_run_files(write_run(tmp_path, changes=[longer]))
    comparison = compare(run)
    assert comparison
    assert comparison.total.verdict == "changed on the way"
    sentence = headline(run).sentence
    assert sentence.startswith("Reached ")
    assert "was forecast before it was changed." in sentence
    assert "the run was changed on the way" in render_report(run.folder)


def test_saving_changes_nothing_that_was_forecast(tmp_path: Path) -> None:
    saved = {"verb": "save", "step": 200, "elapsed_s": 6.0, "changes": {}}
    assert read_run_files(write_run(tmp_path, changes=[saved])).went_to_plan


def test_an_unfinished_run_has_no_truth_for_its_estimates(tmp_path: Path) -> None:
    run = read_run_files(write_run(tmp_path, result=None, eta=eta()[:10]))
    assert eta_finding(run) == ""
    assert chart_data(run)["truth_s"] is None


def test_wilson_interval_of_nine_in_ten() -> None:
    # (0.9 + 0.19208 ± 1.96 √(0.009 + 0.009604)) / 1.38416 by hand
    assert wilson(0.9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_a_folder_with_a_space_is_quoted_in_the_command(tmp_path: Path) -> None:
    run = read_run_files(write_run(tmp_path / "my runs" / "first"))
    assert headline(run).reproduce == "traintime train 'my runs/first/recipe.yaml'"


CHANGES = [
    {
        "verb": "set", "step": 300, "epoch": 1, "elapsed_s": 6.4, "by": "ada@lab, process 7",
        "changes": {"lr": [0.03, 0.01], "target": ["accuracy:0.99", "accuracy:0.985"]},
    },
    {"verb": "pause", "step": 420, "epoch": 1, "elapsed_s": 9.0, "by": "ada@lab", "changes": {}},
    {
        "verb": "set", "step": 430, "epoch": 1, "elapsed_s": 9.2, "by": "bob@lab", "changes": {},
        "refused": "'data' is settled",
    },
    {"verb": "roll back", "step": 446, "epoch": 2, "elapsed_s": 9.9, "by": "traintime",
     "changes": {"lr": [0.03, 0.005]}},
]  # fmt: skip
EVENTS = [
    {"kind": "not finite", "message": "Step 400 was not taken", "step": 400, "elapsed_s": 8.5}
]


def test_what_happened_on_the_way_is_told_in_its_order(tmp_path: Path) -> None:
    run = read_run_files(write_run(tmp_path, changes=CHANGES, events=EVENTS))
    told = [(incident.step, incident.what, incident.who) for incident in incidents(run)]
    assert told == [
        (300, "lr 0.03 → 0.01, target accuracy:0.99 → accuracy:0.985", "ada@lab, process 7"),
        (400, "Step 400 was not taken", ""),
        (420, "paused", "ada@lab"),
        (430, "set was refused: 'data' is settled", "bob@lab"),
    ]


def test_changes_are_marked_on_the_curves_and_told_in_the_recipe(tmp_path: Path) -> None:
    run = read_run_files(write_run(tmp_path, changes=CHANGES))
    assert [(mark["elapsed_s"], mark["epoch"]) for mark in marks(run)] == [
        (6.4, 300 / 223),
        (9.9, 2.0),
    ]
    assert dict(recipe_pairs(run))["lr"] == "0.03 → 0.005"
    assert run.goal
    assert run.goal.value == 0.985


def test_a_quiet_run_tells_of_nothing(tmp_path: Path) -> None:
    run = read_run_files(write_run(tmp_path))
    assert (incidents(run), marks(run)) == ([], [])
    assert "What happened on the way" not in render_report(tmp_path)
