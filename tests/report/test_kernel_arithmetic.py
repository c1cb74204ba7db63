from pathlib import Path

import pytest
from rich.console import Console

from tests.report.synthetic_device_forecast import ATTENTION, CONVOLUTION, device_forecast
from traintime.report.kernel_arithmetic import kernel_lines

GOLDEN = Path(__file__).parent / "golden"


def shown(width: int, *, colour: bool = False) -> str:
    system = "truecolor" if colour else None
    console = Console(width=width, color_system=system, force_terminal=colour, highlight=False)
    with console.capture() as capture:
        console.print(kernel_lines(device_forecast()))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


@pytest.mark.parametrize("width", [80, 100])
def test_the_arithmetic_reads_as_agreed(width: int):
    expected = (GOLDEN / f"kernel_arithmetic_{width}.txt").read_text(encoding="utf-8")
    assert shown(width) == expected
    assert max(map(len, expected.splitlines())) <= width


def test_sides_flop_and_bytes_are_those_of_the_kernel():
    text = shown(140)
    # 3 × 2 · 64 · 576 · 802,816 = 1.776e11 FLOP, and 3 × 256 MiB are 8.053e8 bytes: 220 each
    assert "backward × 3 · (64×802,816)·(802,816×576)" in text
    figures = " ".join(text.splitlines()[4].split())
    assert figures == "6 % 12 ms 11.3 ms 2.1 ms 178 G 768 MiB 220"
    assert CONVOLUTION.flops / CONVOLUTION.num_bytes == pytest.approx(220.5, abs=0.1)


def test_a_batched_product_says_of_how_many():
    assert "forward × 12 · 3,072×(197×64)·(64×197)" in shown(140)
    assert ATTENTION.sides[0] == 3_072


def test_a_kernel_without_arithmetic_has_dashes():
    lines = shown(140).splitlines()
    below = lines.index("aten.native_batch_norm in bn1  forward × 1") + 1
    figures = " ".join(lines[below].split())
    assert figures == "1 % 2.2 ms - 2.2 ms - 1.5 GiB -"


def test_the_longer_of_arithmetic_and_traffic_is_bold():
    text = shown(140, colour=True)
    assert "\x1b[1m11.3 ms\x1b[0m" in text.replace("\x1b[1m   11.3", "\x1b[1m11.3")
    assert "\x1b[1m2.1 ms" not in text
