"""The small print: recipe, machine, what `auto` picked, and what the forecast rests on."""

from __future__ import annotations

from typing import Any

from traintime.report.page.run_files import Record, RunFiles, listed, section
from traintime.units import format_bytes, format_percent

Pairs = list[tuple[str, str]]


def recipe_pairs(run: RunFiles) -> Pairs:
    """Return the recipe, field by field, as it was run; what was changed on the way, both ways."""
    changed = run.last_values

    def shown(field: str, value: Any) -> str:
        return show_value(value) + (f" → {show_value(changed[field])}" if field in changed else "")

    return [(str(field), shown(str(field), value)) for field, value in run.recipe.items()]


def machine_pairs(run: RunFiles) -> Pairs:
    """Return what the run ran on and how."""
    machine = section(run.environment, "machine")
    pairs = [("processor", _processor(machine))]
    if machine.get("ram_bytes"):
        pairs.append(("memory", format_bytes(machine["ram_bytes"])))
    pairs += [("GPU", _gpu(gpu)) for gpu in listed(machine, "gpus")]
    if system := machine.get("system"):
        pairs.append(("system", str(system)))
    pairs += _named(section(run.environment, "execution"))
    pairs += _named(section(run.environment, "versions"))
    if source := run.environment.get("data_source"):
        pairs.append(("data from", str(source)))
    return [(name, value) for name, value in pairs if value]


def picks(run: RunFiles) -> Pairs:
    """Return what `auto` picked and why."""
    parts = [str(pick).partition(": ") for pick in listed(run.environment, "picks")]
    return [(name, reason) for name, _, reason in parts]


def forecast_pairs(run: RunFiles) -> Pairs:
    """Return what the forecast rests on."""
    forecast = run.forecast
    pairs: Pairs = []
    if evidence := forecast.get("evidence"):
        pairs.append(("evidence", str(evidence)))
    if bound := forecast.get("bound_by"):
        pairs.append(("a step is bound by", str(bound)))
    if (chance := forecast.get("chance_of_target")) is not None:
        pairs.append(("chance of the target", format_percent(chance, 0)))
    return pairs


def show_value(value: Any) -> str:
    """Return a value of a recipe as people read it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(show_value(part) for part in value)  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def _processor(machine: Record) -> str:
    name, cores = str(machine.get("cpu") or ""), machine.get("cores")
    return f"{name}, {cores} core{'' if cores == 1 else 's'}" if cores else name


def _gpu(gpu: Record) -> str:
    size = gpu.get("memory_bytes")
    return f"{gpu.get('name', 'unknown')}{f', {format_bytes(size)}' if size else ''}"


def _named(record: Record) -> Pairs:
    return [(name.replace("_", " "), show_value(value)) for name, value in record.items()]
