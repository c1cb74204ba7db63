from dataclasses import replace

import pytest
from rich.console import Console

from traintime.hardware.devices import DeviceSpec, devices, find_device
from traintime.report.devices import device_lines, device_table


def shown(renderable: object, width: int = 144) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_line_has_the_figures_of_a_device():
    text = shown(device_table([find_device("rtx-3090")], 144))
    line = " ".join(text.splitlines()[1].split())
    assert line == "rtx-3090 GeForce RTX 3090 2020 24 GiB 936 GB/s 35.6 T 71 T 350 W ds"
    assert "ds data sheet" in text
    assert "as compiled 2026-11" in text


@pytest.mark.parametrize("width", [144, 1000])
def test_every_device_is_one_whole_line_where_there_is_room(width: int):
    lines = shown(device_table(devices(), width), width).splitlines()
    for spec, line in zip(devices(), lines[1:], strict=False):
        assert line.startswith(f"{spec.key} ")
        assert f" {spec.name} " in line
        assert line.split()[-1] == spec.confidence


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_loses_names_and_no_figure(width: int):
    lines = shown(device_table([find_device("cpu-epyc-9654")], width), width).splitlines()
    assert " ".join(lines[1].split()) == (
        "cpu-epyc-9654 2022 6 TiB 461 GB/s 7.37 T 14.7 T 360 W der"
    )
    assert max(map(len, lines)) <= width
    assert "…" not in shown(device_table(devices(), width), width)


def test_all_that_is_known_of_a_device_is_shown():
    text = shown(device_lines(find_device("a100-sxm4-80gb")))
    for part in (
        "A100 SXM4 80GB",
        "gpu · NVIDIA · Ampere · 2020",
        "tf32 156 TFLOP/s",
        "80 GiB at 2.04 TB/s",
        "NVLink3 600 GB/s",
        "400 W",
        "108 at 1.41 GHz",
        "data sheet · vendor data sheets as compiled 2026-11",
        "500 W CTS systems exist",
    ):
        assert part in text


def test_what_is_not_known_is_a_dash():
    bare = DeviceSpec("bare", "[bold]Bare", "gpu")
    assert shown(device_table([bare], 144)).splitlines()[1].split() == [
        *("bare", "[bold]Bare"),
        *["-"] * 6,
        "user",
    ]
    text = shown(device_lines(bare))
    assert "given by the user" in text
    assert "2026-11" not in text
    assert "shared with the system" in text
    assert "1 THz" not in shown(device_lines(replace(bare, clock_hz=1e9)))
