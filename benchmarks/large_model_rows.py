"""Public measurements of trainings of language models whose devices share each batch.

What of them the law is fitted to says calibration/large_steps.py, what is left out `LEFT_OUT`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from traintime.workload.kernels import Numerics

LEFT_OUT = (
    "rows in 8 bits; tensor, pipeline or expert parallelism; adapters (LoRA); tables that do not "
    "say the batch of a device; recomputing of some blocks alone (fms-fsdp's larger models)"
)
NANOGPT_STEPS = 600_000
"""Of nanoGPT's config/train_gpt2.py, 480 samples each, which its README says take about 4 days."""
NANOGPT_STEP_S = (0.250, 0.135)
"""As it is and compiled, by the same README ("At the time of writing (Dec 29, 2022)"). Neither
device nor batch is named, so their ratio alone is compared."""


@dataclass(frozen=True)
class LargeRow:
    """A measured step.

    Args:
        source: Table that it stands in.
        model: A shipped model, or one of large_model_graphs.py.
        parameters: Learned values.
        length: Tokens of a sample.
        device: Key of the catalogue.
        num_devices: That share each batch.
        micro_batch: Samples that a device computes at a time.
        accumulate: Micro-batches of a step.
        precision: As a user would ask for it.
        sharding: The same.
        recompute: The same.
        compiled: The same.
        seconds: Of a step.
    """

    source: str
    model: str
    parameters: float
    length: int
    device: str
    num_devices: int
    micro_batch: int
    accumulate: int
    precision: str
    sharding: str
    recompute: bool
    compiled: bool
    seconds: float

    @property
    def batch_size(self) -> int:
        """Samples of a step over all devices."""
        return self.num_devices * self.micro_batch * self.accumulate

    @property
    def tokens(self) -> int:
        """Tokens of a step over all devices."""
        return self.batch_size * self.length


def large_model_rows(folder: Path) -> list[LargeRow]:
    """Return every usable row of llm_training.csv."""
    with (folder / "llm_training.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        *_llm_foundry(rows),
        *_fms(rows),
        *_vtrain(rows),
        *_nanogpt(rows),
    ]


def numerics_of(row: LargeRow) -> Numerics:
    """Return what a row's graph is captured with: where weights are gathered, as in 16 bits."""
    return "amp" if row.precision == "amp" and row.sharding != "full" else "fp32"


def _of(rows: list[dict[str, str]], source: str, metric: str) -> Iterator[dict[str, str]]:
    return (row for row in rows if row["source_id"] == source and row["metric"] == metric)


def _notes(row: Mapping[str, str]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in row["notes"].split(";") if "=" in part)


def _llm_foundry(rows: list[dict[str, str]]) -> Iterator[LargeRow]:
    """FSDP with FULL_SHARD; weights are gathered in bf16, a batch is split as evenly as it goes."""
    for row in _of(rows, "llm-foundry", "tokens_per_s"):
        notes, count = _notes(row), int(row["n_devices"])
        if "fp8" in row["precision"]:
            continue
        accumulate, length = int(notes["grad_accum"]), int(row["seq_len"])
        samples = int(row["global_batch"])
        yield LargeRow(
            source="llm-foundry",
            model=f"mpt:{row['model'].removeprefix('mpt-')}",
            parameters=float(row["params_m"]) * 1e6,
            length=length,
            device=row["hardware"],
            num_devices=count,
            micro_batch=samples // (count * accumulate),
            accumulate=accumulate,
            precision="amp",
            sharding="full",
            recompute=notes["act_ckpt"] == "True",
            compiled=False,
            seconds=samples * length / float(row["value"]),
        )


def _fms(rows: list[dict[str, str]]) -> Iterator[LargeRow]:
    """FSDP within each node and copies between nodes (HSDP), forecast as FSDP over all."""
    for row in _of(rows, "fms-fsdp", "tokens_per_s"):
        if "no AC" not in row["notes"]:
            continue
        count, micro_batch, length = (
            int(row[name]) for name in ("n_devices", "batch_per_device", "seq_len")
        )
        yield LargeRow(
            source="fms-fsdp",
            model="llama-2-7b",
            parameters=6_738_415_616,
            length=length,
            device=row["hardware"],
            num_devices=count,
            micro_batch=micro_batch,
            accumulate=1,
            precision="amp",
            sharding="full",
            recompute=False,
            compiled=True,
            seconds=count * micro_batch * length / float(row["value"]),
        )


def _vtrain(rows: list[dict[str, str]]) -> Iterator[LargeRow]:
    """Megatron-LM with weights in fp16, those rows where devices share the batch alone.

    Those of several nodes are of one model with 1 to 8 samples at a time, alike fast. With 8 its
    activations would take some 200 GB of 80, so they are taken to be computed again, as in
    Narayanan et al. 2021, whose model it is.
    """
    for row in _of(rows, "vtrain", "step_ms"):
        notes = _notes(row)
        if (notes["TP"], notes["PP"]) != ("1", "1"):
            continue
        count, micro_batch = int(row["n_devices"]), int(row["batch_per_device"])
        yield LargeRow(
            source="vtrain",
            model=f"megatron:h{notes['hidden']}-l{notes['layers']}-a{notes['heads']}",
            parameters=float(row["params_m"]) * 1e6,
            length=int(row["seq_len"]),
            device=row["hardware"],
            num_devices=count,
            micro_batch=micro_batch,
            accumulate=int(row["global_batch"]) // (count * micro_batch),
            precision="half",
            sharding="none",
            recompute=row["notes"].startswith("multi-node"),
            compiled=False,
            seconds=float(row["value"]) / 1e3,
        )


def _nanogpt(rows: list[dict[str, str]]) -> Iterator[LargeRow]:
    for row in _of(rows, "nanogpt", "hours_to_target"):
        yield LargeRow(
            source="nanogpt",
            model="nanogpt:124m",
            parameters=124e6,
            length=int(row["seq_len"]),
            device=row["hardware"],
            num_devices=8,
            micro_batch=12,
            accumulate=5,
            precision="amp",
            sharding="none",
            recompute=False,
            compiled=True,
            seconds=float(row["value"]) * 3600 / NANOGPT_STEPS,
        )
