"""The report of a run as one HTML page that needs no network.

The page is a pure function of the files in the run folder. Its sections are computed by the modules
in `page/`; `page.html.j2` lays them out, `style.css` dresses them, `charts.js` draws the charts
with the uPlot in `vendor/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from traintime.report.page import breakdown, facts
from traintime.report.page.comparison import compare
from traintime.report.page.curves import chart_data, eta_finding
from traintime.report.page.headline import headline
from traintime.report.page.incidents import incidents
from traintime.report.page.own_data import own_data
from traintime.report.page.quality import quality
from traintime.report.page.run_files import RunFiles, read_run_files
from traintime.units import format_duration, format_percent


def render_report(run_folder: Path) -> str:
    """Return the report of a run as the text of an HTML page.

    Args:
        run_folder: The folder that the run was recorded in; all its files but the recipe may be
            missing.

    Raises:
        RunFolderError: The folder is no run folder, or one of its files is damaged.
    """
    return (
        page_environment()
        .get_template("page.html.j2")
        .render(_sections(read_run_files(run_folder)))
    )


def _sections(run: RunFiles) -> dict[str, Any]:
    charts = chart_data(run)
    return {
        "file": inlined,
        "run": run,
        "head": headline(run),
        "comparison": compare(run),
        "charts": charts,
        "charts_json": as_script_json(charts),
        "eta_finding": eta_finding(run),
        "incidents": incidents(run),
        "stage_finding": breakdown.stage_finding(run),
        "stage_bars": breakdown.stage_bars(run),
        "stage_table": breakdown.stage_table(run),
        "step_parts": breakdown.step_parts(run),
        "memory_parts": breakdown.memory_parts(run),
        "quality": quality(run),
        "own_data": own_data(run),
        "recipe_pairs": facts.recipe_pairs(run),
        "machine_pairs": facts.machine_pairs(run),
        "picks": facts.picks(run),
        "forecast_pairs": facts.forecast_pairs(run),
    }


def as_script_json(value: Any) -> Markup:
    """Return JSON that may stand in a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704


@cache
def page_environment() -> Environment:
    """Return what fills in the templates of `page/`."""
    environment = Environment(
        loader=FunctionLoader(_page_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": format_percent,
        "share": _or_dash(format_percent),
        "metric": _or_dash(lambda value: f"{value:.3g}"),
        "time": _or_dash(format_duration),
        "unbroken": _unbroken,
        "whole": _or_dash(lambda value: f"{value:,.0f}"),
    }
    return environment


def _or_dash(write: Callable[[float], str]) -> Callable[[Any], str]:
    """Return a filter that writes a number, and a dash where none was recorded."""
    return lambda value: write(value) if isinstance(value, int | float) else "–"


def _unbroken(text: str) -> str:
    """Return a sentence in which no line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=(?:%|s|ms|µs|m|h|d|[KMG]iB)(?:\W|$))", "\u00a0", text)


def inlined(name: str) -> Markup:
    """Return a file of `page/` as it is."""
    return Markup(_page_file(name))  # noqa: S704  # our own files


def _page_file(name: str) -> str:
    return files("traintime.report").joinpath("page", name).read_text(encoding="utf-8")
