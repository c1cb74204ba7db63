import csv
import io
import json
import subprocess
import sys
import time
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest

from traintime.errors import InputError, UnknownNameError
from traintime.hardware import devices as devices_module
from traintime.hardware.devices import (
    CONFIDENCES,
    KINDS,
    OTHER_NAMES,
    DeviceCount,
    DeviceSpec,
    catalogue_source,
    devices,
    find_device,
    parse_device,
    parse_devices,
    save_device,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_devices.py"
CATALOGUE = files("traintime.hardware").joinpath("devices.csv").read_text(encoding="utf-8")
MINE = DeviceSpec("my-card", "My Card 9000", "gpu", fp32_flops=1e13, memory_bytes=2**34)

# The catalogue


def test_figures_are_in_si_units():
    spec = find_device("rtx-3090")
    assert spec.fp32_flops == 35.6e12
    assert spec.half_flops == 71e12
    assert spec.bandwidth == 936e9
    assert spec.memory_bytes == 24 * 2**30
    assert (spec.tdp_w, spec.cores, spec.clock_hz) == (350, 82, 1.695e9)
    assert spec.interconnect_bytes_per_s == 112.5e9
    assert (spec.vendor, spec.year, spec.confidence) == ("NVIDIA", 2020, "ds")


@pytest.mark.parametrize(
    ("key", "peak"),
    [
        ("p100", 18.7e12),
        ("tpu-v4", 275e12),
        ("gaudi3", 1678e12),
        ("mi100", 184.6e12),
        ("k80", None),
    ],
)
def test_half_peak_is_that_of_the_better_half_precision(key: str, peak: float | None):
    assert find_device(key).half_flops == peak


def test_what_is_not_known_is_none():
    assert find_device("gaudi").fp32_flops is None
    assert find_device("iris-xe-96eu").memory_bytes is None
    assert find_device("cpu-gcp-n1-standard-16").tdp_w is None


def test_every_row_says_what_it_is_and_where_it_comes_from():
    assert len(devices()) >= 190
    for spec in devices():
        assert spec.kind in KINDS
        assert spec.confidence in CONFIDENCES
        assert spec.confidence != "user"
        assert DeviceSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert catalogue_source() == "vendor data sheets as compiled 2026-11"


def test_reading_the_catalogue_takes_less_than_5_ms():
    def seconds() -> float:
        began = time.process_time()
        devices_module._catalogue.__wrapped__()
        return time.process_time() - began

    assert min(seconds() for _ in range(10)) < 0.005


# Names


@pytest.mark.parametrize("spec", devices(), ids=lambda spec: spec.key)
def test_every_device_is_found_by_key_and_by_name(spec: DeviceSpec):
    assert find_device(spec.key) is spec
    assert find_device(spec.key.upper().replace("-", "")) is spec
    assert find_device(spec.name) is spec
    assert find_device(f"{spec.vendor.partition('/')[0]} {spec.name}") is spec
    assert parse_device(spec.key) == DeviceCount(spec, 1)
    assert parse_device(f"{spec.key}x12") == DeviceCount(spec, 12)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("rtx3090", "rtx-3090"),
        ("3090", "rtx-3090"),
        ("2080 Ti", "rtx-2080-ti"),
        ("RTX 4090 24GB", "rtx-4090"),
        ("GeForce RTX 3090", "rtx-3090"),
        ("NVIDIA GeForce RTX 3090", "rtx-3090"),
        ("NVIDIA GeForce RTX 3080", "rtx-3080"),
        ("GeForce RTX 2080 Super with Max-Q Design", "rtx-2080-super-maxq"),
        ("GeForce GTX TITAN X", "titan-x-maxwell"),
        ("NVIDIA TITAN X (Pascal)", "titan-x-pascal"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "rtx-pro-6000-maxq"),
        ("Tesla K40m", "k40"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100-sxm2-16gb"),
        ("a100", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-pcie-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("h100", "h100-sxm5-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie-80gb"),
        ("NVIDIA H100 NVL", "h100-nvl-94gb"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GH200 480GB", "gh200-96gb"),
        ("AMD_Instinct_MI300X_OAM", "mi300x"),
        ("Apple M1 Max", "apple-m1-max"),
        ("m4", "apple-m4"),
        ("xeon-max-9480", "cpu-xeon-max-9480"),
        ("AMD EPYC 7742 64-Core Processor", "cpu-epyc-7742"),
        ("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz", "cpu-xeon-8380"),
        ("12th Gen Intel(R) Core(TM) i7-12700H", "cpu-core-i7-12700h"),
    ],
)
def test_a_device_is_found_by_what_drivers_and_people_call_it(name: str, key: str):
    assert find_device(name).key == key


def test_other_names_say_what_the_catalogue_does_not():
    assert all(find_device(name).key == key for name, key in OTHER_NAMES.items())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("rtx-309", "Did you mean 'rtx-3090'?"),
        ("NVIDIA GeForce RTX 3091", "Spelled nearly so: rtx-3090"),
        ("h20O", "h200"),
        ("rtx3091", "rtx-3090"),
        ("NVIDIA", ""),
        ("cpu", ""),
        ("(", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("find", [find_device, parse_device])
def test_an_unknown_name_is_told_with_those_that_are_near(find, name: str, near: str):
    with pytest.raises(UnknownNameError) as caught:
        find(name)
    assert f"No device named '{name}'." in str(caught.value)
    assert near in str(caught.value)
    assert "`traintime hardware list`" in str(caught.value)


# Counts


@pytest.mark.parametrize(
    ("text", "key", "count"),
    [
        ("rtx-3090", "rtx-3090", 1),
        ("rtx-3090x2", "rtx-3090", 2),
        ("RTX3090X2", "rtx-3090", 2),
        ("GeForce RTX 3090 x 2", "rtx-3090", 2),
        ("3090×2", "rtx-3090", 2),
        ("rtx-a4000", "rtx-a4000", 1),
        ("apple-m1-maxx4", "apple-m1-max", 4),
        ("mi250x", "mi250x", 1),
        ("mi250x2", "mi250", 2),
        ("mi250xx2", "mi250x", 2),
        ("p4x100000", "p4", 100_000),
        ("2x Xeon E5-2630 v3", "cpu-xeon-e5-2630v3-dual", 1),
    ],
)
def test_a_number_after_the_name_counts_devices(text: str, key: str, count: int):
    found = parse_device(text)
    assert (found.spec.key, found.count) == (key, count)
    assert parse_device(str(found)) == found


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "100001", "", "two", "1e3", "٣", "9" * 5000])
def test_a_number_that_counts_nothing_is_refused_with_what_to_type(count: str):
    with pytest.raises(InputError, match=r"from 1 to 100,000 .* Type for example device=a100x8"):
        parse_device(f"a100x{count}")


def test_a_number_before_the_name_is_refused_with_what_to_type():
    with pytest.raises(InputError, match=r"Type device=a100x4$"):
        parse_device("4xA100")


def test_a_list_has_each_device_once():
    assert [str(found) for found in parse_devices("rtx-3090, h100x8,3090,")] == [
        "rtx-3090",
        "h100-sxm5-80gbx8",
    ]


@pytest.mark.parametrize("text", ["all", "ALL", "a100,all"])
def test_all_is_one_of_each(text: str):
    found = parse_devices(text)
    assert {device.spec for device in found} == set(devices())
    assert len(found) == len(devices())


@pytest.mark.parametrize("text", ["", " ", ",,"])
def test_an_empty_list_is_refused_with_what_to_type(text: str):
    with pytest.raises(InputError, match="device=all"):
        parse_devices(text)


# Saved devices


def test_a_saved_device_is_found_and_listed_first(home: Path):
    path = save_device(MINE)
    assert path == home / "cache" / "devices" / "my-card.json"
    assert devices()[0] == find_device("My Card 9000") == MINE
    assert parse_device("mycardx3") == DeviceCount(MINE, 3)


def test_a_saved_device_replaces_that_of_the_same_key():
    mine = replace(find_device("h100-sxm5-80gb"), fp32_flops=6e13, confidence="user")
    before = len(devices())
    save_device(mine)
    assert find_device("NVIDIA H100 80GB HBM3") == mine
    assert len(devices()) == before


def test_a_saved_devices_name_does_not_hide_a_key():
    save_device(replace(MINE, name="RTX 3090"))
    assert find_device("rtx-3090").vendor == "NVIDIA"


def test_a_copied_file_is_a_device_of_its_own():
    path = save_device(MINE)
    path.with_name("copy.json").write_bytes(path.read_bytes())
    assert {spec.key for spec in devices()[:2]} == {"copy", "my-card"}


def test_what_show_prints_as_json_can_be_saved_by_hand(home: Path):
    folder = home / "cache" / "devices"
    folder.mkdir(parents=True)
    (folder / "lab.json").write_text(json.dumps(find_device("t4").to_json()))
    assert find_device("lab") == replace(find_device("t4"), key="lab")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "My Card"}, "my-h100"),
        ({"key": "../card"}, "my-h100"),
        ({"key": "all"}, "my-h100"),
        ({"key": "cpu"}, "my-h100"),
        ({"kind": "toaster"}, "gpu, cpu, tpu"),
        ({"confidence": "sure"}, "ds, der, est"),
        ({"fp32_flops": 0.0}, "fp32_flops=0.0"),
        ({"fp32_flops": float("nan")}, "fp32_flops=nan"),
        ({"memory_bytes": 10**400}, "memory_bytes=1000"),
        ({"bandwidth": "fast"}, "bandwidth='fast'"),
        ({"cores": True}, "cores=True"),
        ({"note": None}, "note=None"),
    ],
)
def test_an_impossible_device_is_not_saved(home: Path, change: dict[str, object], says: str):
    with pytest.raises(InputError, match="cannot be saved") as caught:
        save_device(replace(MINE, **change))  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert not (home / "cache" / "devices").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "\x00" * len(text),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: json.dumps({**json.loads(text), "fp32_tflops": 1}),
        lambda text: json.dumps({**json.loads(text), "year": "new"}),
    ],
)
def test_a_damaged_file_is_told_with_how_to_be_rid_of_it(damage):
    path = save_device(MINE)
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError) as caught:
        find_device("t4")
    assert f"rm '{path}'" in str(caught.value)


# The script


def make(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "specs.csv").write_text(source, encoding="utf-8")
    command = [sys.executable, SCRIPT, folder / "specs.csv", folder / "devices.csv"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def specs_like(rows: list[dict[str, str]]) -> str:
    """Return a table as the script reads it, with a column that the catalogue leaves out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], "checked_against"])
    writer.writeheader()
    writer.writerows({**row, "checked_against": "somebody"} for row in rows)
    return text.getvalue()


def committed() -> tuple[list[str], list[str]]:
    lines = CATALOGUE.splitlines(keepends=True)
    comments = [line for line in lines if line.startswith("#")]
    return comments, lines[len(comments) :]


@pytest.mark.parametrize("count", [5, None])
def test_the_script_makes_the_committed_file_again(tmp_path: Path, count: int | None):
    comments, lines = committed()
    kept = lines if count is None else lines[: 1 + count]
    done = make(specs_like(list(csv.DictReader(kept))), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "devices.csv").read_bytes() == "".join([*comments, *kept]).encode()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fp32_tflops": "many"}, "fp32_tflops of k80 is 'many'"),
        ({"tdp_w": "-1"}, "tdp_w of k80 is '-1'"),
        ({"hardware": "k40"}, "more than once: k40"),
    ],
)
def test_the_script_refuses_what_cannot_be_right(tmp_path: Path, change: dict[str, str], says: str):
    first, second = list(csv.DictReader(committed()[1]))[:2]
    done = make(specs_like([first, second | change]), tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / "devices.csv").exists()


def test_the_script_names_a_missing_column(tmp_path: Path):
    done = make("hardware,name\nk40,Tesla K40\n", tmp_path)
    assert done.returncode == 1
    assert "no column architecture, bf16_tflops" in done.stderr


def test_the_catalogue_fills_every_field_of_some_device_that_a_data_sheet_has():
    measured = {"cache_bandwidth", "call_s", "parallel_call_s"}
    for name in {field.name for field in fields(DeviceSpec)} - measured:
        assert any(getattr(spec, name) for spec in devices()), name
