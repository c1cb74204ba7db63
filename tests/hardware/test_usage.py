import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from traintime.hardware.usage import UsageMeter, memory_left


def own_group(root: Path, controllers: str = "") -> Path:
    """Return the folder in which this process's control group would be under another root."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    name = next((line.split(":", 2)[2] for line in lines if line.startswith("0::")), "/")
    folder = root / controllers / name.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fake_smi(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho $@ >> {folder}/calls\n{script}\n")
    tool.chmod(0o755)


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_process_that_computes_uses_the_processor(tmp_path: Path) -> None:
    meter = UsageMeter(tmp_path)
    began = time.perf_counter()
    spin(0.3)
    usage = meter.sample()
    cores = len(psutil.Process().cpu_affinity() or ())
    expected = 0.3 / (time.perf_counter() - began) / cores
    assert usage.cpu == pytest.approx(expected, rel=0.2)
    assert 0 <= usage.others_cpu <= 1


def test_process_that_sleeps_uses_none(tmp_path: Path) -> None:
    meter = UsageMeter(tmp_path)
    time.sleep(0.3)
    assert meter.sample().cpu < 0.1


def test_work_of_another_process_is_that_of_others(tmp_path: Path) -> None:
    code = "import time\nend = time.time() + 1.2\nwhile time.time() < end: pass"
    other = subprocess.Popen([sys.executable, "-c", code])
    time.sleep(0.3)
    meter = UsageMeter(tmp_path)
    time.sleep(0.5)
    usage = meter.sample()
    other.wait()
    assert usage.others_cpu > 0.3 / (psutil.cpu_count() or 1)
    assert usage.cpu < 0.2


def test_work_of_a_worker_is_its_own(tmp_path: Path) -> None:
    code = "import time\nend = time.time() + 1.2\nwhile time.time() < end: pass"
    worker = subprocess.Popen([sys.executable, "-c", code])
    time.sleep(0.3)
    meter = UsageMeter(tmp_path, workers=lambda: [worker.pid, 2**22 + 1])
    time.sleep(0.5)
    usage = meter.sample()
    worker.kill()
    worker.wait()
    assert usage.cpu > 0.2 / len(psutil.Process().cpu_affinity() or ())
    assert meter.sample().cpu < 0.2, "it has ended"


def test_memory_and_disk_are_those_of_the_machine(tmp_path: Path) -> None:
    usage = UsageMeter(tmp_path).sample()
    assert usage.rss_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert 0 < usage.available_bytes <= usage.limit_bytes <= psutil.virtual_memory().total
    assert usage.disk_free_bytes > 0
    assert (usage.gpu, usage.gpu_memory_bytes) == (None, None)


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="control groups are Linux's")
def test_limit_of_a_control_group_counts_without_its_cached_files(tmp_path: Path) -> None:
    group = own_group(tmp_path)
    (group / "memory.max").write_text("1000000\n")
    (group / "memory.current").write_text("950000\n")
    (group / "memory.stat").write_text("anon 500000\ninactive_file 250000\n")
    assert memory_left(psutil.Process().pid, tmp_path) == (300000, 1000000)


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="control groups are Linux's")
def test_group_without_a_limit_leaves_the_machine_s_memory(tmp_path: Path) -> None:
    group = own_group(tmp_path)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("950000\n")
    available, limit = memory_left(psutil.Process().pid, tmp_path)
    assert limit == psutil.virtual_memory().total
    assert available > 1000000


def test_gpu_is_asked_by_the_name_that_cuda_shows_it_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi(tmp_path, "echo '83, 20480, 143771'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    usage = UsageMeter(tmp_path, "cuda:1").sample()
    assert (usage.gpu, usage.gpu_memory_bytes) == (0.83, 20480 * 2**20)
    assert usage.gpu_limit_bytes == 143771 * 2**20
    assert "-i 3 " in (tmp_path / "calls").read_text()


def test_part_of_a_gpu_tells_its_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi(tmp_path, "echo '[N/A], 20480, 143771'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    usage = UsageMeter(tmp_path, "cuda:0").sample()
    assert (usage.gpu, usage.gpu_memory_bytes) == (None, 20480 * 2**20)


def test_gpu_tool_that_fails_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, "exit 9")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    meter = UsageMeter(tmp_path, "cuda:0")
    assert {meter.sample().gpu for _ in range(6)} == {None}
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
