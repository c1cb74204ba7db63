"""Write docs/accuracy.md from the results of the accuracy benchmarks.

python scripts/make_accuracy.py
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE / "benchmarks"))

from large_models_page import section as large_models  # noqa: E402
from several_devices_page import section  # noqa: E402

RESULTS = HERE / "benchmarks" / "results"
OUT = HERE / "docs" / "accuracy.md"
PLOT = HERE / "docs" / "images" / "accuracy.svg"
SIDE, MARGIN, GAP = 250, 46, 34
WITHIN = 1.2
"""The band of the plot: forecasts within 20 %."""
Result = dict[str, Any]

GOALS = {
    "families": "8 % · 20 %",
    "devices": "15 % · 35 %",
    "transformers": "8 % mean",
    "operations": "8 % mean",
    "transformers that do not wait": "8 % mean",
    "best products": "–",
}

REASONS = {
    "families": (
        "What is behind the tail: TResNet in NHWC, which was "
        "measured with in-place batch norm and is captured with today's plain one; models of convolution and "
        "attention in turns, whose reshaping passes are many kernels of a kind that few others have; networks that cut "
        "channels apart and join them, and those whose images change their layout on the way (ResMLP, ConvNeXt with "
        "1×1 convolutions), which a graph captured in NCHW does not show. Operations measured one by one on a current "
        "GPU would mend the second (`benchmarks/gpu_ops.py`), strides kept by the capture the last. Grouped convolutions are told apart by "
        "whether cuDNN has a kernel of its own for them in NHWC, by widths that were read off the rows of all families, so "
        "the 90th percentile is optimistic; and long products are split along their inner side."
    ),
    "devices": (
        "Largest where tables tell a device from its kin by more than its data sheet does, and where "
        "a table times more than the device: the A100 rows at batch 12 wait for their host, which no data sheet "
        "knows. A GH200 was timed slower than the H100 whose chip it has, so each is forecast wrong from the other; "
        "gaming cards run faster than the clock that they are sold with, and each table has some of them. All rows are "
        "forecast as they stand. Rows of more devices of each design would mend the first, a measured cost of dispatch "
        "the second."
    ),
    "transformers": (
        "The goal is missed where nothing at all was measured on a device. How much of its fp32 peak it sustains is "
        "mostly a matter of power, which the law has as rated watts that the memory leaves per FLOP/s and a gain per "
        "year; that is coarse for devices that are each alone of their kind. Part of the rest is in the table: its script "
        "empties torch's memory before every step, so the forward of some steps of training takes up to three times "
        "what inference takes, while the driver allocates (a backward shorter than 1.5 forwards tells which). Of all "
        "that trained, the law is fitted to the backward alone; here all are forecast as they stand. The next "
        "table shows what their single operations are worth, the one after it all but the steps that wait."
    ),
    "transformers that do not wait": (
        "The same forecasts as two tables above, without the steps that wait for memory, which training does once and "
        "not at every step."
    ),
    "operations": (
        "The setting of NeuSight (Lee et al. 2025), which gives 8.9-9.8 % for itself: every device's single "
        "operations are known, and none of these models was seen on any device. Steps of training come out too slow. "
        "What ships for a device known so far is as wide as unseen families ask for."
    ),
    "best products": (
        "The largest product that a search over shapes found on each accelerator of the last years (Bekman, "
        "mamf-finder), forecast without the device. Most of these devices were never timed otherwise in the tables. It is "
        "the fastest of many shapes, so a forecast of an ordinary one should be slower."
    ),
}

HERE_REASONS = (
    "A step is forecast from six rates of the processor, looked at right before it was timed, and from the graph "
    "alone. Its median meets the goal, its tail does not. What is left: the machine is shared and in one of two states, by where the "
    "hypervisor has put its cores. Memory is up to twice as fast in one of them and a call that the cores share costs "
    "half as much again in the other, and it changes within seconds, between the look and the step and within an "
    "epoch: that is what the error after ten steps is made of. Convolutions err most: oneDNN chooses among "
    "many kernels, and for one or three channels it has some of their own. Memory is measured beyond what the process held after its imports, and forecast by "
    "playing the blocks of the captured step through on glibc's heap, where freed ones leave holes that later ones do "
    "not fit. Which hole a block finds depends on small objects and on addresses, so the same case measured twice "
    "differs too. The rules of the heap and of what kernels allocate were read from calls of malloc in random networks, "
    "whose own errors hardly fell by them, and tried on these 20 models while they were "
    "written. The one share beside it was set by these very cases. The last of the hours below was measured when all of "
    "this was settled."
)

INTRODUCTION = """
# How accurate forecasts are

Made by `python scripts/make_accuracy.py` from `benchmarks/forecast_accuracy.py` and
`benchmarks/forecast_here.py`. The error is |forecast / actual - 1|; every row is forecast by a fit that saw
nothing of its family of models, or nothing of its device. The interval's width for a group comes from the
errors of the other groups alone.

No number was fitted to what is forecast here, but the form of the law was chosen with these errors in sight: it
was looked at some forty-five times, and after that shares were bounded, grouped convolutions told apart by the kernels
there are for them, a term for power added, AMD's matrix engines taken into account, the MI250's rows read as one
of its dies, inference captured as such, and single operations chosen evenly over kinds and devices; the last
dozen times, tiles were let grow with the rate of a core, classes held closer to their kind, TF32 told apart from
fp32, TensorFlow's rows read by what their builds round to, ECA's networks captured themselves, and the steps of
recurrent networks computed in turn. Then the time of every kernel was bounded by its peak and devices were put in
order, which physics asks for and these figures do not: it cost unseen devices some accuracy. They were looked at some
eighteen times more, mostly in parts, over which BERT's mixed precision was read as what it is, devices without a rate
for 16 bits were told apart, values of 32 bits, caches and the age of designs taken from data sheets, and steps of
language models added, and twice more when the fastest products of today's accelerators were, and three times when steps that wait for memory
were told apart. Where power limits a device was read from another table. So the
figures are somewhat better than they will be on tables that nobody has looked at. The CPU's law was fitted to
random networks, random layers and published architectures that are none of the 20 models below. The errors of those
were looked at some twenty times meanwhile; they showed which operations the random ones lacked, as convolutions of many channels on few
places, once that what had been written down was not what had been fitted, and how much whole steps should count beside
operations. Its interval is as wide as these 20 models ask for.
"""


def main() -> None:
    """Write the page."""
    parts = [INTRODUCTION.strip()]
    public = _read("forecast_accuracy")
    if public:
        PLOT.write_text(_plot(public), encoding="utf-8")
        parts += _public(public)
    several = _read("several_devices")
    if several:
        parts += section(several)
    large = _read("large_models")
    if large:
        parts += large_models(large)
    here = _read("forecast_here")
    if here:
        parts += _here(here)
    OUT.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"Written to {OUT}")


def _read(name: str) -> Result | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _public(result: Result) -> list[str]:
    rows = [
        [
            row["title"],
            f"{row['n']:,} in {row['groups']}",
            _pair(row["law"]),
            f"{row['law']['mean']:.1%}",
            f"{row['law']['coverage_of_80']:.0%}",
            GOALS[name],
            _pair(row["baselines"]["constant efficiency"]),
            _pair(row["baselines"]["roofline"]),
        ]
        for name, row in result["rows"].items()
    ]
    heads = [
        "work",
        "rows, groups left out",
        "median · 90th percentile",
        "mean",
        "inside 80 %",
        "goal",
        "constant share of peak",
        "roofline",
    ]
    plot = "![Forecast against actual step times](images/accuracy.svg)"
    parts = ["## Against public measurements", _table(heads, rows), plot]
    for name, row in result["rows"].items():
        heading = f"### {row['title'][0].upper()}{row['title'][1:]}"
        parts += [heading, REASONS[name], _groups(row), _worst(row)]
    return parts


def _plot(result: Result) -> str:
    """Draw every question's rows: forecast over actual seconds, both on log axes."""
    panels = [
        _panel(row, MARGIN + number * (SIDE + MARGIN + GAP))
        for number, row in enumerate(result["rows"].values())
    ]
    width = len(panels) * (SIDE + MARGIN + GAP) + 10
    height = SIDE + 2 * MARGIN + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="11" fill="#57606a">'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{"".join(panels)}</svg>\n'
    )


def _panel(row: Result, left: float) -> str:
    pairs = row["actual_and_forecast_s"]
    logs = [math.log10(value) for pair in pairs for value in pair]
    low, high = math.floor(min(logs) * 2) / 2, math.ceil(max(logs) * 2) / 2

    def x(log: float) -> float:
        return left + (log - low) / (high - low) * SIDE

    def y(log: float) -> float:
        return MARGIN + SIDE - (log - low) / (high - low) * SIDE

    band = math.log10(WITHIN)
    corners = [(low, low - band), (high, high - band), (high, high + band), (low, low + band)]
    shape = " ".join(f"{x(a):.1f},{y(min(max(b, low), high)):.1f}" for a, b in corners)
    ticks = list(range(math.ceil(low), math.floor(high) + 1))
    names = "".join(
        f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{MARGIN}" y2="{MARGIN + SIDE}" stroke="#eaeef2"/>'
        f'<line x1="{left}" x2="{left + SIDE}" y1="{y(t):.1f}" y2="{y(t):.1f}" stroke="#eaeef2"/>'
        f'<text x="{x(t):.1f}" y="{MARGIN + SIDE + 15}" text-anchor="middle">{_seconds(t)}</text>'
        f'<text x="{left - 5}" y="{y(t) + 4:.1f}" text-anchor="end">{_seconds(t)}</text>'
        for t in ticks
    )
    dots = "".join(
        f'<circle cx="{x(math.log10(a)):.1f}" cy="{y(math.log10(f)):.1f}" r="1.8"/>'
        for a, f in pairs
    )
    title = f'<text x="{left}" y="{MARGIN - 26}" fill="#1f2328" font-weight="600">'
    return (
        f"{title}{row['title']}</text>"
        f'<text x="{left}" y="{MARGIN - 11}">{len(pairs):,} rows, median error '
        f"{row['law']['median']:.1%}; band: within 20 %</text>"
        f'{names}<polygon points="{shape}" fill="#0969da" opacity="0.12"/>'
        f'<line x1="{x(low)}" y1="{y(low)}" x2="{x(high)}" y2="{y(high)}" stroke="#0969da"/>'
        f'<g fill="#1f2328" fill-opacity="0.35">{dots}</g>'
        f'<text x="{left + SIDE / 2}" y="{MARGIN + SIDE + 32}" text-anchor="middle">actual step</text>'
        f'<text transform="translate({left - 36} {MARGIN + SIDE / 2}) rotate(-90)" '
        f'text-anchor="middle">forecast step</text>'
    )


def _seconds(log: int) -> str:
    return {-4: "0.1 ms", -3: "1 ms", -2: "10 ms", -1: "0.1 s", 0: "1 s", 1: "10 s"}.get(
        log, f"1e{log}"
    )


def _pair(summary: dict[str, float]) -> str:
    return f"{summary['median']:.1%} · {summary['p90']:.1%}"


def _groups(row: Result) -> str:
    ranked = sorted(row["by_group"].items(), key=lambda item: -item[1]["median"])
    cells = [
        [name, str(found["n"]), _pair(found), f"{found['bias']:+.2f}"] for name, found in ranked
    ]
    return _table(
        ["left out", "rows", "median · 90th percentile", "median log(forecast / actual)"], cells
    )


def _worst(row: Result) -> str:
    named = [
        f"{one['model'].partition(':')[2] or 'operations'} on {one['device']} ({one['log_error']:+.2f})"
        for one in row["worst"][:10]
    ]
    return "Largest errors, log(forecast / actual): " + ", ".join(named) + "."


def _here(result: Result) -> list[str]:
    rows = [
        [
            row["title"],
            str(row["n"]),
            _pair(row["found"]),
            row["inside"],
            row["goal"],
            row["beside"],
        ]
        for row in result["rows"]
    ]
    heads = ["work", "cases", "median · 90th percentile", "inside 80 %", "goal", "beside it"]
    return ["## On this machine", _table(heads, rows), HERE_REASONS, *result["notes"], _left_out()]


def _left_out() -> str:
    """Return what steps are off that the CPU's law was fitted to, each where it was left out."""
    left = json.loads((HERE / "calibration" / "results" / "cpu_left_out.json").read_text())
    groups = "; ".join(
        f"{name} {_pair(left[name])} ({left[name]['n']:,} steps)"
        for name in ("published architectures", "random networks")
    )
    return (
        "What the law is fitted to, forecast by fits that saw nothing of the network, each with the "
        f"rates of its hour (`calibration/cpu_fit.py`): {groups}."
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    main()
