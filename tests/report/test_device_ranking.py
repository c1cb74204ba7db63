from pathlib import Path

import pytest
from rich.console import Console

from tests.report.synthetic_device_forecast import device_forecast, on, several
from traintime.hardware.devices import devices
from traintime.report.device_ranking import WITH_EVIDENCE, device_forecast_table
from traintime.report.device_words import TIERS

GOLDEN = Path(__file__).parent / "golden"


def shown(forecasts: list, width: int, *, colour: bool = False) -> str:
    system = "truecolor" if colour else None
    console = Console(width=width, color_system=system, force_terminal=colour, highlight=False)
    with console.capture() as capture:
        console.print(device_forecast_table(forecasts, width))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


@pytest.mark.parametrize("width", [80, 100])
def test_a_table_reads_as_agreed(width: int):
    expected = (GOLDEN / f"device_ranking_{width}.txt").read_text(encoding="utf-8")
    assert shown(several(), width) == expected
    assert max(map(len, expected.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_key_of_the_catalogue_stays_whole(width: int):
    # The widest figures that occur, beside every key.
    wide = {"step_time_s": 5.551, "epoch_time_s": 99.4 * 60}
    rows = [
        device_forecast(
            device=spec.key,
            **{
                name: device_forecast().step_time_s.scaled(median / 0.2)
                for name, median in wide.items()
            },
        )
        for spec in devices()
    ]
    text = shown(rows, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    starts = [line.split(" ")[0] for line in text.splitlines()]
    assert all(spec.key in starts for spec in devices())


def test_devices_stay_in_order_and_those_that_do_not_fit_come_last_and_dim():
    text = shown(several(), 100, colour=True)
    keys = ["h100-sxm5-80gbx8", "a100-sxm4", "rtx-3090", "cpu-xeon", "gtx-1080"]
    places = [text.index(f"m{key}") for key in keys]
    assert places == sorted(places)
    dim = [line for line in text.splitlines() if line.startswith("\x1b[2")]
    assert "gtx-1080" in "".join(line for line in dim if "%" in line)
    assert "rtx-3090" not in "".join(dim)
    assert "Last: 1 device with probably too little memory." in text


def test_a_wide_table_has_the_evidence_in_full():
    lines = shown(several(), WITH_EVIDENCE).splitlines()
    assert lines[5].endswith("device known from measurements")
    assert not any(line.startswith("From:") for line in lines)


def test_a_wider_table_has_the_precision_of_each():
    assert shown([device_forecast(precision="fp32")], 140).splitlines()[5].split()[1] == "fp32"


def test_what_is_not_known_is_a_dash_and_what_is_new_is_said_as_it_is():
    bare = on("mine", "Mine", 1.0, flops_per_joule=None, chance_it_fits=None, capacity_bytes=None)
    line = shown([bare], 100).splitlines()[5]
    assert line.split()[-3:] == ["-", "-", "known"]
    guessed = device_forecast(evidence="guess")
    text = shown([guessed], 100)
    assert text.splitlines()[5].endswith("guess")
    assert "From:" not in text


def test_the_legend_says_how_to_see_one_device_whole():
    assert "All of one: device=h100-sxm5-80gbx8 --explain" in shown(several(), 100)


def test_one_word_for_two_kinds_of_evidence_is_explained_once():
    given = [device_forecast(evidence=each) for each in TIERS if TIERS[each] == "specs"]
    assert len(given) == 2
    assert "From: specs = specs only.\n" in shown(given, 100)


def test_a_step_alone_says_how_to_have_the_end():
    alone = device_forecast(epoch_time_s=None, total_s=None, stages_s={}, steps_per_epoch=0)
    text = shown([alone, alone], 100)
    assert "a step alone" in text
    assert "For epochs and the end, type data=imagenet, or samples=50000." in text
