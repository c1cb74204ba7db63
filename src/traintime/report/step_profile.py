"""The terminal's picture of a profiled run: where a step goes, what limits it, what to change."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from traintime.report.run_profile import Change, KindCost, LayerCost, Pace, Part, RunProfile
from traintime.units import format_count, format_duration, format_percent

BAR_WIDTH = 78
SHADES = "█▓▒░"
SHARE_BAR = 12
MOST_LAYERS = 8
LEAST_SHARE = 0.005
"""Of a step: what takes less is left out of the tables."""
COLOURS = {
    "data": "blue",
    "forward": "cyan",
    "backward": "magenta",
    "penalties": "bright_red",
    "checks": "bright_black",
    "optimizer": "yellow",
    "average": "green",
    "between steps": "white",
    "training": "cyan",
    "validation": "green",
    "checkpoints": "yellow",
}
MEANINGS = {
    "data": "gather, normalise, augment the batch",
    "forward": "network and loss",
    "backward": "gradients",
    "penalties": "penalties and clipping",
    "checks": "is every number finite, can the step be taken again",
    "optimizer": "update of the weights",
    "average": "average of the weights",
    "between steps": "records, display, clock (from the run)",
}
GOOD, POOR = 0.75, 0.4
"""Efficiencies from which a rate is green, and under which it is red."""
WRONG = 1.3
"""Times a forecast, or a part of it, from which it is marked as wrong."""


def profile_lines(profile: RunProfile) -> RenderableType:
    """Return the whole picture."""
    parts: list[RenderableType] = [
        Text(""),
        Text(profile.title, "bold"),
        Text(_circumstances(profile), "dim"),
        Text(""),
        _step_line(profile),
        Text(""),
        _indented(StackedBar(profile.parts)),
        _indented(_legend(profile.parts)),
        Text(""),
        _limit_lines(profile),
    ]
    if len(profile.stages) > 1:
        stages = _indented(StackedBar(profile.stages)), _indented(_inline_legend(profile.stages))
        parts += [Text(""), _heading("The run so far"), *stages]
    parts += [Text(""), _heading("By kind of operation"), _kind_table(profile.kinds)]
    if profile.layers:
        parts += [Text(""), _heading("Costliest layers"), _layer_table(profile.layers)]
    return Group(*parts, Text(""), *_change_lines(profile.changes))


def _indented(lines: RenderableType) -> Padding:
    return Padding(lines, (0, 0, 0, 2), expand=False)


def _circumstances(profile: RunProfile) -> str:
    threads = f"{profile.threads} thread{'s' * (profile.threads > 1)}"
    return (
        f"{profile.execution} · {threads} · {profile.steps_measured:,} steps with "
        f"{profile.weights} · load {profile.load:.1f}"
    )


def _step_line(profile: RunProfile) -> Text:
    line = Text("A step  ", "bold").append(format_duration(profile.step_s), "bold cyan")
    low, high = format_duration(profile.low_s), format_duration(profile.high_s)
    line.append(f"  ({low} - {high})", "not bold dim")
    held = (("in the run", profile.run_step_s), ("forecast", profile.forecast_step_s))
    for name, seconds in held:
        if seconds:
            line.append(f"  ·  {name} ", "not bold default")
            line.append(format_duration(seconds), "bold")
            line.append(f" {_relative(profile.step_s / seconds)}", "not bold dim")
    return line


def _relative(ratio: float) -> str:
    """Return how long a step here is against one elsewhere."""
    return "(the same)" if abs(ratio - 1) < 0.03 else f"(here × {ratio:.2f})"


@dataclass(frozen=True)
class StackedBar:
    """One bar with a block for each part; where there are no colours, shades tell them apart."""

    parts: Sequence[Part]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.drawn("█" if console.color_system else SHADES)

    def drawn(self, shades: str) -> Text:
        """Return the bar; what would be too short to be seen has one place."""
        bar = Text()
        for part, places, shade in zip(
            self.parts, _places(self.parts, BAR_WIDTH), itertools.cycle(shades), strict=False
        ):
            bar.append(shade * places, COLOURS.get(part.name, "white"))
        return bar


def _places(parts: Sequence[Part], width: int) -> list[int]:
    """Share a width out such that it is filled and nobody gets nothing."""
    places = [max(1, round(part.share * width)) for part in parts]
    while places and sum(places) != width:
        largest = places.index(max(places))
        places[largest] += 1 if sum(places) < width else -1
    return places


def _legend(parts: Sequence[Part]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for part in parts:
        name = Text("■ ", COLOURS.get(part.name, "white")).append(part.name, "default")
        meaning = MEANINGS.get(part.name, "")
        table.add_row(name, format_duration(part.seconds), _percent(part.share), meaning)
    return table


def _inline_legend(parts: Sequence[Part]) -> Text:
    line = Text()
    for part in parts:
        line.append("■ ", COLOURS.get(part.name, "white"))
        line.append(f"{part.name} {format_duration(part.seconds)} {_percent(part.share)}   ")
    return line


def _heading(text: str) -> Text:
    return Text(text, "bold")


def _kind_table(kinds: Sequence[KindCost]) -> RenderableType:
    table = _table(("", "left"), ("ms", "right"), ("share", "right"), ("", "left"))
    for heading in ("calls", "runs at", "machine", "efficiency", "forecast", "off by"):
        table.add_column(heading, justify="right")
    for cost in kinds:
        if cost.share < LEAST_SHARE:
            continue
        table.add_row(
            cost.kind,
            _millis(cost.seconds),
            _percent(cost.share),
            _share_bar(cost.share),
            f"{cost.calls:.0f}" if cost.calls else "",
            *_pace_cells(cost.pace),
            _millis(cost.forecast_s) if cost.forecast_s else "",
            _off_by(cost),
        )
    return _indented(table)


def _layer_table(layers: Sequence[LayerCost]) -> RenderableType:
    table = _table(("", "left"), ("", "left"), ("forward ms", "right"))
    table.add_column("backward ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    for heading in ("runs at", "machine", "efficiency"):
        table.add_column(heading, justify="right")
    for cost in (layer for layer in layers[:MOST_LAYERS] if layer.share >= LEAST_SHARE):
        table.add_row(
            Text(cost.place, "dim"),
            cost.name,
            _millis(cost.forward_s),
            _millis(cost.backward_s),
            _percent(cost.share),
            _share_bar(cost.share),
            *_pace_cells(cost.pace),
        )
    return _indented(table)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    return table


def _pace_cells(pace: Pace | None) -> tuple[str, str, Text]:
    if pace is None:
        return "", "", Text("")
    efficiency = pace.efficiency
    style = "green" if efficiency >= GOOD else "red" if efficiency < POOR else "yellow"
    shown = (f"{format_count(rate)}{pace.unit}" for rate in (pace.per_s, pace.machine_per_s))
    return (*shown, Text(_percent(efficiency), style))  # pyright: ignore[reportReturnType]


def _off_by(cost: KindCost) -> Text:
    if not cost.forecast_s:
        return Text("")
    ratio = cost.seconds / cost.forecast_s
    is_wrong = not 1 / WRONG < ratio < WRONG
    digits = 2 if ratio < 9.995 else 0
    return Text(f"× {ratio:.{digits}f}", "yellow" if is_wrong else "dim")


def _share_bar(share: float) -> Text:
    eighths = round(share * SHARE_BAR * 8)
    full, rest = divmod(eighths, 8)
    return Text("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else ""), "cyan")


def _limit_lines(profile: RunProfile) -> Table:
    """Return the sentence, its lines below each other."""
    is_disturbed = profile.limited_by == "another process"
    table = Table.grid(padding=(0, 2, 0, 0))
    sentence = Text(profile.limit, "bold red" if is_disturbed else "bold yellow")
    table.add_row(Text("Limit", "bold"), sentence)
    return table


def _change_lines(changes: Sequence[Change]) -> Iterator[RenderableType]:
    if not changes:
        yield Text("Nothing that is known of would make it 5 % faster", "green")
        yield Text("")
        return
    yield _heading("What to change")
    table = Table.grid(padding=(0, 2, 0, 0))
    for change in changes:
        gain = Text(change.basis)
        if change.factor:
            gain.append(f" {change.factor:.2f} × faster", "bold green")
        table.add_row(Text(change.words, "cyan"), gain, Text(change.note, "dim"))
    yield _indented(table)
    yield Text("")


def _millis(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def _percent(share: float) -> str:
    return format_percent(share, 0 if share >= 0.0995 else 1)
