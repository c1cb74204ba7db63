from dataclasses import replace

import pytest
from rich.console import Console

from traintime.report.run_profile import (
    Change,
    KindCost,
    LayerCost,
    Pace,
    RunProfile,
)
from traintime.report.step_costs import shares
from traintime.report.step_profile import BAR_WIDTH, StackedBar, profile_lines

PROFILE = RunProfile(
    run="20251120-080000-mnist-lenet",
    title="lenet on mnist, 3 epochs, batches of 256",
    execution="cpu, fp32, contiguous",
    threads=2,
    weights="the trained weights",
    steps_measured=400,
    step_s=0.010,
    low_s=0.009,
    high_s=0.012,
    run_step_s=0.0101,
    forecast_step_s=0.008,
    parts=shares({"data": 0.001, "forward": 0.003, "backward": 0.005, "optimizer": 0.001}),
    stages=shares({"training": 9.0, "validation": 1.0}),
    kinds=(
        KindCost("convolution", 0.006, 0.6, 4, Pace(30e9, 40e9, "FLOP/s"), 0.004),
        KindCost("dispatch", 0.002, 0.2, 0, None, 0.002),
        KindCost("copies and casts", 0.001, 0.1, 12, None, None),
    ),
    layers=(
        LayerCost("0", "conv 1→6 5×5 to 28×28", 0.002, 0.003, 0.5, Pace(30e9, 40e9, "FLOP/s")),
        LayerCost("1", "relu", 1e-6, 1e-6, 0.0002, None),
    ),
    limited_by="compute",
    limit="Compute: 60 % of a step is convolution",
    changes=(
        Change("batch_size=512", 1.3, "forecast", "learns otherwise"),
        Change("compile=true", None, "not forecast", "joins small operations"),
    ),
    waited_share=0.0,
    cores_used=1.9,
    load=0.1,
)


def drawn(profile: RunProfile) -> str:
    console = Console(width=140, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(profile_lines(profile))
    return capture.get()


@pytest.mark.parametrize(
    "seconds",
    [{"data": 1.0}, {"data": 1e-6, "forward": 1.0}, {"data": 1.0, "forward": 1.0, "backward": 1.0}],
)
def test_the_bar_is_as_long_as_it_is_said_to_be(seconds: dict[str, float]):
    bar = StackedBar(shares(seconds)).drawn("█")
    assert len(bar.plain) == BAR_WIDTH
    assert len(bar.spans) == len(seconds)


def test_without_colours_shades_tell_the_parts_apart():
    assert f"{'█' * 8}{'▓' * 23}{'▒' * 39}{'░' * 8}" in drawn(PROFILE)


def test_each_part_stands_with_time_and_share_below_the_bar():
    text = drawn(PROFILE)
    assert "■ backward   5 ms  50 %" in text
    assert "A step  10 ms  (9 ms - 12 ms)" in text


def test_the_step_is_held_against_the_run_and_against_the_forecast():
    text = drawn(PROFILE)
    assert "in the run 10.1 ms (the same)" in text
    assert "forecast 8 ms (here × 1.25)" in text


def test_a_kind_shows_its_rate_the_machine_s_and_by_how_much_the_forecast_was_off():
    row = next(line for line in drawn(PROFILE).splitlines() if "convolution   " in line)
    for cell in ("6", "60 %", "30 GFLOP/s", "40 GFLOP/s", "75 %", "× 1.50"):
        assert cell in row


def test_what_a_layer_hardly_takes_is_left_out():
    text = drawn(PROFILE)
    assert "conv 1→6" in text
    assert "relu" not in text


def test_changes_say_what_their_gain_stands_on():
    text = drawn(PROFILE)
    assert "batch_size=512  forecast 1.30 × faster" in text
    assert "compile=true    not forecast " in text


def test_without_any_change_that_is_said():
    assert "Nothing that is known of" in drawn(replace(PROFILE, changes=()))
