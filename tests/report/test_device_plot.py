"""The page of a forecast for devices: complete, self-contained, and true to scale."""

from __future__ import annotations

import re

import pytest

from tests.report.synthetic_device_forecast import device_forecast, on, several
from traintime.forecast.kind_share import KindShare
from traintime.report.device_plot import by_time, memory_filling, render_device_plot, step_parts
from traintime.units import GIB, Interval


def text_of(page: str) -> str:
    """Return what a reader sees: no styles, no tags."""
    visible = re.sub(r"<style\b.*?</style>", " ", page, flags=re.S)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", visible))
    return text.replace("\u00a0", " ").replace("\u2011", "-")


@pytest.mark.parametrize("number", [1, 5])
def test_the_page_fetches_nothing(number: int) -> None:
    page = render_device_plot(several()[:number])
    sources = re.findall(r"""\b(?:src|href|srcset|action|poster)\s*=\s*["']?([^"'\s>]*)""", page)
    assert sources == ["data:,"]
    assert not re.search(r"@import|url\(|<script|<link[^>]+stylesheet|https?://", page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < 60_000


def test_one_device_is_told_from_the_headline_to_the_assumptions() -> None:
    text = text_of(render_device_plot([device_forecast()]))
    parts = [
        "device known from measurements",
        "resnet50 on GeForce RTX 3090",
        "Batch 256, amp, input 3×224×224, 90 epochs of 5,004 steps.",
        "To the end 25 h 31 m 21 h 42 m - 30 h 37 m with 80 % chance",
        "An epoch 16 m 41 s",
        "A step 200 ms 170-240 ms · 1.28 k samples/s",
        "Where a step goes",
        "Arithmetic: more FLOP/s",
        "convolution 84 ms 42 %",
        "Memory",
        "20 GiB (18-22.2 GiB) of 24 GiB · fits with chance 97 %",
        "activations 18.9 GiB 95 %",
        "What it stands on",
        "Parameters 25,557,032",
        "Validate 30 m 01 s",
        "loading is not counted",
        "Produced by traintime",
    ]
    places = [text.index(part, text.index("Training forecast")) for part in parts]
    assert places == sorted(places)


def test_several_devices_are_raced_the_fastest_first() -> None:
    page = render_device_plot(list(reversed(several())))
    text = text_of(page)
    assert "resnet50 on 5 devices" in text
    assert "The fastest is 8 × H100 SXM5 80GB: 45 m 56 s" in text
    assert "logarithmic axis" in text  # 128 days to 46 minutes
    labels = re.findall(r'<span class="label">([^<]+)</span>', page)
    assert labels == [
        *("h100-sxm5-80gbx8", "a100-sxm4-80gb", "rtx-3090", "cpu-xeon-e5-2630v3-dual"),
        "gtx-1080",
    ]
    assert text.index("Probably too little memory") < text.index("gtx-1080")
    assert page.count('class="race out"') == 1


def test_devices_that_differ_little_share_a_linear_axis_from_zero() -> None:
    near = [device_forecast(), on("slow", "Slow", 2.0)]
    page = render_device_plot(near)
    assert "logarithmic" not in page
    widths = [float(width) for width in re.findall(r'class="bar" style="width:([\d.]+)%', page)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.02)
    assert re.search(r'<b style="left:0.0%">0</b>', page)


def test_a_whisker_reaches_from_the_low_to_the_high_end() -> None:
    page = render_device_plot([device_forecast(), on("slow", "Slow", 2.0)])
    found = re.findall(r'class="whisker" style="left:([\d.]+)%;width:([\d.]+)%', page)
    bar = re.search(r'class="bar" style="width:([\d.]+)%', page)
    assert bar
    (low, width), median = map(float, found[0]), float(bar[1])
    assert low == pytest.approx(0.85 * median, abs=0.02)
    assert low + width == pytest.approx(1.2 * median, abs=0.02)


def test_none_that_fits_is_said() -> None:
    small = [on(name, name, 1.0, chance_it_fits=0.0) for name in ("a", "b")]
    text = text_of(render_device_plot(small))
    assert "likely to fit into the memory of none of them" in text
    assert "The fastest" not in text


def test_only_assumptions_of_all_are_listed() -> None:
    other = on("other", "Other", 2.0, assumptions=("loading is not counted", "it is cold"))
    mine = device_forecast(assumptions=("loading is not counted", "it is warm"))
    text = text_of(render_device_plot([mine, other]))
    assert "loading is not counted" in text
    assert "it is warm" not in text


def test_what_would_make_it_fit_stands_with_the_memory() -> None:
    lines = ("It may not fit: a chance of 60 %. It would fit with batch_size=160", "it is quiet")
    text = text_of(render_device_plot([device_forecast(assumptions=lines)]))
    assert (
        text.index("It may not fit") < text.index("What it stands on") < text.index("it is quiet")
    )
    assert text.count("It may not fit") == 1


def test_order_by_time_has_what_fits_first() -> None:
    assert [forecast.device for forecast in by_time(several())][-1] == "gtx-1080"


def test_names_cannot_break_the_page() -> None:
    odd = device_forecast(model="<script>alert(1)</script>", device_name='"><b>')
    page = render_device_plot([odd, odd])
    assert "<script>" not in page
    assert '"><b>' not in page


def test_the_largest_parts_have_colours_of_their_own() -> None:
    parts = step_parts(device_forecast())
    assert [part.key for part in parts[:3]] == ["train", "validate", "prepare"]
    assert {part.key for part in parts[5:]} == {"other"}


def test_what_is_hardly_there_is_not_drawn() -> None:
    kinds = (KindShare("copy", 0.2, 0.9995), KindShare("waiting for dispatch", 1e-4, 5e-4))
    assert [part.name for part in step_parts(device_forecast(step_by_kind=kinds))] == ["copy"]


def test_the_memory_bar_is_as_long_as_what_there_is() -> None:
    filling = memory_filling(device_forecast())
    assert filling.capacity == 100.0
    assert filling.low == pytest.approx(75.0)  # 18 of 24 GiB
    assert filling.high == pytest.approx(92.5)
    assert sum(part.width_percent for part in filling.parts) == pytest.approx(83.3, abs=0.2)


def test_the_memory_bar_grows_beyond_what_there_is() -> None:
    peak = Interval(20 * GIB, 18 * GIB, 32 * GIB)
    filling = memory_filling(device_forecast(peak_memory_bytes=peak))
    assert (filling.capacity, filling.high) == (75.0, 100.0)
    own = device_forecast(capacity_bytes=None, chance_it_fits=None, largest_batch_size=None)
    assert memory_filling(own).capacity is None
    assert "end of the memory" not in render_device_plot([own])


@pytest.mark.parametrize("number", [1, 2])
def test_a_step_alone_is_drawn_as_one(number: int):
    alone = device_forecast(epoch_time_s=None, total_s=None, stages_s={}, steps_per_epoch=0)
    text = text_of(render_device_plot([alone] * number))
    assert "To the end" not in text
    assert ("A step" if number == 1 else "Time of a step") in text
