"""The figures of a watched run: when it ends, how it trains, what it takes of its machine."""

from __future__ import annotations

import dataclasses

from rich.text import Text

from traintime.clock.run_state import Curve, Record, RunState
from traintime.report.rows import progress_bar
from traintime.report.terminal import eta_rows
from traintime.report.terminal_plot import sparkline
from traintime.report.watch_lines import DIM, labelled_line
from traintime.units import format_bytes, format_count, format_duration, format_percent

LABEL, MACHINE_LABEL = 11, 8
LEAST_SHOWN = 0.005
"""Of the time; less is not worth a word."""
PHASES = {
    "train": "cyan",
    "validate": "yellow",
    "prepare": "blue",
    "checkpoint": "magenta",
    "the rest": "magenta",
    "evaluate": "green",
}
HIGH = 0.9
"""Share of memory from which its bar is red."""


def time_lines(state: RunState, width: int) -> list[Text]:
    """Return what is left, what is expected, and what the time was spent on."""
    lines = [labelled_line(label, value, LABEL) for label, value in _left(state, width - LABEL)]
    spent = _spent(state, width - LABEL)
    return [*lines, labelled_line("spent on", spent, LABEL)] if spent else lines


def _left(state: RunState, room: int) -> list[tuple[str, Text]]:
    if state.result:
        rows = [("took", Text(format_duration(state.elapsed_s), "bold"))]
        if state.result.get("time_to_target_s"):
            rows.append(("to target", Text(format_duration(state.result["time_to_target_s"]))))
        accuracy = state.result.get("test", {}).get("accuracy")
        if accuracy is not None:
            rows.append(("test", Text(f"accuracy {format_percent(accuracy, 2)}", "bold")))
        return rows
    if state.eta is None or state.last_step is None:
        return [("to the end", Text("not yet known", DIM))]
    eta = dataclasses.replace(state.eta, elapsed_s=state.elapsed_s)
    rows: list[tuple[str, Text]] = []
    for label, value in eta_rows(state.recipe, eta):
        text = value if isinstance(value, Text) else Text(str(value))
        if text.cell_len > room and label == "at the end":  # whose metric it is goes without saying
            text = Text(text.plain.partition(" ")[2])
        time, _, chance = text.plain.partition(" · ")
        fits = text.cell_len <= room
        if len(time) > room:  # the interval goes before the time does
            time = time.partition(" (")[0]
        text = text if fits else Text(time)
        text.stylize("bold cyan", 0, len(time.partition(" (")[0]))
        rows.append((label, text))
        if not fits and chance:
            rows.append(("", Text(chance)))
    return rows


def _spent(state: RunState, room: int) -> Text:
    """Return shares of the time, the largest first, as many as there is room for."""
    total = sum(state.phases_s.values())
    spent = Text()
    if total <= 0:
        return spent
    for name, seconds in sorted(state.phases_s.items(), key=lambda item: -item[1]):
        part = Text().append("■ ", PHASES.get(name, "white"))
        part.append(f"{name} {format_percent(seconds / total, 0)}")
        gap = "  " if spent else ""
        if seconds / total < LEAST_SHOWN or spent.cell_len + len(gap) + part.cell_len > room:
            break
        spent.append(gap).append_text(part)
    return spent


def training_lines(state: RunState, width: int) -> list[Text]:
    """Return loss, validation, speed and learning rate as they are now, and over time."""
    step, epoch = state.last_step, state.last_epoch
    if step is None:
        return [labelled_line("loss", Text("the first step is to come", DIM), LABEL)]
    lines = [labelled_line("loss", Text(f"{step['loss']:.4f}", "bold"), LABEL)]
    if epoch:
        judged = Text().append(format_percent(epoch["validation_accuracy"], 2), "bold")
        judged.append(f" · loss {epoch['validation_loss']:.4f}")
        lines.append(labelled_line(state.recipe.validate_on, judged, LABEL))
    speed = f"{format_count(step['samples_per_s'])} samples/s"
    rate = f"{step['lr']:.3g}"
    room = max(len(speed), len(rate))
    for label, now, curve in (
        ("speed", speed, state.curves.samples_per_s),
        ("lr", rate, state.curves.lr),
    ):
        line = Text(now.ljust(room + 1))
        lines.append(
            labelled_line(label, line.append_text(_spark(curve, width - LABEL - room - 1)), LABEL)
        )
    return lines


def machine_lines(state: RunState, width: int) -> list[Text]:
    """Return what the process takes of its machine."""
    usage = state.usage
    if not usage:
        return [Text("nothing sampled yet", DIM)]
    bar = max(6, min(24, width - MACHINE_LABEL - 20))
    others = format_percent(usage["others_cpu"], 0)
    cpu = f"{format_percent(usage['cpu'], 0):>5}"
    rows = [("cpu", _spark(state.curves.cpu, bar, 1.0).append(f"{cpu} · others {others}"))]
    left, limit = usage["available_bytes"], usage["limit_bytes"]
    rows.append(("memory", _bar(1 - left / limit, bar, f" {format_bytes(left)} left")))
    rows.append(("", Text(f"{format_bytes(usage['rss_bytes'])} are this run's", DIM)))
    rows += _gpu_rows(state, usage, bar)
    rows.append(("disk", Text(_disk(usage))))
    return [labelled_line(label, value, MACHINE_LABEL) for label, value in rows]


def _gpu_rows(state: RunState, usage: Record, bar: int) -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text]] = []
    if usage.get("gpu") is not None:
        busy = f"{format_percent(usage['gpu'], 0):>5}"
        rows.append(("gpu", _spark(state.curves.gpu, bar, 1.0).append(busy)))
    used, limit = usage.get("gpu_memory_bytes"), usage.get("gpu_limit_bytes")
    if used is not None and limit:
        rows.append(("gpu mem", _bar(used / limit, bar, f" {format_bytes(limit - used)} left")))
    return rows


def _disk(usage: Record) -> str:
    free = f"{format_bytes(usage['disk_free_bytes'])} free"
    read, written = usage.get("read_bytes_per_s"), usage.get("written_bytes_per_s")
    if read is None or written is None:
        return free
    return f"{format_bytes(read + written)}/s · {free}"


def _spark(curve: Curve, width: int, most: float | None = None) -> Text:
    """Return a curve one character high; up to `most`, or to its own greatest value."""
    values = [point.y for point in curve]
    return Text().append(sparkline(values, width, most).ljust(width if most else 0), "cyan")


def _bar(share: float, width: int, words: str) -> Text:
    bar = progress_bar(share, width)
    if share > HIGH:
        bar.stylize("red")
    return Text().append_text(bar).append(words)
