"""Public measurements of a job on several devices, each with the same job on one or on fewer.

Both rows of a pair are of one table, model, precision and batch per device, and of one machine or
kind of it, so that what differs is what more devices cost: the exchange, and whatever they share.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

from graphs import load_graph
from measured_rows import (
    IN_HALF_WITH_ADAM,
    LAMBDA_MODELS,
    NVIDIA_MODELS,
    TENSORFLOW_MODELS,
)

EACH, ALL = "one process for each device", "one process for all devices"


@dataclass(frozen=True)
class Pair:
    """A measured micro-batch on several devices, and on one or fewer.

    Args:
        source: Table that it stands in.
        machine: As the table names it.
        model: As `graphs.subject` knows it.
        size: Side of the image or length of the sequence.
        device: Key of the device catalogue.
        num_devices: That share each batch.
        precision: "fp32", "tf32", "amp" or "half".
        memory_format: "contiguous" or "channels_last".
        batch_size: On each device.
        phases: "train" (with an update) or "gradients" (without).
        processes: `EACH` or `ALL`: how many processes drive the devices.
        value_bytes: Of one gradient as it is sent.
        overlaps: Whether gradients are sent while the backward goes on.
        reads_data: Whether batches are read and decoded rather than made up once.
        fewer_s: A micro-batch on fewer devices with the same batch on each.
        seconds: A micro-batch on all.
        fewer: How many fewer are.
        accumulate: Micro-batches of a step.
        fewer_accumulate: The same of the step on fewer.
    """

    source: str
    machine: str
    model: str
    size: int
    device: str
    num_devices: int
    precision: str
    memory_format: str
    batch_size: int
    phases: str
    processes: str
    value_bytes: float
    overlaps: bool
    reads_data: bool
    fewer_s: float
    seconds: float
    fewer: int = 1
    accumulate: int = 1
    fewer_accumulate: int = 1

    @property
    def efficiency(self) -> float:
        """Rate of a device among all over that of a device among fewer."""
        return self.fewer_s / self.seconds

    @property
    def gradient_bytes(self) -> float:
        """Of all gradients on one device as they are sent."""
        return self.value_bytes * num_parameters(self.model, self.size)


def pairs(folder: Path) -> list[Pair]:
    """Return every pair of all tables whose model can be captured."""
    return [
        *_lambda(folder),
        *_lambda_tensorflow(folder),
        *_nvidia(folder),
        *_nvidia_nodes(folder),
        *_mlperf(folder),
        *_ryujaehun(folder),
    ]


@cache
def num_parameters(model: str, size: int) -> int:
    """Return the learned values of a captured model."""
    for numerics in ("fp32", "amp"):
        graph = load_graph((model, size, numerics))
        if graph:
            return graph.parameters
    raise KeyError(f"{model} at {size} has not been captured")


def _table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _notes(row: Mapping[str, str]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in row["notes"].split(";") if "=" in part)


WHOLE_IN_HALF = ("bert-large-squad", "bert-base-squad", "ssd300-resnet50")
"""Their scripts keep weights, and so gradients, in 16 bits under "amp" (apex, level O2)."""


def _lambda(folder: Path) -> Iterator[Pair]:
    """The table pairs its rows itself: `scaling_eff` is against one device of the same machine."""
    tf32 = {row["hardware"] for row in _table(folder, "hardware_specs.csv") if row["tf32_tflops"]}
    for row in _table(folder, "lambda_pytorch.csv"):
        known, notes, num = LAMBDA_MODELS.get(row["model"]), _notes(row), int(row["n_devices"])
        batch = row["batch_per_device"] or notes.get("raw_batch_arg", "").replace("None", "")
        efficiency = notes.get("scaling_eff", "n/a")
        if not known or num == 1 or not batch or efficiency == "n/a":
            continue
        amp = row["precision"].startswith("amp")
        half = row["precision"] == "fp16" or (amp and row["model"] in WHOLE_IN_HALF)
        fp32 = "tf32" if row["hardware"] in tf32 else "fp32"
        mixed = "half" if row["model"] in IN_HALF_WITH_ADAM else "amp"
        seconds = int(batch) * num / float(row["value"])
        yield Pair(
            source="lambda",
            machine=row["hardware_raw"],
            model=known[0],
            size=known[1],
            device=row["hardware"],
            num_devices=num,
            precision=mixed if amp else "half" if row["precision"] == "fp16" else fp32,
            memory_format="contiguous",
            batch_size=int(batch),
            phases="train",
            processes=EACH,
            value_bytes=2.0 if half else 4.0,
            overlaps=True,
            reads_data=True,
            fewer_s=seconds * float(efficiency),
            seconds=seconds,
        )


def _lambda_tensorflow(folder: Path) -> Iterator[Pair]:
    """One process runs a copy of the graph on each device and sums with NCCL.

    XLA compiles each copy as a whole, so that nothing is sent before the backward has ended.
    """
    found: dict[tuple[str, ...], dict[int, list[dict[str, str]]]] = {}
    for row in _table(folder, "lambda_tensorflow.csv"):
        if row["mode"] == "train" and row["model"] in TENSORFLOW_MODELS:
            _, log, setting, *_ = row["path"].split("/")
            alike = log, re.sub(r"\d+gpus", "", setting), row["model"], row["batch_per_device"]
            found.setdefault(alike, {}).setdefault(int(row["n_devices"]), []).append(row)
    for (log, setting, model, batch), by_count in found.items():
        for num in sorted(by_count.keys() - {1} if 1 in by_count else ()):
            row = by_count[num][0]
            half = row["precision"] == "fp16"
            name, size = TENSORFLOW_MODELS[model]
            yield Pair(
                source="lambda-tf",
                machine=log.removesuffix(".logs"),
                model=name,
                size=size,
                device=row["hardware"],
                num_devices=num,
                precision="half" if half else "fp32",
                memory_format="contiguous",
                batch_size=int(batch),
                phases="train",
                processes=ALL,
                value_bytes=2.0 if half else 4.0,
                overlaps="XLA" not in log,
                reads_data="real" in setting,
                fewer_s=int(batch) / _rate(by_count[1]),
                seconds=num * int(batch) / _rate(by_count[num]),
            )


def _rate(rows: list[dict[str, str]]) -> float:
    return median(float(row["value"]) for row in rows)


BATCHES_BY_TEXT = {True: 256, False: 128}
"""Of the ResNets in 16 bits and in 32, by the text beside the tables."""
NVIDIA_FRAMEWORKS = ("pytorch", "tensorflow1", "tensorflow2", "paddlepaddle")


def _nvidia(folder: Path) -> Iterator[Pair]:
    """All start a process for each device: torch's and apex's wrappers, Horovod, fleet."""
    found: dict[tuple[str, ...], dict[int, dict[str, str]]] = {}
    for row in _table(folder, "nvidia_dle_train.csv"):
        known = row["framework"].split()[0] in NVIDIA_FRAMEWORKS and _nvidia_model(row)
        if known and row["metric"] == "samples_per_s" and row["n_devices"]:
            alike = row["path"], row["precision"], row["batch_per_device"]
            found.setdefault(alike, {})[int(row["n_devices"])] = row
    for (path, _, _), by_count in found.items():
        for num in sorted(by_count.keys() - {1} if 1 in by_count else ()):
            row, one = by_count[num], by_count[1]
            model = _nvidia_model(row)
            assert model
            name, size = model
            amp = row["precision"].startswith("amp")
            batch = int(row["batch_per_device"] or BATCHES_BY_TEXT[amp])
            yield Pair(
                source="nvidia-dle",
                machine=_notes(row).get("heading", path),
                model=name,
                size=size,
                device=row["hardware"],
                num_devices=num,
                precision="amp" if amp else row["precision"],
                memory_format="channels_last" if amp and "Classification" in path else "contiguous",
                batch_size=batch,
                phases="train",
                processes=EACH,
                value_bytes=2.0 if amp and path.startswith("PyTorch/Lang") else 4.0,
                overlaps=True,
                reads_data=True,
                fewer_s=batch / float(one["value"]),
                seconds=num * batch / float(row["value"]),
            )


def _nvidia_model(row: Mapping[str, str]) -> tuple[str, int] | None:
    if row["model"] in NVIDIA_MODELS:
        return NVIDIA_MODELS[row["model"]], 224
    if row["model"] == "SSD" and row["framework"].startswith("pytorch"):
        return LAMBDA_MODELS["ssd300-resnet50"]
    if row["model"] == "BERT" and "Fine-tuning" in row["notes"]:
        return LAMBDA_MODELS["bert-large-squad"]
    return None


PRETRAINED = {"BERT": LAMBDA_MODELS["bert-large-squad"], "BERT/biobert": ("hf:bert-base", 384)}
SAMPLES_OF_A_STEP = {"128": 65536, "512": 32768}
"""By length of the sequence, in all of NVIDIA's pretraining with LAMB (You et al. 2020)."""
MOST_PRETRAINED_AT_A_TIME = 1024
"""Larger numbers in the column of batches are those of whole steps."""


def _nvidia_nodes(folder: Path) -> Iterator[Pair]:
    """Steps are so large that each accumulates micro-batches: the fewer, the more devices."""
    found: dict[tuple[str, ...], dict[int, dict[str, str]]] = {}
    for row in _table(folder, "nvidia_dle_train.csv"):
        known = row["model"] in PRETRAINED and row["seq_len"] in SAMPLES_OF_A_STEP
        if known and row["metric"] == "samples_per_s" and row["batch_per_device"]:
            alike = row["path"], row["precision"], row["batch_per_device"], row["seq_len"]
            found.setdefault(alike, {})[int(row["n_devices"])] = row
    for (path, precision, batch_text, length), by_count in found.items():
        # One table has the batches of both its lengths in one column: 128128.
        doubled = len(batch_text) == 6 and batch_text[:3] == batch_text[3:]
        batch = int(batch_text[:3] if doubled else batch_text)
        fewest = min(by_count)
        for num in sorted(by_count.keys() - {fewest} if batch <= MOST_PRETRAINED_AT_A_TIME else ()):
            row, amp = by_count[num], precision.startswith("amp")
            name, size = PRETRAINED[row["model"]]
            step = SAMPLES_OF_A_STEP[length]
            yield Pair(
                source="nvidia-dle",
                machine=_notes(row).get("heading", path),
                model=name,
                size=size,
                device=row["hardware"],
                num_devices=num,
                precision="amp" if amp else precision,
                memory_format="contiguous",
                batch_size=batch,
                phases="train",
                processes=EACH,
                value_bytes=2.0 if amp and path.startswith("PyTorch") else 4.0,
                overlaps=True,
                reads_data=True,
                fewer_s=fewest * batch / float(by_count[fewest]["value"]),
                seconds=num * batch / float(row["value"]),
                fewer=fewest,
                accumulate=max(1, round(step / (batch * num))),
                fewer_accumulate=max(1, round(step / (batch * fewest))),
            )


def _mlperf(folder: Path) -> Iterator[Pair]:
    """ResNet-50 of one submitter in one round, with the same batch on each device."""
    found: dict[tuple[str, str, int], list[Pair]] = {}
    for entry in mlperf_entries(folder):
        alike = entry.machine, entry.device, entry.batch_size
        found.setdefault(alike, []).append(entry)
    for entries in found.values():
        fewest = min(entry.num_devices for entry in entries)
        fewer_s = median(entry.seconds for entry in entries if entry.num_devices == fewest)
        for entry in entries:
            if entry.num_devices > fewest:
                yield replace(entry, fewer=fewest, fewer_s=fewer_s)


def mlperf_entries(folder: Path) -> Iterator[Pair]:
    """Yield every entry of ResNet-50 that logged its rate, as a pair with itself."""
    for row in _table(folder, "mlperf_results.csv"):
        measured = row["metric"] == "samples_per_s" and row["model"] == "resnet50"
        if not measured or not row["batch_per_device"] or row["hardware"].startswith("cpu"):
            continue
        notes, num, batch = _notes(row), int(row["n_devices"]), int(float(row["batch_per_device"]))
        seconds = num * batch / float(row["value"])
        yield Pair(
            source="mlperf",
            machine=f"{notes['submitter']} {notes['round']}",
            model="tv:resnet50",
            size=224,
            device=row["hardware"],
            num_devices=num,
            precision="amp",
            memory_format="channels_last",
            batch_size=batch,
            phases="train",
            processes=EACH,
            value_bytes=2.0,
            overlaps=True,
            reads_data=True,
            fewer_s=seconds,
            seconds=seconds,
            fewer=num,
        )


def _ryujaehun(folder: Path) -> Iterator[Pair]:
    """DataParallel: a thread for each device, weights sent out and gradients fetched each step."""
    found: dict[tuple[str, ...], dict[int, dict[str, str]]] = {}
    for row in _table(folder, "ryujaehun_pytorch_gpu.csv"):
        if row["mode"] == "train" and row["precision"] in ("fp32", "fp16(pure)"):
            alike = row["hardware"], row["model"], row["precision"], row["batch_per_device"]
            found.setdefault(alike, {})[int(row["n_devices"])] = row
    for (device, model, precision, batch), by_count in found.items():
        half = precision != "fp32"
        for num in sorted(by_count.keys() - {1} if 1 in by_count else ()):
            yield Pair(
                source="ryujaehun",
                machine=by_count[num]["hardware_raw"],
                model=f"tv:{model}",
                size=224,
                device=device,
                num_devices=num,
                precision="half" if half else "tf32" if device.startswith("a100") else "fp32",
                memory_format="contiguous",
                batch_size=int(batch),
                phases="gradients",
                processes=ALL,
                value_bytes=2.0 if half else 4.0,
                overlaps=False,
                reads_data=False,
                fewer_s=float(by_count[1]["value"]) / 1e3,
                seconds=float(by_count[num]["value"]) / 1e3,
            )
