from pathlib import Path

import pytest
from rich.console import Console

from tests.report.synthetic_device_forecast import device_forecast
from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.kind_share import KindShare
from traintime.report.device_forecast import device_forecast_lines
from traintime.report.rows import BAR_WIDTH
from traintime.units import GIB, Interval

GOLDEN = Path(__file__).parent / "golden"
BAR = set("█▏▎▍▌▋▊▉·▒")


def shown(forecast: DeviceForecast, width: int = 100, *, colour: bool = False) -> str:
    system = "truecolor" if colour else None
    console = Console(width=width, color_system=system, force_terminal=colour, highlight=False)
    with console.capture() as capture:
        console.print(device_forecast_lines(forecast, width))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def bar_in(line: str) -> str:
    return "".join(word for word in line.split() if len(word) > 1 and set(word) <= BAR)


def bar_of(name: str, text: str) -> str:
    return next(bar_in(line) for line in text.splitlines() if f" {name} " in line and bar_in(line))


@pytest.mark.parametrize("width", [80, 100])
def test_a_forecast_reads_as_agreed(width: int):
    expected = (GOLDEN / f"device_forecast_{width}.txt").read_text(encoding="utf-8")
    assert shown(device_forecast(), width) == expected
    assert max(map(len, expected.splitlines())) <= width


@pytest.mark.parametrize("width", [70, 80, 200])
def test_bars_stand_in_line_and_shorten_where_there_is_no_room(width: int):
    kinds = (KindShare("depthwise convolution", 0.15, 0.75), KindShare("copy", 0.05, 0.25))
    lines = shown(device_forecast(step_by_kind=kinds), width).splitlines()
    assert max(map(len, lines)) <= width
    bars = [bar_in(line) for line in lines if bar_in(line)]
    assert len(bars) == 2 + 7
    assert {len(bar) for bar in bars} == {min(BAR_WIDTH, width - 54)}
    starts = {line.index(bar) for line in lines if (bar := bar_in(line))}
    assert len(starts) == 1


def test_a_bar_is_as_long_as_its_share():
    bar = bar_of("convolution", shown(device_forecast()))
    assert bar == "█" * 12 + "▋" + "·" * 17  # 42 % of 30 are 12.6


def test_many_kinds_end_with_the_rest():
    text = shown(device_forecast())
    assert "matrix product" in text
    assert "the rest" in text
    assert "reduction" not in text
    few = device_forecast(step_by_kind=device_forecast().step_by_kind[:8])
    assert "the rest" not in shown(few)


def test_what_takes_no_time_is_no_line():
    kinds = (KindShare("copy", 0.2, 1.0), KindShare("waiting for dispatch", 0.0, 0.0))
    assert "waiting" not in shown(device_forecast(step_by_kind=kinds))


def test_the_memory_bar_is_shaded_between_the_ends_of_its_interval():
    peak = Interval(12 * GIB, 8 * GIB, 16 * GIB)
    bar = bar_of("in all", shown(device_forecast(peak_memory_bytes=peak)))
    assert bar == "█" * 10 + "▒" * 10 + "·" * 10


def test_too_much_memory_fills_the_bar_and_no_more():
    peak = Interval(40 * GIB, 30 * GIB, 50 * GIB)
    text = shown(device_forecast(peak_memory_bytes=peak, chance_it_fits=0.0))
    assert bar_of("in all", text) == "█" * 30
    assert "167 %" in text


@pytest.mark.parametrize(
    ("chance", "colour"), [(0.97, "32"), (0.7, "33"), (0.1, "31"), (0.0, "31")]
)
def test_the_memory_bar_warns_by_its_colour(chance: float, colour: str):
    assert f"\x1b[{colour}m███" in shown(device_forecast(chance_it_fits=chance), colour=True)


def test_what_would_make_it_fit_stands_out():
    lines = ("It does not fit: 7 GiB are missing. It would fit with batch_size=160", "it is quiet")
    text = shown(device_forecast(assumptions=lines), colour=True)
    assert "\x1b[33mIt does not fit" in text
    assert "\x1b[2mit is quiet" in text
    assert text.index("in all") > text.index("It does not fit")
    assert text.count("It does not fit") == 1


def test_without_a_capacity_parts_are_shares_of_the_peak():
    own = device_forecast(capacity_bytes=None, chance_it_fits=None, largest_batch_size=None)
    text = shown(own)
    assert "in all" not in text
    assert "chance" not in text
    assert next(line for line in text.splitlines() if "activations" in line).endswith("94 %")


def test_an_unknown_efficiency_is_left_out():
    assert "FLOP/J" not in shown(device_forecast(flops_per_joule=None))


def test_names_are_shown_as_they_are_written():
    assert "[bold]Mine on [red]" in shown(device_forecast(model="[bold]Mine", device_name="[red]"))


def test_a_step_alone_is_shown_first_and_once():
    text = shown(device_forecast(epoch_time_s=None, total_s=None, stages_s={}, steps_per_epoch=0))
    lines = text.splitlines()
    assert lines[1].endswith(", a step alone")
    assert lines[3].startswith("A step ")
    assert "For epochs and the end, type data=imagenet, or samples=50000" in lines[4]
    assert lines[5].startswith("speed ")
    assert "an epoch" not in text
