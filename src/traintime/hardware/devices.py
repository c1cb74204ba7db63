"""The devices there are: what data sheets promise of each, and those that a user saved.

The catalogue is `devices.csv`, whose first lines say where its figures come from and when. What a
user saved lies in the cache folder, one JSON file each, and is found before the catalogue.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from traintime.errors import InputError, UnknownNameError
from traintime.ledger.atomic import refused_writes_explained, write_bytes_atomically
from traintime.ledger.paths import cache_folder
from traintime.units import GIB, MIB

EVERY_DEVICE = "all"
MOST_DEVICES = 100_000
BEYOND_ALL = 1e30  # no device has a figure of that size, in any unit
KINDS = {
    "gpu": "graphics card or accelerator that runs GPU kernels",
    "cpu": "processor, one socket unless its name says otherwise",
    "tpu": "Google's chip",
    "asic": "another chip made for training",
    "apple": "GPU of an Apple chip",
    "igpu": "GPU that shares the processor's memory",
}
ACCELERATORS = ("tpu", "asic")
"""Kinds that run no GPU kernels; how they cut a product into tiles was not published."""
CONFIDENCES = {
    "ds": "data sheet",
    "der": "derived from clock and width",
    "est": "estimate",
    "alias": "figures of another device, since the name leaves the variant open",
    "user": "given by the user",
}
# As nvidia-smi says it, or as people do, where neither key nor name of the catalogue says the same.
OTHER_NAMES = {
    "K40c": "k40",
    "K40m": "k40",
    "M40 24GB": "m40",
    "RTX 3080 with Max-Q Design": "rtx-3080-maxq",
    "A100 PCIe": "a100-pcie-40gb",
    "A100 80GB PCIe": "a100-pcie-80gb",
    "A100 SXM": "a100-sxm4-40gb",
    "A100 SXM 40GB": "a100-sxm4-40gb",
    "A100 SXM 80GB": "a100-sxm4-80gb",
    "A800 SXM4 80GB": "a800",
    "H100": "h100-sxm5-80gb",
    "H100 SXM": "h100-sxm5-80gb",
    "H100 SXM5": "h100-sxm5-80gb",
    "H100 80GB": "h100-sxm5-80gb",
    "H100 SXM 80GB": "h100-sxm5-80gb",
    "H100 80GB HBM3": "h100-sxm5-80gb",
    "H100 PCIe": "h100-pcie-80gb",
    "H100 NVL": "h100-nvl-94gb",
    "H200 SXM": "h200",
    "GH200 480GB": "gh200-96gb",  # 480 GB is the processor's memory
    "GH200 144G HBM3e": "gh200-141gb",
    "B200 SXM": "b200",
    "B300 SXM": "b300",
    "RTX PRO 6000 Blackwell": "rtx-pro-6000",
}

_KEY = re.compile(r"[a-z0-9][a-z0-9.-]*")
_RESERVED = {EVERY_DEVICE, "auto", "cuda"}
_NOISE = re.compile(
    r"\((?:r|tm|c)\)|@.*ghz|\b\d+-core processor\b|\b\d+th gen\b"
    r"|\b(?:nvidia|amd|ati|intel|google|apple|aws|huawei|graphcore|habana)\b"
    r"|\b(?:geforce|tesla|radeon|instinct|gpu|cpu|graphics|oam|ai accelerator)\b"
    r"|\b(?:generation|with|design|workstation|server|edition)\b"
)
_PARENTHESIS = re.compile(r"\([^)]*\)")
_COUNTED = re.compile(r"(?P<name>.+)[x×](?P<count>[^x×]*)", re.IGNORECASE)
_AS_COUNT = re.compile(r".*[x×][0-9]+|[0-9]+[x×].*", re.IGNORECASE)
_COUNT_FIRST = re.compile(r"(?P<count>\d+)\s*[x×](?P<name>.+)", re.IGNORECASE)


@dataclass(frozen=True)
class DeviceSpec:
    """What a device can do at best. None stands for a figure that is not known.

    Args:
        key: As it is typed in `device=KEY`.
        name: As its vendor sells it.
        kind: One of `KINDS`.
        vendor: Who makes it.
        architecture: Generation of the design.
        year: When it came out.
        fp32_flops: Peak of plain fp32, in FLOP/s.
        tf32_flops: Dense peak of fp32 products with TF32 or its like, in FLOP/s.
        fp32_matrix_flops: Peak of products in full fp32 where a matrix engine does them, in FLOP/s.
        fp16_flops: Dense peak with fp32 accumulation, in FLOP/s.
        bf16_flops: Dense peak with fp32 accumulation, in FLOP/s.
        fp8_flops: Dense peak with fp32 accumulation, in FLOP/s.
        memory_bytes: Its own memory; None if it shares the system's.
        bandwidth: Of that memory, in bytes per second.
        cache_bytes: Of a GPU's last cache before that memory.
        tdp_w: Power that it is built to draw, in watts.
        interconnect: What ties several together; of a processor, its kind of memory.
        interconnect_bytes_per_s: As the data sheet counts: PCIe and Ethernet one way, NVLink and
            its like mostly both ways together.
        cores: Streaming multiprocessors, compute units or processor cores.
        clock_hz: Boost clock; of a processor, the base clock.
        cache_bandwidth: Of a processor that was measured, within its cache, in bytes per second.
        call_s: Of one that was measured, an operation on a single number, in seconds.
        parallel_call_s: So, one that is just long enough to be shared by all cores.
        confidence: One of `CONFIDENCES`.
        note: What else to know.
    """

    key: str
    name: str
    kind: str
    vendor: str = ""
    architecture: str = ""
    year: int | None = None
    fp32_flops: float | None = None
    tf32_flops: float | None = None
    fp32_matrix_flops: float | None = None
    fp16_flops: float | None = None
    bf16_flops: float | None = None
    fp8_flops: float | None = None
    memory_bytes: int | None = None
    bandwidth: float | None = None
    cache_bytes: int | None = None
    tdp_w: float | None = None
    interconnect: str = ""
    interconnect_bytes_per_s: float | None = None
    cores: int | None = None
    clock_hz: float | None = None
    cache_bandwidth: float | None = None
    call_s: float | None = None
    parallel_call_s: float | None = None
    confidence: str = "user"
    note: str = ""

    @property
    def half_flops(self) -> float | None:
        """Peak under autocast, in FLOP/s: of fp16 or bf16, whichever it has, or the faster."""
        return max(filter(None, (self.fp16_flops, self.bf16_flops)), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` understands."""
        return {**dataclasses.asdict(self), "half_flops": self.half_flops}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DeviceSpec:
        """Return the device that `to_json` described.

        Raises:
            ValueError: A value is missing, unknown or impossible.
        """
        try:
            spec = cls(**{field: value for field, value in values.items() if field != "half_flops"})
        except TypeError as error:
            raise ValueError(str(error).partition(" ")[2]) from error
        _check(spec)
        return spec


@dataclass(frozen=True)
class DeviceCount:
    """Several devices of one kind.

    Args:
        spec: Each of them.
        count: How many.
    """

    spec: DeviceSpec
    count: int = 1

    def __post_init__(self) -> None:
        assert 1 <= self.count <= MOST_DEVICES, f"{self.count} devices"

    def __str__(self) -> str:
        return self.spec.key if self.count == 1 else f"{self.spec.key}x{self.count}"


def devices() -> tuple[DeviceSpec, ...]:
    """Return every device: saved ones first, then the catalogue without those they replace.

    Raises:
        InputError: A saved one cannot be read.
    """
    saved = _saved_devices()
    replaced = {_fold(spec.key) for spec in saved}
    return (*saved, *(spec for spec in _catalogue() if _fold(spec.key) not in replaced))


def catalogue_source() -> str:
    """Return where the figures of the catalogue come from, and of when they are."""
    return _catalogue_text().partition("# source: ")[2].partition("\n")[0]


def find_device(name: str) -> DeviceSpec:
    """Return a device.

    Args:
        name: Its key, its name, or what its driver calls it; capitals, dashes, spaces and the
            vendor do not matter.

    Raises:
        UnknownNameError: There is none of that name.
        InputError: A saved one cannot be read.
    """
    names = _by_name(devices())
    spec = names.get(_fold(name))
    if spec is None:
        raise _unknown(name, names)
    return spec


def parse_device(text: str) -> DeviceCount:
    """Return the devices that NAME or NAMExN means; `mi250x` is a name, `mi250xx2` are two.

    Raises:
        UnknownNameError: There is none of that name.
        InputError: The number is not one of 1 to 100,000, or stands before the name.
    """
    names = _by_name(devices())
    if whole := names.get(_fold(text)):
        return DeviceCount(whole)
    counted = _COUNTED.fullmatch(text.strip())
    if counted and (spec := names.get(_fold(counted["name"]))):
        return DeviceCount(spec, _read_count(counted["count"].strip(), text, spec))
    reversed_ = _COUNT_FIRST.fullmatch(text.strip())
    if reversed_ and (spec := names.get(_fold(reversed_["name"]))):
        raise InputError(
            f"device={text} has the number before the name. Type device={spec.key}x"
            f"{reversed_['count']}"
        )
    raise _unknown(text, names)


def parse_devices(text: str) -> tuple[DeviceCount, ...]:
    """Return the devices that a list means, each once.

    Args:
        text: NAME or NAMExN, separated by commas; "all" is one of each.

    Raises:
        UnknownNameError: There is none of a name.
        InputError: Nothing is listed, or a number is not one of 1 to 100,000.
    """
    parts = [part for part in map(str.strip, text.split(",")) if part]
    if not parts:
        raise InputError(
            "No device is named. Type for example device=rtx-3090,h100x8, or device=all"
        )
    listed: list[DeviceCount] = []
    for part in parts:
        is_every = part.casefold() == EVERY_DEVICE
        listed += map(DeviceCount, devices()) if is_every else [parse_device(part)]
    return tuple(dict.fromkeys(listed))


def save_device(spec: DeviceSpec) -> Path:
    """Remember a device under its key, so that it is found by it; return the file.

    Raises:
        InputError: A value is impossible, or the key cannot be typed in a list of devices.
        StorageError: The disk refused.
    """
    try:
        _check(spec)
    except ValueError as error:
        raise InputError(f"The device '{spec.key}' cannot be saved: {error}") from error
    path = _saved_folder() / f"{spec.key}.json"
    content = json.dumps(dataclasses.asdict(spec), ensure_ascii=False, indent=2)
    write_bytes_atomically(path, f"{content}\n".encode())
    return path


def check_new_key(key: str) -> None:
    """Refuse a name for a device of one's own under which another would be looked for.

    Raises:
        InputError: It is in the catalogue, or reads as a number of devices.
    """
    known = _by_name(_catalogue()).get(_fold(key))
    if known:
        raise InputError(
            f"'{key}' means {known.name} of the catalogue, which it would hide. Type another name, "
            f"for example my-{key}"
        )
    if _AS_COUNT.fullmatch(key):
        raise InputError(
            f"'{key}' reads as a number of devices, as a100x8 does. Type another name, for example "
            "my-machine"
        )


def remove_device(key: str) -> Path:
    """Forget a saved device; return the file that it was in.

    Raises:
        UnknownNameError: None was saved under that key.
        StorageError: The disk refused.
    """
    saved = {path.stem: path for path in _saved_folder().glob("[!.]*.json")}
    key = next((name for name in saved if _fold(name) == _fold(key)), key)
    if key not in saved:
        known = _by_name(_catalogue()).get(_fold(key))
        if known:
            raise InputError(
                f"'{key}' is {known.name} of the catalogue, which stays; devices that were saved "
                "can be removed (`traintime hardware list` marks them)"
            )
        raise UnknownNameError(
            "saved device", key, saved, "`traintime machine --save NAME` saves one"
        )
    with refused_writes_explained(saved[key]):
        saved[key].unlink()
    return saved[key]


def _saved_folder() -> Path:
    return cache_folder() / "devices"


def _saved_devices() -> tuple[DeviceSpec, ...]:
    return tuple(_load(path) for path in sorted(_saved_folder().glob("[!.]*.json")))


def _load(path: Path) -> DeviceSpec:
    """Return a saved device; the file's name is its key, so that a copy is another device."""
    try:
        return DeviceSpec.from_json({**json.loads(path.read_bytes()), "key": path.stem})
    except (OSError, TypeError, ValueError) as error:
        raise InputError(
            f"The saved device '{path}' cannot be read: {error}. Mend it, or remove it with: "
            f"rm '{path}'"
        ) from error


def _check(spec: DeviceSpec) -> None:
    """Refuse values that no device can have.

    Raises:
        ValueError: Says which.
    """
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if "str" in str(field.type):
            if not isinstance(value, str):
                raise ValueError(f"{field.name}={value!r} is no text")
        elif value is not None and not _is_quantity(value):
            raise ValueError(
                f"{field.name}={value!r} is neither a sensible number above 0 nor null"
            )
    if not _KEY.fullmatch(spec.key) or spec.key in _RESERVED or not _fold(spec.key):
        raise ValueError(
            f"key='{spec.key}' cannot be used; type letters a-z, digits, '-' and '.', "
            "for example my-h100"
        )
    for field, known in (("kind", KINDS), ("confidence", CONFIDENCES)):
        if getattr(spec, field) not in known:
            raise ValueError(f"{field}={getattr(spec, field)!r} is none of {', '.join(known)}")


def _is_quantity(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < BEYOND_ALL


@functools.cache
def _catalogue_text() -> str:
    return files("traintime.hardware").joinpath("devices.csv").read_text(encoding="utf-8")


@functools.cache
def _catalogue() -> tuple[DeviceSpec, ...]:
    lines = [line for line in _catalogue_text().splitlines() if not line.startswith("#")]
    return tuple(_read_row(row) for row in csv.DictReader(lines))


def _read_row(row: Mapping[str, str]) -> DeviceSpec:
    return DeviceSpec(
        key=row["hardware"],
        name=row["name"],
        kind=row["kind"],
        vendor=row["vendor"],
        architecture=row["architecture"],
        year=_in_si(row["year"], 1),
        fp32_flops=_in_si(row["fp32_tflops"], 1e12),
        tf32_flops=_in_si(row["tf32_tflops"], 1e12),
        fp32_matrix_flops=_in_si(row["fp32_matrix_tflops"], 1e12),
        fp16_flops=_in_si(row["fp16_tflops"], 1e12),
        bf16_flops=_in_si(row["bf16_tflops"], 1e12),
        fp8_flops=_in_si(row["fp8_tflops"], 1e12),
        # Sold in GB, built in GiB: nvidia-smi shows 81,920 MiB for an A100 of 80 GB.
        memory_bytes=_in_si(row["mem_gb"], GIB),
        bandwidth=_in_si(row["mem_bw_gbs"], 1e9),
        cache_bytes=_in_si(row["cache_mb"], MIB),
        tdp_w=_in_si(row["tdp_w"], 1),
        interconnect=row["interconnect"],
        interconnect_bytes_per_s=_in_si(row["interconnect_gbs"], 1e9),
        cores=_in_si(row["num_sms_or_cores"], 1),
        clock_hz=_in_si(row["boost_clock_mhz"], 1e6),
        confidence=row["confidence"],
        note=row["note"],
    )


def _in_si(text: str, unit: float) -> int | None:
    """Return a figure in whole SI units; None if it is empty or 0, which stand for not known."""
    return round(float(text or 0) * unit) or None


@functools.lru_cache(maxsize=4)
def _by_name(specs: tuple[DeviceSpec, ...]) -> Mapping[str, DeviceSpec]:
    """Return devices by each of their folded names; keys win, then what stands first."""
    names = {_fold(spec.key): spec for spec in specs}
    for spec in specs:
        for name in _other_names(spec):
            names.setdefault(_fold(name), spec)
    for name, key in OTHER_NAMES.items():
        names.setdefault(_fold(name), names[_fold(key)])
    return names


def _other_names(spec: DeviceSpec) -> tuple[str, ...]:
    """Return what else a device is called: its name, and '3090', '3090 24GB' for `rtx-3090`."""
    short = spec.key.removeprefix("rtx-").removeprefix("gtx-")
    memory = f"{(spec.memory_bytes or 0) / GIB:.0f}GB"
    plain = _PARENTHESIS.sub("", spec.name)
    undashed = spec.key.replace("-", "")
    return (spec.name, plain, short, undashed, f"{spec.key} {memory}", f"{short} {memory}")


@functools.lru_cache(maxsize=4096)
def _fold(name: str) -> str:
    """Return what two spellings of a device's name share; empty if that is nothing."""
    words = _NOISE.sub(" ", name.casefold().replace("_", " "))
    return re.sub(r"[^a-z0-9]", "", words)


def _read_count(typed: str, text: str, spec: DeviceSpec) -> int:
    if re.fullmatch(r"[0-9]{1,6}", typed) and 1 <= int(typed) <= MOST_DEVICES:
        return int(typed)
    raise InputError(
        f"device={text} has '{typed}' where a whole number of devices from 1 to "
        f"{MOST_DEVICES:,} is due. Type for example device={spec.key}x8"
    )


def _unknown(text: str, names: Mapping[str, DeviceSpec]) -> UnknownNameError:
    keys = {spec.key for spec in names.values()}
    near = difflib.get_close_matches(_fold(text), names, n=3)
    listed = ", ".join(dict.fromkeys(names[name].key for name in near))
    hint = f"Spelled nearly so: {listed}. " if near else ""
    return UnknownNameError("device", text, keys, f"{hint}`traintime hardware list` shows them all")
