"""Write docs/measurements.md, and the figures in the README, from benchmarks/results/.

    python scripts/make_measurements.py

Every number comes from a JSON file that a script in benchmarks/ wrote; nothing is typed by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARK = re.compile(r"<!-- figures -->.*<!-- /figures -->", re.DOTALL)

Result = dict[str, Any]


def main() -> None:
    """Write both."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}
    sections = [make(found[name]) for name, make in SECTIONS.items() if name in found]
    page = "\n\n".join([INTRODUCTION.strip(), *(section.strip() for section in sections)])
    (ROOT / "docs" / "measurements.md").write_text(page + "\n", encoding="utf-8")
    _fill_in(ROOT / "README.md", _readme(found))
    _fill_in(ROOT / "docs" / "reliability.md", _reliability(found))


def _fill_in(path: Path, text: str) -> None:
    """Put text between the marks of a page."""
    figures = f"<!-- figures -->\n{text.strip()}\n<!-- /figures -->"
    path.write_text(MARK.sub(lambda _: figures, path.read_text("utf-8")), encoding="utf-8")


RACE_CAVEATS = (
    "How to read it: traintime's recipes (epochs, batch size, rate, smoothing) were chosen by test accuracy "
    "on these very sets, over a few dozen trials; the peers' were not tuned: Adam at 1e-3 and the libraries' usual "
    "batch sizes in place of some tutorials' slower published values (see `benchmarks/peers/`). Each table is one "
    "run of the script with three seeds of every contender."
)

INTRODUCTION = """
# Measurements

Made by `python scripts/make_measurements.py` from the results of the scripts in `benchmarks/`, which
anyone can run. Machines are shared and noisy: ratios within one run are to be trusted, absolute times are
those of that day.
"""


def _race(result: Result) -> str:
    rules = next(iter(result["work"].values()))["rules"]
    parts = [
        "## Time to accuracy",
        "Wall time from the start of the process to the test accuracy, imports included; "
        "`benchmarks/time_to_accuracy.py`. Same network, data and test set for all; batch size, "
        "schedule, loader and precision are each contender's own. A contender gives up after "
        f"{rules['max_epochs']} epochs; what it had spent by then is a lower bound of its ratio (>).",
    ]
    for name, work in result["work"].items():
        parts.append(f"**{work['model']} on {work['data']} to {work['target']:.0%}** (`{name}`)")
        rows = [
            [
                row["contender"],
                _number(row["seconds"]),
                f"{_number(row['seconds_min'])}-{_number(row['seconds_max'])}",
                f"{row['num_reached']}/{row['num_runs']}",
                _number(row["epoch_s"], 2),
                f"{'>' if row['ratio_is_bound'] else ''}{_number(row['ratio'])}",
            ]
            for row in work["rows"]
            if row["num_runs"]
        ]
        heads = ["", "seconds, median", "min-max", "reached", "s/epoch", "× traintime"]
        others = median(run["cores_used_by_others"] for run in work["runs"])
        parts += [_table(heads, rows), _where(work, others)]
    return "\n\n".join([*parts, RACE_CAVEATS])


def _steps(result: Result) -> str:
    works = result["settings"]["work"].split(",")
    rows: dict[str, list[str]] = {}
    for row in result["rows"]:
        cell = f"{row['ratio']:.2f} ({row['ratio_min']:.2f}-{row['ratio_max']:.2f})"
        rows.setdefault(row["contender"], []).append(cell)
    others = median(sample["cores_used_by_others"] for sample in result["samples"])
    return "\n\n".join(
        [
            "## A training step",
            "Time of a step over that of a plain tensor-slicing loop with `torch.optim`, timed beside "
            "it; `benchmarks/step_overhead.py`. Same network, precision and optimizer; traintime with "
            "clock, metrics, records and a checkpoint each second. Below 1 because it keeps freed "
            "memory and updates one flat vector, which the plain loop does not. Median (min-max) of "
            f"{result['settings']['repeats']} rounds, {result['settings']['threads']} thread(s).",
            _table(["", *works], [[name, *cells] for name, cells in rows.items()]),
            _where(result, others),
        ]
    )


def _forecasts(result: Result) -> str:
    rows = [
        [
            case["job"],
            f"{case['rates_step_s'] * 1e3:.2f}",
            f"{case['forecast_step_s'] * 1e3:.2f}",
            f"{case['actual_step_s'] * 1e3:.2f}",
            f"{case['actual_step_s'] / case['forecast_step_s']:.2f}",
            f"{case['forecast_total_s']:.1f}",
            f"{case['actual_total_s']:.1f}",
            "yes" if case["inside"] else "no",
        ]
        for case in result["cases"]
    ]
    heads = [
        "job",
        "step by rates, ms",
        "step as tried",
        "actual",
        "ratio",
        "total forecast, s",
        "actual",
        "inside",
    ]
    summary = result["summary"]
    return "\n\n".join(
        [
            "## Forecast against fact",
            "Every job is forecast from this machine's measured rates, then by a few steps tried right before "
            "it is trained, which is what `traintime train` promises by, then run; "
            "`benchmarks/forecast_check.py`. LeNet and an MLP are among the probes as whole networks, so the "
            "small jobs are near what was measured; ResNet and VGG are not. Median error of a step by rates "
            f"{summary['rates_step_median_error']:.0%}, as tried {summary['step_median_error']:.0%}, of the total {summary['total_median_error']:.0%}; "
            f"{summary['total_coverage_of_80']:.0%} of the totals lay inside their 80 % interval "
            f"(n = {summary['cases']}).",
            _table(heads, rows),
            _where(result),
        ]
    )


def _busy(result: Result) -> str:
    rows: list[list[str]] = []
    for place, by_variant in result["seconds"].items():
        defaults = by_variant["torch's defaults"]
        for variant, values in by_variant.items():
            ratio = median(a / b for a, b in zip(values, defaults, strict=True))
            rows.append([place, variant, f"{median(values) * 1e3:.1f}", f"{ratio:.2f}"])
    return "\n\n".join(
        [
            "## A busy machine",
            "A training step of LeNet, batch 256, bf16, in processes of their own, in turn; "
            f"`benchmarks/busy_machine.py`, n = {len(defaults)}. Ratios are to torch's defaults in the "
            "same round.",
            _table(["machine", "setting", "ms a step, median", "× defaults"], rows),
            _where(result),
        ]
    )


def _fused(result: Result) -> str:
    rows: list[list[str]] = []
    for batch, seconds in result["seconds"].items():
        native = [v for name, v in seconds.items() if name.startswith("native")]
        best = min(native, key=median)
        for name, values in seconds.items():
            ratio = median(a / b for a, b in zip(values, best, strict=True))
            rows.append([batch, name, f"{median(values) * 1e3:.2f}", f"{ratio:.2f}"])
    return "\n\n".join(
        [
            "## Fused convolutions",
            "Forward and backward of LeNet on 28×28, in turn in one process; "
            f"`benchmarks/fused_convolution.py`, n = {len(best)}.",
            _table(["", "computed as", "ms, median", "× the best native"], rows),
            _where(result),
        ]
    )


def _compiled(result: Result) -> str:
    rows = []
    for row in result["rows"]:
        low, high = min(row["ratios"]), max(row["ratios"])
        rows.append(
            [
                f"{row['model']}, {row['precision']}, {row['batch_size']}",
                f"{row['eager_s'] * 1e3:.3g}",
                f"{row['compiled_s'] * 1e3:.3g}",
                f"{median(row['ratios']):.2f} ({low:.2f}-{high:.2f})",
                f"{row['compile_s']:.0f}",
            ]
        )
    found = result["found"]
    heads = ["", "ms a step", "compiled", "ratio", "s to compile"]
    parts = [
        "## Compiled steps",
        "Steps of the networks of `benchmarks/unseen_models.py` as they are and by torch.compile, in turn in one "
        f"process; `benchmarks/compiled_steps.py`, n = {len(result['rows'][0]['ratios'])} rounds (least to most). "
        f"Over {found['cases']} of them the mean ratio is {found['mean']:.2f}, and its logarithm varies by "
        f"{found['sigma']:.2f} from one to another: on a processor nothing is gained by it as a rule. A forecast takes such "
        "a step for as long as it was, and for as much less sure; what the capture says that a compiler can join told "
        "less than that here.",
        _table(heads, rows),
    ]
    if result["problems"]:
        parts.append(f"Not compiled: {'; '.join(result['problems'])}.")
    return "\n\n".join([*parts, _where(result)])


def _optimizers(result: Result) -> str:
    rows = [
        [name, *(f"{median(column) * 1e3:.3g}" for column in zip(*rounds, strict=True))]
        for name, rounds in result["seconds"].items()
    ]
    return "\n\n".join(
        [
            "## Optimizers",
            "LeNet's parameters; construction with the first step, and a later step; "
            f"`benchmarks/optimizer_cost.py`, n = {len(next(iter(result['seconds'].values())))}.",
            _table(["", "first, ms", "later, ms"], rows),
            _where(result),
        ]
    )


def _waiting(result: Result) -> str:
    rows = []
    for row in result["rows"]:
        goal = "–"
        if "against_goal_s" in row:
            more = "+" if row["question"] == "all" else ""
            goal = f"{more}{row['against_goal_s']:.2f} of {more}{row['goal_s']:g}"
        times = [f"{row[name]:.2f}" for name in ("median_s", "min_s", "max_s")]
        rows.append([row["contender"], *times, goal])
    silent = [f"{name} ({why.split(';')[0]})" for name, why in result["problems"].items()]
    return "\n\n".join(
        [
            "## Waiting for a forecast",
            "From the shell, start of the process to its end: ResNet-50 on one device and on all of the catalogue, "
            "and a module of 300 layers from a file; `benchmarks/forecast_latency.py`, "
            f"n = {result['settings']['rounds']} in turn. The goal of all devices is what they take longer than one. Beside "
            "them stands what others need to answer less of the same module: memory, operations, hardly any the time."
            + f" No answer came from {' or '.join(silent)}."
            * bool(silent),
            _table(["", "s, median", "least", "most", "goal"], rows),
            _where(result),
        ]
    )


def _seeds(result: Result) -> str:
    common: dict[str, dict[str, float]] = {}
    for row in result["rows"]:
        common.setdefault(row["pair"], {})[row["metric"]] = row["common"]
    rows = [
        [pair.replace(":", " on "), f"{of['accuracy']:.0%}", f"{of['loss']:.0%}"]
        for pair, of in common.items()
    ]
    return "\n\n".join(
        [
            "## What a seed decides",
            "The share of the variance of the validations' logarithms that two runs of one seed have in common, one in "
            "fp32 as torch computes it, one in bf16 with fused convolutions where there are any; median over epochs; "
            f"`benchmarks/same_seed.py`, {result['settings']['seeds']} seeds. The median of all is "
            f"{result['median']:.0%}. That is why a preset's run of the seed at hand tells more than its others.",
            _table(["preset", "of accuracy", "of loss"], rows),
            _where(result),
        ]
    )


def _etas(result: Result) -> str:
    return "\n\n".join(
        [
            "## When will it end, and where",
            "Recorded runs are replayed, and asked after a share of each; `benchmarks/eta_accuracy.py`. "
            f"{_runs_in_words(result)} What is fitted, shapes and constants, comes from other sources than the one "
            "that is asked. The form of the model was chosen with these errors in sight, over some 50 rounds, so "
            "expect somewhat more of sources that nobody has looked at. With the runs recorded here in sight it was "
            "also decided that every source's shapes count as much as any other's, that a run is as likely as not to "
            "go as others of its trainer, and the least spread of a step's time was set.",
            "**Time to the end**, error of the whole duration, median · 90th percentile, of the runs recorded here. "
            "Bars are given the whole number of steps. Disturbed runs share the processor with another program in "
            "their middle third.",
            _end_table(result),
            "**Time to a target**, error of the time from the start, median, of what the clock shows: when the target "
            "is reached, if it is; beside it the best of last value, power law, and power law with a floor, and a "
            "guess that knows nothing: three quarters of the plan. Targets are the official one, values that were "
            "reached at 60, 75 and 90 % of the run, and one that never was. "
            f"{_with_chance_in_words(result)} The interval is held against targets that were reached; what it leaves out on "
            "each side was fitted to sources left out, and fitted once more with some room when a first fit had left "
            "too many early targets out. How far the "
            "metric will fall when the learning rate comes down can hardly be seen before it does; of runs whose "
            "trainer nobody has seen it is guessed from those of other trainers, which is why ends of the runs recorded "
            "here, short ones of small networks that gain little from it, are then told worse than by the last value.",
            _target_table(result["rows"], "source left out"),
            "What a run gets whose trainer is known, as traintime's own is, but no run on its data set:",
            _target_table(_at_quarter_and_half(result["rows_data_left_out"]), "data set left out"),
            "People choose targets that a run reaches late; how strongly that is believed was fitted to official "
            "targets. Of targets that few would choose, values that were reached at 15, 30 and 45 % of the run, it says "
            "too late a time unless the curve is clear:",
            _early_table(result["rows"]),
            "**Will it get there?** The chance that stands beside the time holds if, of all targets that got it, that "
            "share is reached. Where the learning rate's schedule is not known, the chance is given too low; runs of "
            "traintime know theirs. Reached, of targets with a plan, the whole source left out:",
            _reliability_table(result["calls"]),
            "Who calls a target unreachable below some chance pays with false alarms, which are the same said of "
            "targets that are reached. Called · false alarms:",
            _trade_off_table(result["calls"]),
            f"Called below {result['called_below']:.0%}, by source:",
            _called_table(result["rows"], "source left out"),
            _called_table(
                [row for row in result["rows_data_left_out"] if row["of"] == "recorded here"],
                "data set left out",
            ),
            _oracle_in_words(result["oracle"]),
            _where(result),
        ]
    )


def _runs_in_words(result: Result) -> str:
    named = ", ".join(f"{source} {count}" for source, count in result["runs"].items())
    return f"Runs: {named}."


def _with_chance_in_words(result: Result) -> str:
    """Say how far off the time is that allows for a target not to be reached."""
    row = next(r for r in result["rows"] if (r["of"], r["share"]) == ("all with a plan", 0.25))
    error = row["time_to_target"]["traintime, the end if it is unlikely"]
    return (
        "Were it told instead when it is reached with an even chance, and the end of the run where it has no such chance, "
        f"the error would be {error:.0%} after a quarter of all runs with a plan."
    )


def _at_quarter_and_half(rows: list[Result]) -> list[Result]:
    return [row for row in rows if row["share"] in (0.25, 0.5) and "plan" not in row["of"]]


def _oracle_in_words(oracle: Result) -> str:
    """Say what calling could be at best."""
    seeds = oracle["rows"][0]
    return (
        f"Who knew, after {oracle['share']:.0%}, the best value of a run to {seeds['spread']:.1%} of what it gains, "
        "which is the spread from seed to seed of AlgoPerf's repeated trials, would call "
        f"{seeds['called']:.0%} with {seeds['false_alarms']:.0%} false alarms, as some targets are the very best that "
        f"a run reached. To call nine in ten with one false alarm in twenty takes {oracle['needed']:.0%} of the gain; "
        f"with as few, who knew it to {_spreads_in_words(oracle['rows'][1:])}."
    )


def _spreads_in_words(rows: list[Result]) -> str:
    said = [f"{row['spread']:.0%} would call {row['called_at_one_in_twenty']:.0%}" for row in rows]
    return ", to ".join(said)


def _end_table(result: Result) -> str:
    rows: list[list[str]] = []
    for row in result["time_to_end"]:
        cells = [f"{row['median'][n]:.1%} · {row['p90'][n]:.0%}" for n in row["median"]]
        kind = ", disturbed" if row["disturbed"] else ""
        rows.append(
            [f"{row['share']:.0%}{kind}", str(row["runs"]), *cells, f"{row['coverage']:.0%}"]
        )
    return _table(["after", "runs", *result["time_to_end"][0]["median"], "inside 80 %"], rows)


SIMPLE = ("last value", "power law", "power law with floor")


def _target_table(found: list[Result], left_out: str) -> str:
    rows: list[list[str]] = []
    for row in found:
        times, final = row["time_to_target"], row["final"]
        if not times:
            continue
        best = min(times[name] for name in SIMPLE)
        rows.append(
            [
                row["of"],
                f"{row['share']:.0%}",
                f"{times['traintime']:.0%}",
                f"{best:.0%}",
                f"{times['three quarters of the plan']:.0%}"
                if "three quarters of the plan" in times
                else "–",
                _percent(row["coverage_of_time"]),
                f"{final['traintime']:.0%} ({min(final[n] for n in SIMPLE):.0%})" if final else "–",
                _percent(row["coverage_of_final"]),
                f"{row['targets_reached']} + {row['targets_never_reached']}",
            ]
        )
    heads = [left_out, "after", "traintime", "best simple", "guess", "inside 80 %"]
    heads += ["final error (best simple)", "inside 80 %", "targets reached + never"]
    return _table(heads, rows)


def _early_table(found: list[Result]) -> str:
    """Show the targets that few would choose."""
    rows: list[list[str]] = []
    for row in found:
        times = row["time_to_early_target"]
        if times and row["of"] == "all with a plan":
            best = min(times[name] for name in SIMPLE)
            inside = _percent(row["coverage_of_early_time"])
            said = [f"{times['traintime']:.0%}", f"{best:.0%}", inside, str(row["early_targets"])]
            rows.append([f"{row['share']:.0%}", *said])
    return _table(["after", "traintime", "best simple", "inside 80 %", "targets"], rows)


def _by_schedule(calls: list[Result]) -> list[tuple[str, Result]]:
    """Return what was told at a quarter and at half of runs, by whether their rate is known."""
    return [
        (f"rate {'known' if row['scheduled'] else 'not known'}, {row['share']:.0%}", row)
        for row in calls
        if row["share"] in (0.25, 0.5)
    ]


def _reliability_table(calls: list[Result]) -> str:
    columns = _by_schedule(calls)
    cells = {
        (name, one["low"], one["high"]): f"{one['reached']:.0%} of {one['targets']}"
        for name, row in columns
        for one in row["reliability"]
    }
    rows = [
        [f"{low:.0%} - {high:.0%}", *(cells.get((name, low, high), "–") for name, _ in columns)]
        for low, high in sorted({(low, high) for _, low, high in cells})
    ]
    return _table(["chance told", *(name for name, _ in columns)], rows)


def _trade_off_table(calls: list[Result]) -> str:
    columns = _by_schedule(calls)
    rows: list[list[str]] = []
    for at in zip(*(row["trade_off"] for _, row in columns), strict=True):
        said = [f"{_percent(one['called'])} · {_percent(one['false_alarms'])}" for one in at]
        rows.append([f"{at[0]['below']:.0%}", *said])
    return _table(["called below", *(name for name, _ in columns)], rows)


def _called_table(found: list[Result], left_out: str) -> str:
    rows = [
        [
            row["of"],
            f"{row['share']:.0%}",
            _percent(row["called"]),
            _percent(row["false_alarms"]),
            _percent(row["false_alarms_official"]),
        ]
        for row in found
        if row["share"] in (0.25, 0.5) and row["called"] is not None
    ]
    heads = [left_out, "after", "called", "false alarms", "of official targets"]
    return _table(heads, rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _deadlines(result: Result) -> str:
    rows = [
        [
            row["job"],
            row["way"],
            f"{row['took_s'][0]:.1f}-{row['took_s'][1]:.1f} of {row['budget_s']:g} s",
            f"{row['epochs']:.0f}",
            f"{row['accuracy']:.2%} ({row['low']:.2%}-{row['high']:.2%})",
        ]
        for row in result["rows"]
    ]
    return "\n\n".join(
        [
            "## Deadlines",
            "The same time for three ways to train; `benchmarks/deadline.py`, n = "
            f"{result['rows'][0]['n']} seeds each. *By hand* is as many epochs as fit on this machine, found by "
            "training before; a *timer* cuts off a schedule of twice as many. Accuracy on the test set at the last "
            "validation in time, mean (lowest-highest).",
            _table(["job", "way", "took", "epochs", "accuracy"], rows),
            _where(result),
        ]
    )


SECTIONS = {
    "time_to_accuracy": _race,
    "step_overhead": _steps,
    "forecast_check": _forecasts,
    "forecast_latency": _waiting,
    "busy_machine": _busy,
    "fused_convolution": _fused,
    "compiled_steps": _compiled,
    "optimizer_cost": _optimizers,
    "same_seed": _seeds,
    "eta_accuracy": _etas,
    "deadline": _deadlines,
}


def _reliability(found: dict[str, Result]) -> str:
    """Return the last figures of what runs survive."""
    parts = ["## Last figures"]
    if survival := found.get("survival"):
        rows = [
            [
                f"{kills['every_s']:g} s" if kills["every_s"] else "as often as possible",
                str(kills["count"]),
                str(kills["while_writing"]),
                str(kills["before_pruning"]),
                f"{kills['worst_loss_s']:.2f} s",
                f"{kills['runs']} of {kills['runs']}",
            ]
            for kills in survival["kills"]
        ]
        heads = ["checkpoints every", "processes killed", "while one was written",
                 "before the oldest was dropped", "most training lost", "runs that ended like a whole one"]  # fmt: skip
        parts.append(_table(heads, rows))
        (writers,) = survival["writers"]
        slowest = max(survival["million"], key=lambda figures: figures["seconds"])
        parts.append(
            f"{writers['kills']} processes that wrote to one ledger were killed: each of the "
            f"{writers['rows_acknowledged']:,} rows that they had been told are kept was there. With a million "
            f"runs `traintime {slowest['command']}` took {slowest['seconds']:.2f} s of the processor, as the slowest "
            f"of {len(survival['million'])} commands. `benchmarks/survival.py`. {_where(survival)}"
        )
    if cost := found.get("checkpoint_cost"):
        parts.append(_checkpoint_cost(cost))
    return "\n\n".join(parts)


def _checkpoint_cost(result: Result) -> str:
    """Return what a checkpoint costs the training thread, and whole runs."""
    rows = []
    for row in result["writer"]:
        times = {name: median(values) for name, values in row["times"].items()}
        rows.append(
            [
                row["name"],
                f"{row['state_bytes'] / 1e6:,.1f} MB",
                *(f"{1e3 * times[way]:,.1f}" for way in ("behind_s", "at_once_s", "torch_save_s")),
                f"{times['behind_s'] / result['interval_s']:.3%}",
                str(row["n"]),
            ]
        )
    heads = ["state", "size", "written behind, ms", "at once, ms", "torch.save without sync, ms",
             f"share at every {result['interval_s']:g} s", "n"]  # fmt: skip
    parts = ["**What a checkpoint costs** the training thread, medians:", _table(heads, rows)]
    if result["runs"]:
        heads = ["run", "time with over without checkpoints (range)", "saved every", "n",
                 f"share at every {result['interval_s']:g} s"]  # fmt: skip
        rows = [
            [
                run["name"],
                f"{median(run['ratios']):.3f} ({min(run['ratios']):.3f}-{max(run['ratios']):.3f})",
                f"{run['every_s']:g} s",
                str(run["n"]),
                f"{run['share_at_interval']:.2%}",
            ]
            for run in result["runs"]
        ]
        parts += [
            "Whole runs, in turn with and without, saving far more often than by default:",
            _table(heads, rows),
        ]
    busy = max((run["cores_used_by_others"] for run in result["runs"]), default=None)
    parts.append(f"`benchmarks/checkpoint_cost.py`. {_where(result, busy)}")
    return "\n\n".join(parts)


def _readme(found: dict[str, Result]) -> str:
    summary = found["forecast_check"]["summary"]
    lines = [
        "## How accurate, how fast",
        "**Forecasts of our own networks**: median error of a step by the machine's measured rates "
        f"{summary['rates_step_median_error']:.0%}, after a few steps {summary['step_median_error']:.0%}, of a whole "
        f"job then {summary['total_median_error']:.0%}; "
        f"{summary['total_coverage_of_80']:.0%} of {summary['cases']} jobs ended inside their 80 % "
        "interval. LeNet and an MLP are among the probes, so the small jobs are near what was measured.",
        _elsewhere(found),
        _etas_summary(found["eta_accuracy"]),
        "**Time to accuracy**, seconds from the start of the process, median of the seeds:",
        _race_summary(found["time_to_accuracy"]),
        RACE_CAVEATS,
        f"**A step** ({found['step_overhead']['settings']['work']}) takes this multiple of a plain "
        "tensor-slicing loop's, median over rounds: " + _step_summary(found["step_overhead"]),
        _where(next(iter(found["time_to_accuracy"]["work"].values())))
        + " Every table: [docs/measurements.md](docs/measurements.md).",
    ]
    return "\n\n".join(lines)


def _elsewhere(found: dict[str, Result]) -> str:
    """Say how near forecasts come for models and devices that the fit never saw."""
    rows = [
        [
            row["title"],
            f"{row['n']:,}",
            _errors(row["law"]),
            f"{row['law']['coverage_of_80']:.0%}",
            _errors(row["baselines"]["constant efficiency"]),
        ]
        for row in found["forecast_accuracy"]["rows"].values()
    ]
    rows += [
        [row["title"], str(row["n"]), _errors(row["found"]), row["inside"], "–"]
        for row in found["forecast_here"]["rows"]
    ]
    heads = ["", "rows", "error, median · 90th percentile", "inside 80 %", "FLOP / peak, fitted"]
    return "\n\n".join(
        [
            "**Forecasts of models and devices that were never seen**, by a law fitted to all others:",
            _table(heads, rows),
            "The law's form was chosen with these errors in sight, so expect somewhat more on tables that nobody has "
            "looked at. By family and device, with the largest errors: [docs/accuracy.md](docs/accuracy.md).",
        ]
    )


def _errors(summary: dict[str, float]) -> str:
    return f"{summary['median']:.1%} · {summary['p90']:.0%}"


def _etas_summary(result: Result) -> str:
    """Say how early the end and a target are known."""
    at_tenth = next(r for r in result["time_to_end"] if r["share"] == 0.1 and not r["disturbed"])
    ends = ", ".join(f"{name} {error:.0%}" for name, error in at_tenth["median"].items())
    row = next(r for r in result["rows"] if (r["of"], r["share"]) == ("all with a plan", 0.25))
    times = row["time_to_target"]
    best = min(times[name] for name in SIMPLE)
    return (
        f"**The clock**, median errors: of the time to the end after a tenth of {at_tenth['runs']} recorded runs "
        f"{ends}; of the time to a target that is reached, after a quarter, by a fit to the other sources alone, "
        f"{times['traintime']:.0%} where the best simple extrapolation is {best:.0%} off."
    )


def _race_summary(result: Result) -> str:
    works = result["work"]
    heads = ["", *(f"{w['model']}, {w['data']}, {w['target']:.0%}" for w in works.values())]
    contenders = [row["contender"] for row in next(iter(works.values()))["rows"]]
    rows: list[list[str]] = []
    for index, contender in enumerate(contenders):
        cells: list[str] = []
        for work in works.values():
            row = work["rows"][index]
            reached = _number(row["seconds"]) if row["seconds"] else "not reached"
            bound = ">" if row["ratio_is_bound"] else ""
            times = "" if index == 0 or not row["ratio"] else f" ({bound}{row['ratio']:.1f} ×)"
            cells.append(reached + times)
        rows.append([contender, *cells])
    return _table(heads, rows)


def _step_summary(result: Result) -> str:
    by_contender: dict[str, list[float]] = {}
    for row in result["rows"]:
        by_contender.setdefault(row["contender"], []).append(row["ratio"])
    spans = [
        f"{NAMES.get(name, name)} {_span(ratios)}"
        for name, ratios in by_contender.items()
        if name != "plain"
    ]
    return ", ".join(spans) + "."


NAMES = {
    "dataloader": "PyTorch's DataLoader",
    "lightning": "Lightning",
    "keras_torch": "Keras on torch",
}


def _span(ratios: list[float]) -> str:
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    return low if low == high else f"{low}-{high}"


def _where(result: Result, cores_used_by_others: float | None = None) -> str:
    facts = result["measured_on"]
    packages = facts["packages"]
    ours = next(iter(packages.values()))
    for found in packages.values():
        ours = {**found, **ours}
    named = ("python", "torch", "lightning", "keras", "jax", "tensorflow_cpu", "tensorflow-cpu")
    versions = ", ".join(f"{name} {ours[name]}" for name in named if name in ours)
    line = (
        f"{facts['cpu_model']}, {facts['physical_cores']} cores, {facts['date'][:10]}, {versions}"
    )
    if cores_used_by_others is not None:
        line += f"; others used {cores_used_by_others:.2f} cores meanwhile"
    return f"*{line}.*"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rule = "|".join(["---", *["--:"] * (len(heads) - 1)])
    lines = [" | ".join(heads), rule, *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if line != rule else f"|{line}|" for line in lines)


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
