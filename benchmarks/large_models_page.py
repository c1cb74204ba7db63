"""The part on large language models of docs/accuracy.md, from results/large_models.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

HEADINGS = {
    "source": "source",
    "device": "source and device",
    "model": "model",
    "devices": "devices",
    "kept": "activations",
    "length": "length of a sample",
}


def section(result: dict[str, Any]) -> list[str]:
    """Return the page's part on large language models, as paragraphs of Markdown."""
    return [
        "### Large language models",
        INTRODUCTION,
        *(_groups(HEADINGS[name], groups) for name, groups in result["by"].items()),
        _compiled(result["nanogpt_compiled"], result["by"].get("device", {})),
        KINDS,
        _factors(result["factors"]),
        _memory(result),
        _worst(result["worst"]),
        f"Left out: {result['left_out']}.",
    ]


INTRODUCTION = (
    "Trainings of language models from 125 million to 70 billion parameters on 2 to 512 devices, "
    "each forecast as `traintime forecast` answers it. The law is fitted to those rows of "
    "llm-foundry and vTrain that one node took without computing anything again "
    "(`calibration/large_steps.py`); here each of both is forecast by a law that saw nothing of "
    "it, and no law saw the others. How much of the exchange gathering ahead hides is the one "
    "parameter beside it (`calibration/sharded.py`), from how the steps of one model differ with "
    "devices and micro-batches, not from how long they take. Beside them "
    "stand 6·N·tokens (8·N where blocks compute again) over the peak times the median share of it "
    "that the other sources reach, and the data sheet's roofline, both with perfect scaling. "
    "llm-foundry trains MPT by FSDP, all weights divided; fms-fsdp a Llama that is divided within "
    "nodes and copied between them, forecast as divided over all; vTrain Megatron-LM's GPT with "
    'nothing divided; nanoGPT says "about 4 days". '
    "The forecasts were looked at some twenty times while this was written: whether gathered "
    "blocks compute in 16 bits throughout, and whether links and network are busy at once, was "
    "told by memory and by scaling; that nanoGPT's attention and GELU were plain operations yet, "
    "by the date of its figures, once a forecast of compiled steps had come out too short."
)
KINDS = (
    "What each part of a step would have to be multiplied by for the least error, with what that "
    "leaves: the parts are off, not what is made of them. Without llm-foundry the law has no fused "
    "attention among its measurements, and all of it is told by other kinds. vTrain's smaller "
    "models wait for a host that dispatches Megatron-LM's operations, slower than torch's own."
)


COMPILED = ("fms-fsdp", "nanogpt")
"""Sources whose steps were compiled."""


def _compiled(ratios: Mapping[str, float], groups: Mapping[str, Any]) -> str:
    biases = [group["law"]["bias"] for name, group in groups.items() if name.startswith(COMPILED)]
    said = (
        "What compiling changes is read off each capture (decision 19), and fitted to nothing. "
        "nanoGPT's README of December 2022 has it cut a step from about 250 ms to 135, to "
        f"{ratios['told']:.2f} of it; forecast, for a batch and a device that it does not name, "
        f"are {ratios['forecast']:.2f}."
    )
    if not biases:
        return said
    off = math.sqrt(fmean(bias**2 for bias in biases))
    return (
        f"{said} The {len(biases)} compiled trainings here are off by {off:.2f} in the logarithm "
        "(root mean square); by that much intervals of compiled steps are wider."
    )


def _groups(heading: str, groups: Mapping[str, Any]) -> str:
    heads = [
        heading,
        "rows",
        "median · 90th percentile",
        "inside 80 %",
        "median log(forecast / actual)",
        "constant share of peak",
        "roofline",
        "called not to fit",
    ]
    return _table(heads, [_line(" ".join(name.split()), row) for name, row in groups.items()])


def _line(name: str, row: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{row['n']:,}",
        _pair(row["law"]),
        f"{row['law']['coverage_of_80']:.0%}",
        f"{row['law']['bias']:+.2f}",
        _pair(row["share of peak"]),
        _pair(row["roofline"]),
        str(row["called not to fit"]),
    ]


def _factors(found: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(name for one in found.values() for name in one["factors"]))
    rows = [
        [
            name,
            str(one["n"]),
            *(f"{one['factors'][part]:.2f}" if part in one["factors"] else "–" for part in names),
            f"{one['rest']:.1%}",
        ]
        for name, one in found.items()
    ]
    return _table(["factors", "rows", *names, "median error left"], rows)


def _memory(result: Mapping[str, Any]) -> str:
    wrong, stated = result["called_not_to_fit"], result["stated_memory"]
    line = f"All {result['all']['n']:,} ran, so all fit; {len(wrong):,} of them are called not to"
    line += f": {', '.join(map(_with_memory, wrong))}." if wrong else "."
    filled = "; ".join(
        f"{source} {' · '.join(f'{share:.0%}' for share in shares)}"
        for source, shares in result["filled"].items()
    )
    expected, said = (stated[name] / 1e9 for name in ("forecast_bytes", "stated_bytes"))
    return (
        f"{line} How much of a device's memory is expected to be filled (10 · 50 · 90 % of rows): "
        f"{filled}. litgpt states {said:.1f} GB of tensors for TinyLlama with all weights trained "
        f"in 16 bits (4 samples of at most 512 tokens at a time); {expected:.1f} GB are forecast."
    )


def _with_memory(one: Mapping[str, Any]) -> str:
    return f"{_name(one)} ({one['peak_gib']:.0f} GiB)"


def _worst(worst: Sequence[Mapping[str, Any]]) -> str:
    named = [f"{_name(one)} ({one['log_error']:+.2f})" for one in worst]
    return "Largest errors, log(forecast / actual): " + ", ".join(named) + "."


def _name(one: Mapping[str, Any]) -> str:
    return f"{one['model']} of {one['length']:,} tokens on {one['device']}"


def _pair(summary: Mapping[str, float]) -> str:
    return f"{summary['median']:.1%} · {summary['p90']:.1%}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
