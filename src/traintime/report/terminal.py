"""What the terminal shows: machine, forecast, progress, scores. Drawn by rich, decided here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from traintime.clock.eta import Eta, remaining
from traintime.forecast.forecast import Forecast
from traintime.forecast.predict import UNSTEADY
from traintime.hardware.profile import HardwareProfile
from traintime.recipe import Recipe
from traintime.recipe.steering import change_in_words
from traintime.report.rows import LABEL_WIDTH, labelled, progress_bar
from traintime.train.records import Change, EpochRecord, Event, StepRecord
from traintime.units import (
    Interval,
    format_bytes,
    format_count,
    format_duration,
    format_interval,
    format_percent,
    format_rate,
    plural,
)

SHADES = ("grey35", "white", "yellow", "bright_red")
MOST_CLASSES, MOST_PAIRS = 12, 8
"""Classes whose confusion is shown in full, and pairs that are where there are more."""
NAMES_WIDTH = 60
"""Characters for the names of all classes together."""


def title(recipe: Recipe) -> str:
    """Return what is trained in a few words: "lenet on mnist to 99 % accuracy"."""
    goal = recipe.goal
    by = f" {recipe.time_budget.in_words()}" if recipe.time_budget else ""
    if goal is None:
        epochs = f", {recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}"
        return f"{recipe.model} on {recipe.data_name}{by or epochs}"
    wanted = (
        f"{goal.value * 100:g} % accuracy" if goal.metric == "accuracy" else f"loss {goal.value:g}"
    )
    return f"{recipe.model} on {recipe.data_name} to {wanted}{by}"


def machine_lines(profile: HardwareProfile) -> RenderableType:
    """Return what a machine has and sustains."""
    found = profile.machine
    gpus = ", ".join(f"{gpu.name} {format_bytes(gpu.memory_bytes)}" for gpu in found.gpus)
    rows = [
        (
            "Machine",
            f"{found.cpu} · {found.cores} cores · {format_bytes(found.ram_bytes)} RAM · "
            f"{gpus or 'no GPU'} · {format_bytes(found.disk_free_bytes)} free on disk",
        ),
        ("Sustains", f"{_best_rates(profile)}"),
        (
            "",
            f"memory {format_count(_bandwidth(profile))}B/s · "
            f"disk {format_count(profile.disk_bytes_per_s)}B/s · "
            f"{format_duration(profile.dispatch_s)} to dispatch an operation",
        ),
        ("Evidence", f"{profile.evidence}, {profile.device}, {profile.measured_on}"),
    ]
    if profile.unsteadiness > UNSTEADY:
        varied = format_percent(profile.unsteadiness, 0)
        rows.append(
            (
                "Unsteady",
                f"rates varied by {varied} within seconds, as on a machine that is shared or busy; "
                "forecasts are as much wider",
            )
        )
    return labelled(rows)


def machine_details(profile: HardwareProfile) -> RenderableType:
    """Return every measured rate."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in (("operation", "left"), ("form", "left"), ("size", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    table.add_column("rate", justify="right")
    table.add_column("spread", justify="right")
    for rate in profile.rates:
        products = rate.kind in ("convolution", "fused convolution", "matrix product")
        shown = format_rate(rate.per_s) if products else f"{format_count(rate.per_s)}values/s"
        size = " × ".join(f"{side:.0f}" for side in rate.size)
        table.add_row(rate.kind, rate.form, size, shown, f"{rate.spread:.2f} ×")
    return Padding(table, (0, 0, 0, 2))


def _best_rates(profile: HardwareProfile) -> str:
    parts: list[str] = []
    for kind, name in (("matrix product", "matmul"), ("convolution", "convolution")):
        for precision in ("fp32", "bf16"):
            rates = [
                rate.per_s
                for rate in profile.rates
                if rate.kind == kind and rate.form.startswith(precision)
            ]
            if rates:
                parts.append(f"{name} {precision} {format_rate(max(rates))}")
    return " · ".join(parts)


def _bandwidth(profile: HardwareProfile) -> float:
    """Return bytes per second of a long fp32 vector sum, the widest of the probes."""
    vectors = [rate for rate in profile.rates if rate.kind == "optimizer"]
    return 4 * max(vectors, key=lambda rate: rate.size).per_s


def forecast_lines(recipe: Recipe, forecast: Forecast) -> RenderableType:
    """Return a forecast with what it stands on."""
    total = Text.assemble((format_interval(forecast.total_s), "bold cyan"))
    total.append(f"   80 % interval · {forecast.evidence}", "dim")
    rows: list[tuple[str, RenderableType]] = [("Forecast", total), *_target_rows(recipe, forecast)]
    stages = " · ".join(
        f"{name} {format_duration(interval.median)}" for name, interval in forecast.stages_s.items()
    )
    steps = f"{plural(forecast.steps_per_epoch, 'step')} × {plural(forecast.epochs, 'epoch')}"
    shares = ", ".join(
        f"{part.kind} {format_percent(part.share, 0)}" for part in forecast.step_by_kind[:4]
    )
    rows += [
        ("to the end", f"{format_interval(forecast.time_to_end_s)} for {steps}"),
        ("by stage", stages),
        ("a step", f"{format_interval(forecast.step_time_s)} · {shares}"),
        (
            "memory",
            f"{format_bytes(forecast.peak_memory_bytes.median)} peak · "
            f"{forecast.parameters:,} parameters",
        ),
        ("computed as", f"{forecast.execution}"),
    ]
    rows += [("picked" if index == 0 else "", pick) for index, pick in enumerate(forecast.picks)]
    rows += [
        ("or" if index == 0 else "", Text(line, "yellow"))
        for index, line in enumerate(forecast.advice)
    ]
    rows += [
        ("assuming" if index == 0 else "", Text(assumption, "dim"))
        for index, assumption in enumerate(forecast.assumptions)
    ]
    return labelled(rows)


def trial_lines(forecast: Forecast) -> RenderableType:
    """Return what a forecast that was told already became by real steps."""
    total = Text.assemble((format_interval(forecast.total_s), "bold cyan"))
    total.append(f"   80 % interval · {forecast.evidence}", "dim")
    return labelled([("Forecast", total), ("", Text(forecast.assumptions[0], "dim"))])


def _target_rows(recipe: Recipe, forecast: Forecast) -> list[tuple[str, RenderableType]]:
    if recipe.goal is None:
        return []
    if forecast.chance_of_target is None:
        return [("to target", Text("unknown before it has trained a few epochs", "yellow"))]
    if forecast.time_to_target_s is None:
        return [("to target", Text("out of reach of this recipe: chance under 1 %", "yellow"))]
    chance = format_percent(min(forecast.chance_of_target, 0.99), 0)
    text = f"{format_interval(forecast.time_to_target_s)} · chance {chance}"
    return [("to target", text)]


def progress_lines(
    recipe: Recipe, total_steps: int, eta: Eta, step: StepRecord | None
) -> RenderableType:
    """Return the live view of a training run."""
    if step is None:
        return labelled([("Training", Text("the first steps ...", "dim"))])
    done = step.step / total_steps
    if recipe.budget:
        done = eta.elapsed_s / max(eta.finish_s.median, 1e-9)
    bar = progress_bar(done).append(f" {format_percent(done, 0)}", "bold")
    where = (
        f"epoch {of_planned(int(step.epoch) + 1, recipe)} · step {step.step:,}"
        f"{'' if recipe.budget else f'/{total_steps:,}'} · loss {step.loss:.4f} · "
        f"{format_count(step.samples_per_s)} samples/s"
    )
    rows: list[tuple[str, RenderableType]] = [("Training", bar), ("", where)]
    rows += eta_rows(recipe, eta)
    return labelled(rows)


def of_planned(epoch: int, recipe: Recipe) -> str:
    """Return which epoch it is of how many; a budget leaves time for more of them, or fewer."""
    width = len(str(recipe.epochs))
    if recipe.budget:
        return f"{epoch:>{width}} of about {recipe.epochs}"
    return f"{min(epoch, recipe.epochs):>{width}}/{recipe.epochs}"


def eta_rows(recipe: Recipe, eta: Eta) -> list[tuple[str, RenderableType]]:
    """Return what is known of the end, with labels."""
    rows: list[tuple[str, RenderableType]] = []
    if recipe.goal:
        rows.append(("to target", Text(eta_to_target(eta), "bold")))
    rows.append(("to the end", format_left(remaining(eta.finish_s, eta.elapsed_s))))
    if eta.final:
        metric = recipe.goal.metric if recipe.goal else recipe.monitor
        rows.append(
            ("at the end", f"{recipe.validate_on} {metric} {_metric_interval(metric, eta.final)}")
        )
    return rows


def _metric_interval(metric: str, value: Interval) -> str:
    """Return '98.72 % (98.10-99.14 %)' for an accuracy, '0.312 (0.290-0.341)' for a loss."""
    if metric == "accuracy":
        low, high = (format_percent(share, 2) for share in (value.low, value.high))
        return f"{format_percent(value.median, 2)} ({low.removesuffix(' %')}-{high})"
    return f"{value.median:.3g} ({value.low:.3g}-{value.high:.3g})"


def eta_to_target(eta: Eta) -> str:
    """Return what is known of the time left to the target."""
    if eta.target_s is None:
        return "not yet known" if eta.chance_of_target is None else "out of reach"
    left = format_left(remaining(eta.target_s, eta.elapsed_s))
    chance = min(eta.chance_of_target or 0.0, 0.99)
    return f"{left} · chance {format_percent(chance, 0)}"


def format_left(interval: Interval) -> str:
    """Return a remaining time with its interval; less than half a second is "now"."""
    return format_interval(interval) if interval.high >= 0.5 else "now"


def epoch_line(recipe: Recipe, record: EpochRecord, best: bool) -> Text:
    """Return the line that stays of an epoch."""
    line = Text(" " * LABEL_WIDTH)
    line.append(f"epoch {of_planned(record.epoch, recipe)}", "dim")
    line.append(f"  {format_duration(record.elapsed_s):>8}  loss {record.train_loss:.4f}")
    line.append(f"  {recipe.validate_on} loss {record.validation_loss:.4f}")
    accuracy = format_percent(record.validation_accuracy, 2)
    return line.append(f"  accuracy {accuracy}", "bold green" if best else "")


def change_line(change: Change) -> Text:
    """Return the line that stays of a command to the run."""
    line = Text(" " * LABEL_WIDTH)
    words = change_in_words(dataclasses.asdict(change))
    line.append(f"{words} at step {change.step:,}", "bold cyan")
    return line.append(f" · {change.by}", "dim")


def event_line(event: Event) -> Text:
    """Return the line that stays of a fault that was survived."""
    return Text(f"{' ' * LABEL_WIDTH}{event.message}", "yellow")


def plain_step_line(recipe: Recipe, total_steps: int, step: StepRecord, eta: Eta) -> str:
    """Return one line of progress for logs and pipes."""
    parts = [
        f"step {step.step}{'' if recipe.budget else f'/{total_steps}'}",
        f"epoch {step.epoch:.2f}",
        f"loss {step.loss:.4f}",
        f"{step.samples_per_s:.0f} samples/s",
        f"end in {format_left(remaining(eta.finish_s, eta.elapsed_s))}",
    ]
    if recipe.goal:
        parts.append(f"target {'in ' if eta.target_s else ''}{eta_to_target(eta)}")
    return "  ".join(parts)


GUESSED = (
    "No better than always telling the most frequent class, which is right in {}: nothing was "
    "learned, or the classes are too uneven. Try a smaller lr=, or more epochs="
)


def score_lines(test: Mapping[str, Any]) -> RenderableType:
    """Return test scores and the confusion matrix."""
    summary = Text(f"{format_percent(test['accuracy'], 2)} accuracy", "bold green")
    summary.append(
        f" · precision {format_percent(test['precision'], 2)} · "
        f"recall {format_percent(test['recall'], 2)} · F1 {format_percent(test['f1'], 2)} · "
        f"loss {test['loss']:.4f} · {test['samples']:,} samples",
        "default not bold",
    )
    names = [score["class"] for score in test["per_class"]]
    if len(names) > MOST_CLASSES:
        shown = ("confused", _most_confused(names, test["confusion"]))
    else:
        shown = ("confusion", _confusion_table(names, test["confusion"]))
    most = max(map(sum, test["confusion"]), default=0) / max(1, test["samples"])
    hint: list[tuple[str, RenderableType]] = []
    if test["accuracy"] <= most < 1 and test["samples"]:
        hint.append(("", Text(GUESSED.format(format_percent(most, 2)), "yellow")))
    return labelled([("Test", summary), *hint, ("", Text("")), shown])


def _most_confused(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> RenderableType:
    """Return the pairs of many classes that are taken for each other most often."""
    pairs = sorted(
        (
            (-count, truth, taken)
            for truth, row in enumerate(confusion)
            for taken, count in enumerate(row)
            if count and truth != taken
        )
    )
    if not pairs:
        return Text("no class was taken for another", "green")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("truth", "taken for", "times", "of"):
        table.add_column(heading, justify="right" if heading in ("times", "of") else "left")
    for count, truth, taken in pairs[:MOST_PAIRS]:
        table.add_row(
            Text(names[truth]), Text(names[taken]), str(-count), f"{sum(confusion[truth]):,}"
        )
    return table


def _confusion_table(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> Table:
    short = _short(names)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("truth ↓", style="dim", justify="right")
    for name in short:
        table.add_column(Text(name), justify="right")
    for truth, row in enumerate(confusion):
        most = max((count for column, count in enumerate(row) if column != truth), default=0)
        cells = [
            Text(str(count), "bold green" if column == truth else _shade(count, most))
            for column, count in enumerate(row)
        ]
        table.add_row(Text(short[truth]), *cells)
    return table


def _short(names: Sequence[str]) -> list[str]:
    """Return names, as long as there is room, that tell them apart, or else their numbers."""
    letters = max(5, NAMES_WIDTH // max(1, len(names)))
    for cut in (slice(None, letters), slice(-letters, None)):
        cut_names = [name[cut].strip() for name in names]
        if len(set(cut_names)) == len(names):
            return cut_names
    return [str(number) for number in range(len(names))]


def _shade(count: int, most: int) -> str:
    if count == 0:
        return SHADES[0]
    return SHADES[1 + min(2, 2 * count // max(1, most))]


def reason_line(reason: str) -> Text:
    """Return why a run was ended before its last epoch."""
    return Text(f"stopped early: {reason}", "yellow")


def closing_line(
    forecast: Forecast,
    total_s: float,
    accuracy: float,
    report: str,
    *,
    missed: str | None = None,
    was_changed: bool = False,
) -> Text:
    """Return forecast against fact in one line; one that was changed on the way is not judged.

    Args:
        forecast: What was promised.
        total_s: What it took.
        accuracy: On the test part.
        report: Where its page is.
        missed: A target that was not reached.
        was_changed: Whether somebody changed what was to be done.
    """
    colour = "green" if total_s in forecast.total_s else "yellow"
    line = Text("forecast ")
    line.append(format_interval(forecast.total_s), "cyan")
    line.append(" · took ").append(
        format_duration(total_s), "bold" if was_changed else f"bold {colour}"
    )
    line.append(", changed on the way" if was_changed else "")
    if missed:
        line.append(f" · {missed} was not reached", "yellow")
    line.append(" · ").append(format_percent(accuracy), "bold green")
    return line.append(f" · report: {report}")


def runs_table(rows: Iterable[Any]) -> Table:
    """Return the ledger's rows."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("run", "status", "target", "forecast", "took", "accuracy"):
        table.add_column(heading, justify="right" if heading in ("took", "accuracy") else "left")
    for row in rows:
        forecast = Interval(row.forecast_s, row.forecast_low_s, row.forecast_high_s)
        table.add_row(
            row.name,
            row.status,
            row.target or "-",
            format_interval(forecast),
            format_duration(row.total_s) if row.total_s else "-",
            format_percent(row.accuracy) if row.accuracy else "-",
        )
    return table


def comparison_table(sides: Sequence[Mapping[str, Any]]) -> Table:
    """Return runs side by side, one column each."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", style="dim")
    for side in sides:
        table.add_column(str(side["run"]))
    for field in sides[0]:
        if field != "run":
            table.add_row(field, *(_cell(field, side[field]) for side in sides))
    return table


def _cell(field: str, value: Any) -> str:
    if value is None:
        return "-"
    if field.endswith("_s") and isinstance(value, int | float):
        return format_duration(value)
    return format_percent(value, 2) if field == "accuracy" else str(value)
