"""Public measurements of training steps and operations, read into rows that a fit understands.

The tables and their sources are described in the README.md beside them. Rows that do not say what
is needed to recompute them (the batch size, one device, a model that can be captured) are left out.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from traintime.workload.kernels import KINDS

FORMATS = {"nchw": "contiguous", "channels_last": "channels_last", "": ""}


@dataclass(frozen=True)
class StepRow:
    """One measured step of a whole model.

    Args:
        source: Table that it stands in.
        model: As `graphs.subject` knows it.
        family: Models of one family are held out together.
        size: Side of the image or length of the sequence; 0 for the model's own.
        device: Key of the device catalogue.
        precision: "fp32", "tf32", "amp" or "half" (weights in 16 bits too).
        memory_format: "contiguous", "channels_last" or "" if not stated.
        batch_size: On the device.
        phases: "train" (with an update), "gradients" (without), "forward" or "backward".
        software: Framework and version.
        seconds: Of them.
        parameters: Learned values by the table; 0 if it does not say.
        optimizer: Whose update it is, where there is one.
        waits_for_memory: Whether its forward takes longer beside its backward than kernels explain.
    """

    source: str
    model: str
    family: str
    size: int
    device: str
    precision: str
    memory_format: str
    batch_size: int
    phases: str
    software: str
    seconds: float
    parameters: float = 0.0
    optimizer: str = "sgd"
    waits_for_memory: bool = False


@dataclass(frozen=True)
class OpRow:
    """One measured operation: of NeuSight's table, `benchmarks/gpu_ops.py` or `best_products.py`.

    Args:
        kind: As `Kernel.kind`.
        device: Key of the device catalogue.
        sides: (batch, rows, columns, inner) of a product, else ().
        flops: 2 per multiply-add.
        num_bytes: Read and written.
        window: Side of a convolution's kernel; 1 otherwise.
        seconds: Measured.
        role: "forward", "backward" (to what came in) or "weight" (to the weight alone).
        precision: "fp32", "tf32", "bf16" or "fp16".
        stride: Of a convolution; 1 otherwise.
        memory_format: Of images "contiguous" or "channels_last"; "" elsewhere or if not stated.
        source: Short name of the table; none of those that hold many operations.
    """

    kind: str
    device: str
    sides: tuple[float, ...]
    flops: float
    num_bytes: float
    window: int
    seconds: float
    role: str = "forward"
    precision: str = "fp32"
    stride: int = 1
    memory_format: str = ""
    source: str = ""


def step_rows(folder: Path) -> list[StepRow]:
    """Return every step that can be recomputed, of all tables."""
    return [
        *_timm(folder),
        *_ryujaehun(folder),
        *_lambda(folder),
        *_lambda_tensorflow(folder),
        *_nvidia(folder),
        *_older(folder),
        *_neusight(folder),
    ]


def _table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


NEWEST = "pytorch-1.12"
"""The table has the same models with 1.10 and 1.11 too, at other batch sizes."""


def _timm(folder: Path) -> Iterator[StepRow]:
    first_of: dict[tuple[str | bool, ...], str] = {}
    for row in _table(folder, "timm_train.csv"):
        if not row["framework"].startswith(NEWEST):
            continue
        # The same network with other weights needs no graph of its own.
        alike = (row["params_m"], row["gmacs"], row["input_size"], without_weights(row["model"]))
        model = first_of.setdefault(alike, row["model"])
        batch = int(row["batch_per_device"])
        yield StepRow(
            source="timm",
            model=f"timm:{model}",
            family=timm_family(row["model"]),
            size=int(row["input_size"].split("x")[1]),
            device=row["hardware"],
            precision="amp",
            memory_format=FORMATS[row["memory_format"]],
            batch_size=batch,
            phases="train",
            software=row["framework"].split("+")[0],
            seconds=batch / float(row["value"]),
            parameters=float(row["params_m"] or 0) * 1e6,
        )


TRAINED_ON = re.compile(r"^(ssl_|swsl_|ig_|adv_)|(_in21ft1k|_in22ft1k|_in21k|_miil|_sam|_ap|_ns)$")
"""Parts of a name that say how its weights came about, not what the network is."""


def without_weights(model: str) -> str:
    """Return what of a model's name says which network it is."""
    return TRAINED_ON.sub("", model)


FAMILIES = (
    (
        "efficientnet",
        "efficientnet tinynet lcnet mixnet mnasnet semnasnet spnasnet fbnet mobilenetv",
    ),
    ("rexnet", "rexnet"),
    ("regnet", "regnet"),
    ("vit", "vit deit"),
    ("beit", "beit"),
    ("resnext", "resnext"),
    ("resnest", "resnest"),
    ("nfnet", "nfnet nf_ dm_nfnet eca_nfnet"),
    ("dla", "dla"),
    ("dpn", "dpn"),
    ("res2net", "res2net res2next"),
    ("senet", "senet seresne ecaresne gcresne skresne ese_"),
    ("resnet", "resnet tresnet"),
    ("convnext", "convnext edgenext"),
    ("swin", "swin"),
    ("mlp", "mixer resmlp gmlp gmixer convmixer poolformer"),
    ("attention hybrids", "halo lambda botnet bat_resnext sebot"),
    (
        "vision hybrids",
        "coat levit pit_ visformer crossvit convit tnt volo cait xcit twins mobilevit jx_nest "
        "sequencer",
    ),
    ("vgg", "vgg repvgg"),
    ("densenet", "densenet"),
    ("csp", "cspres cspdark darknet cs3 sedark"),
    ("inception", "inception xception nasnet pnasnet"),
    ("vovnet", "vovnet selecsls gernet ghostnet hardcorenas"),
)


def timm_family(model: str) -> str:
    """Return the family that a model is held out with."""
    bare = re.sub(r"^(tf_|ig_|ssl_|swsl_|legacy_|gluon_|adv_inception|tv_)", "", model)
    for family, words in FAMILIES:
        if any(word in bare or word in model for word in words.split()):
            return family
    return re.split(r"[_\d]", bare)[0]


TORCHVISION = {
    "mnasnet0_5": "tv:mnasnet0_5",
    "wide_resnet50_2": "tv:wide_resnet50_2",
}


def _ryujaehun(folder: Path) -> Iterator[StepRow]:
    for row in _table(folder, "ryujaehun_pytorch_gpu.csv"):
        precision = {"fp32": "fp32", "fp16(pure)": "half"}.get(row["precision"])
        if row["n_devices"] != "1" or row["mode"] != "train" or not precision:
            continue
        if precision == "fp32" and row["hardware"].startswith("a100"):
            precision = "tf32"  # the container's default, see the tables' README
        yield StepRow(
            source="ryujaehun",
            model=f"tv:{row['model']}",
            family=re.split(r"[_\d]", row["model"])[0],
            size=224,
            device=row["hardware"],
            precision=precision,
            memory_format="contiguous",
            batch_size=int(row["batch_per_device"]),
            phases="gradients",
            software=row["framework"],
            seconds=float(row["value"]) / 1e3,
        )


TF32_FROM = ("Ampere", "Ada", "Hopper", "Blackwell")
LAMBDA_MODELS = {
    "resnet50": ("tv:resnet50", 224),
    "bert-large-squad": ("hf:bert-large", 384),
    "bert-base-squad": ("hf:bert-base", 384),
    "ssd300-resnet50": ("own:ssd300", 300),
}


IN_HALF_WITH_ADAM = ("bert-base-squad", "bert-large-squad")
"""Workloads whose mixed precision is Apex's O2, the whole network in 16 bits, and whose optimizer
is Adam (`run_squad.py` of LambdaLabsML/DeepLearningExamples, commit b5e1251)."""


def _lambda(folder: Path) -> Iterator[StepRow]:
    ampere = _tf32_devices(folder)
    for row in _table(folder, "lambda_pytorch.csv"):
        known = LAMBDA_MODELS.get(row["model"])
        batch = row["batch_per_device"]
        if not known or row["n_devices"] != "1" or not batch or row["precision"] == "fp16":
            continue
        fp32 = "tf32" if row["hardware"] in ampere else "fp32"
        bert = row["model"] in IN_HALF_WITH_ADAM
        mixed = "half" if bert else "amp"
        yield StepRow(
            source="lambda",
            model=known[0],
            family=row["model"],
            size=known[1],
            device=row["hardware"],
            precision=mixed if row["precision"].startswith("amp") else fp32,
            memory_format="contiguous",
            batch_size=int(batch),
            phases="train",
            software=row["framework"],
            seconds=int(batch) / float(row["value"]),
            optimizer="adam" if bert else "sgd",
        )


def _tf32_devices(folder: Path) -> set[str]:
    rows = _table(folder, "hardware_specs.csv")
    return {row["hardware"] for row in rows if row["tf32_tflops"] and row["vendor"] == "NVIDIA"}


TENSORFLOW_MODELS = {
    "resnet50": ("tv:resnet50", 224),
    "resnet152": ("tv:resnet152", 224),
    "vgg16": ("tv:vgg16", 224),
    "alexnet": ("tv:alexnet", 224),
    "inception3": ("tv:inception_v3", 299),
    "inception4": ("timm:inception_v4", 299),
}


TENSORFLOW = re.compile(r"tensorflow (\d+)\.(\d+)")


def _rounds_to_tf32(framework: str) -> bool:
    """Say whether a TensorFlow computes fp32 products in TF32 where the device can.

    Google's do from 2.4 on. Of 1.15 only NVIDIA's own build runs on such a device, and it does.
    """
    version = TENSORFLOW.match(framework)
    return bool(version) and (int(version[1]), int(version[2])) not in ((2, 2), (2, 3))


def _lambda_tensorflow(folder: Path) -> Iterator[StepRow]:
    ampere = _tf32_devices(folder)
    for row in _table(folder, "lambda_tensorflow.csv"):
        known = TENSORFLOW_MODELS.get(row["model"])
        if not known or row["n_devices"] != "1" or row["mode"] != "train":
            continue
        if "XLA" in row["framework"] or "data=syn" not in row["notes"]:
            continue
        batch = int(row["batch_per_device"])
        rounded = row["hardware"] in ampere and _rounds_to_tf32(row["framework"])
        yield StepRow(
            source="lambda-tf",
            model=known[0],
            family=row["model"],
            size=known[1],
            device=row["hardware"],
            precision="half" if row["precision"] == "fp16" else "tf32" if rounded else "fp32",
            memory_format="contiguous",
            batch_size=batch,
            phases="train",
            software=row["framework"],
            seconds=batch / float(row["value"]),
        )


NVIDIA_MODELS = {"resnet50v1.5": "tv:resnet50", "resnext101-32x4d": "timm:resnext101_32x4d"}


def _nvidia(folder: Path) -> Iterator[StepRow]:
    """Their READMEs state the batch size of the ResNets in the text: 256 in 16 bits, half in 32."""
    for row in _table(folder, "nvidia_dle_train.csv"):
        known = NVIDIA_MODELS.get(row["model"])
        if not known or row["n_devices"] != "1" or row["metric"] != "samples_per_s":
            continue
        if row["framework"] != "pytorch":
            continue
        amp = row["precision"].startswith("amp")
        batch = int(row["batch_per_device"] or (256 if amp else 128))
        yield StepRow(
            source="nvidia-dle",
            model=known,
            family=row["model"],
            size=224,
            device=row["hardware"],
            precision="amp" if amp else row["precision"],
            memory_format="channels_last" if amp else "contiguous",
            batch_size=batch,
            phases="train",
            software=row["framework"],
            seconds=batch / float(row["value"]),
        )


OLDER_MODELS = {
    "vgg16": "tv:vgg16",
    "vgg19": "tv:vgg19",
    "alexnet": "tv:alexnet",
    "googlenet-v1": "tv:googlenet",
    "densenet161": "tv:densenet161",
    **{f"resnet-{n}": f"tv:resnet{n}" for n in (18, 34, 50, 101, 152)},
    "resnet152": "tv:resnet152",
}


def _older(folder: Path) -> Iterator[StepRow]:
    for name in ("jcjohnson_cnn.csv", "u39kun_dl.csv"):
        for row in _table(folder, name):
            known = OLDER_MODELS.get(row["model"])
            if not known or row["mode"] != "train" or row["hardware"].startswith("cpu"):
                continue
            if "no cudnn" in row["framework"]:
                continue
            yield StepRow(
                source=name.split("_")[0],
                model=known,
                family=row["model"],
                size=224,
                device=row["hardware"],
                precision="half" if row["precision"] == "fp16" else "fp32",
                memory_format="contiguous",
                batch_size=int(row["batch_per_device"]),
                phases="gradients",
                software=row["framework"],
                seconds=float(row["value"]) / 1e3,
            )


ONE_DIE = {"mi250": "mi210"}
"""What was measured was one of the MI250's two dies, which is an MI210."""


OF_BACKWARD = re.compile(r"bwall_ms=([\d.]+)")
LEAST_OF_FORWARD = 1.5
"""A backward computes each product twice, so it takes less than so many forwards only if these wait
for something."""


def _neusight(folder: Path) -> Iterator[StepRow]:
    """Yield NeuSight's whole models, and of those that train the backward once more.

    Its script (neusight/Tracing/trace.py) empties torch's memory before every step, so a forward
    that keeps its activations may wait for the driver to allocate them: gpt2_large with 4 samples
    on an MI210 takes three times as long in training as in inference. Its backward finds memory
    that the forward has left.
    """
    for row in _table(folder, "neusight_model_latency.csv"):
        if row["n_devices"] != "1" or row["framework"] != "pytorch" or "switch" in row["model"]:
            continue
        trained = row["mode"] == "train"
        of_backward = OF_BACKWARD.search(row["notes"]) if trained else None
        seconds = float(row["value"]) / 1e3
        backward_s = float(of_backward[1]) / 1e3 if of_backward else 0.0
        step = StepRow(
            source="neusight",
            model=f"neusight{'' if trained else '-eval'}:{row['model']}",
            family=row["model"],
            size=int(row["seq_len"]),
            device=ONE_DIE.get(row["hardware"], row["hardware"]),
            precision="fp32",
            memory_format="",
            batch_size=int(row["batch_per_device"]),
            phases="gradients" if trained else "forward",
            software="pytorch 2.1",
            seconds=seconds,
            waits_for_memory=0 < backward_s < LEAST_OF_FORWARD * (seconds - backward_s),
        )
        yield step
        if backward_s:
            yield replace(step, phases="backward", seconds=backward_s)


def is_fitted(row: StepRow | OpRow) -> bool:
    """Say whether the law is fitted to a row: not to steps that wait for memory (`_neusight`)."""
    return not (isinstance(row, StepRow) and row.source == "neusight" and row.phases == "gradients")


def is_judged(row: StepRow | OpRow) -> bool:
    """Say whether forecasts are held against a row: not against parts of another."""
    return not (isinstance(row, StepRow) and row.phases == "backward")


OP_KINDS = {
    "bmm": "batched product",
    "linear": "matrix product",
    "conv": "convolution",
    "softmax": "softmax",
    "ln": "layer norm",
}
TWO_INPUTS = ("add", "mul", "div", "pow")


LEAST_SECONDS = 2e-4
"""Shorter ones hold mostly what it costs to time one operation between two events."""
MOST_COLUMNS = 16384
"""Wider products are those of vocabularies: some devices are far slower at them."""


def op_rows(folder: Path, most: int) -> list[OpRow]:
    """Return NeuSight's operations, evenly chosen, so that each kind tells alike of each device.

    Args:
        folder: Of the tables.
        most: Operations of one kind on one device.
    """
    path = folder / "neusight_op_latency.csv.gz"
    kinds: dict[tuple[str, str], list[OpRow]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in map(_op_row, csv.DictReader(file)):
            if row.seconds > LEAST_SECONDS and (not row.sides or row.sides[2] <= MOST_COLUMNS):
                kinds.setdefault((row.device, row.kind), []).append(row)
    return [row for rows in kinds.values() for row in rows[:: -(-len(rows) // most)]]


def _op_row(row: dict[str, str]) -> OpRow:
    op, device, seconds = row["op"], row["hardware"], float(row["latency_ms"]) / 1e3
    kind = OP_KINDS.get(op, "elementwise")
    if op == "conv":
        geometry = dict(part.split("=") for part in row["extra"].split(";"))
        into, out, window, side, stride, padding = map(int, geometry.values())
        side_out = (side + 2 * padding - window) // stride + 1
        places = int(row["B"]) * side_out**2
        sides = (1.0, float(places), float(out), float(into * window**2))
        values = int(row["B"]) * into * side**2 + places * out + into * out * window**2
        flops = 2.0 * places * out * into * window**2
        kind = "1×1 convolution" if window == 1 else kind
        return OpRow(kind, device, sides, flops, 4.0 * values, window, seconds)
    batch, inner = float(row["B"]), float(row["K_or_H"])
    if op in ("bmm", "linear"):
        rows, columns = float(row["M"]), float(row["N"])
        sides = (
            (batch, rows, columns, inner) if op == "bmm" else (1.0, batch * rows, columns, inner)
        )
        b, m, n, k = sides
        values = b * (m * k + k * n + m * n)
        return OpRow(kind, device, sides, 2 * b * m * n * k, 4.0 * values, 1, seconds)
    passes = 3 if op in TWO_INPUTS else 2
    return OpRow(kind, device, (), 0.0, 4.0 * passes * batch * inner, 1, seconds)


def gpu_op_rows(path: Path) -> list[OpRow]:
    """Return the operations that `benchmarks/gpu_ops.py` measured.

    Optimizer steps are left out: no captured graph holds them. Seconds are as measured, with what
    two events see of nothing (the file's "overheads") in them.

    Args:
        path: Of its result.

    Raises:
        ValueError: It was measured on a device that the catalogue does not have.
    """
    result = json.loads(path.read_text("utf-8"))
    if not result["device_key"]:
        raise ValueError(
            f"{path} names no device of the catalogue: measure again with "
            "`python benchmarks/gpu_ops.py --device-key KEY`"
        )
    rows = result["ops"]
    return [_gpu_op_row(row, result["device_key"]) for row in rows if row["kind"] in KINDS]


def _gpu_op_row(row: dict[str, Any], device: str) -> OpRow:
    return OpRow(
        kind=row["kind"],
        device=device,
        sides=tuple(row["sides"]),
        flops=row["flops"],
        num_bytes=row["bytes"],
        window=row["window"],
        seconds=row["median_s"],
        role=row["role"],
        precision=row["precision"],
        stride=row["stride"],
        memory_format=row["memory_format"],
    )
