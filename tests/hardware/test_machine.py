import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from traintime.errors import InputError, UnknownNameError
from traintime.hardware.machine import Gpu, Machine, _visible, choose_device, detect_machine

PLAIN = Machine("AMD EPYC", 2, 2.6, 2**34, 2**36, (), "Linux 6.1")
H200 = Gpu("NVIDIA H200", 143_771 * 2**20)
TWO_GPUS = replace(PLAIN, gpus=(H200, H200))
TWO_ROWS = "echo 'NVIDIA H200, 143771'; echo 'NVIDIA A100-SXM4-40GB, MIG 1g, 40960'"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a tool of that name in front of all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(script: str) -> None:
        tool = folder / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    return install


def test_this_machine_has_what_every_machine_has(tmp_path: Path):
    machine = detect_machine(tmp_path)
    assert machine.cpu.strip()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert 0 <= machine.ghz < 10
    assert 2**28 < machine.ram_bytes < 2**50
    assert 0 < machine.disk_free_bytes <= shutil.disk_usage(tmp_path).total
    assert machine.system.split()[0] in ("Linux", "Darwin", "Windows")


def test_a_folder_that_does_not_exist_yet_lies_on_its_parents_disk(tmp_path: Path):
    found = detect_machine(tmp_path / "not" / "yet" / "there")
    assert found.disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert not (tmp_path / "not").exists()


def test_gpus_are_those_that_nvidias_tool_lists(tmp_path: Path, nvidia_smi):
    nvidia_smi(TWO_ROWS)
    other = Gpu("NVIDIA A100-SXM4-40GB, MIG 1g", 40_960 * 2**20)
    assert detect_machine(tmp_path).gpus == (H200, other)


@pytest.mark.parametrize(
    "script", ["exit 9", "echo 'NVIDIA-SMI has failed because it could not reach the driver'", ":"]
)
def test_a_tool_that_finds_nothing_means_no_gpus(tmp_path: Path, nvidia_smi, script: str):
    nvidia_smi(script)
    assert detect_machine(tmp_path).gpus == ()


def test_a_tool_that_cannot_be_run_means_no_gpus(tmp_path: Path, nvidia_smi):
    nvidia_smi("")
    (tmp_path / "bin" / "nvidia-smi").write_bytes(b"\x7fELF of another machine")
    assert detect_machine(tmp_path).gpus == ()


def test_a_gpu_that_shares_the_machines_memory_is_a_gpu(tmp_path: Path, nvidia_smi):
    nvidia_smi("echo 'NVIDIA GB10, [N/A]'")
    assert [gpu.name for gpu in detect_machine(tmp_path).gpus] == ["NVIDIA GB10"]


@pytest.mark.parametrize(
    ("machine", "key"),
    [(PLAIN, "AMD EPYC x2"), (TWO_GPUS, "AMD EPYC x2 NVIDIA H200+NVIDIA H200")],
)
def test_a_key_names_the_kind_of_machine(machine: Machine, key: str):
    assert machine.key == key
    assert replace(machine, disk_free_bytes=1).key == key


@pytest.mark.parametrize(
    ("asked", "machine", "device"),
    [
        ("auto", PLAIN, "cpu"),
        ("cpu", PLAIN, "cpu"),
        ("auto", TWO_GPUS, "cuda:0"),
        ("cuda", TWO_GPUS, "cuda:0"),
        ("cuda:1", TWO_GPUS, "cuda:1"),
        ("cpu", TWO_GPUS, "cpu"),
    ],
)
def test_a_device_is_chosen_from_what_is_there(asked: str, machine: Machine, device: str):
    assert choose_device(asked, machine) == device


def test_asking_for_a_gpu_where_there_is_none_names_the_cpu():
    with pytest.raises(InputError, match="Type device=cpu"):
        choose_device("cuda", PLAIN)


@pytest.mark.parametrize("visible", ["", "-1", "7"])
def test_gpus_hidden_from_cuda_are_not_there(monkeypatch, visible: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _visible(TWO_GPUS.gpus) == ()


def test_cuda_sees_the_gpus_in_the_order_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert _visible(TWO_GPUS.gpus) == tuple(reversed(TWO_GPUS.gpus))


@pytest.mark.parametrize(
    ("asked", "machine", "says"),
    [
        ("gpu", PLAIN, "Did you mean 'cpu'?"),
        ("cuda:2", TWO_GPUS, "Known: auto, cpu, cuda:0, cuda:1."),
        ("cdua:1", TWO_GPUS, "Did you mean 'cuda:1'?"),
        ("", PLAIN, "No device on this machine named ''."),
    ],
)
def test_a_device_that_is_not_there_is_told_with_those_that_are(asked, machine, says):
    with pytest.raises(UnknownNameError) as caught:
        choose_device(asked, machine)
    assert says in str(caught.value)
    assert "`traintime machine` shows what it has" in str(caught.value)
