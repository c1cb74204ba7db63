"""How long one waits for a forecast: wall time from the shell, start of the process to its end.

    python benchmarks/forecast_latency.py            # `--rounds 2` for a first look
    python benchmarks/environments.py estimators    # once, for the peers

Ours are asked, as one types it, for a shipped model on one device and on all, and for a module of
300 layers from a file; for the first two as JSON besides. Beside them stand tools that import what
they answer about: those that take a module are given the same file, `accelerate estimate-memory`
the same model by its name on the hub. They answer less: parameters, FLOP or memory, hardly any the
time. All take turns; the first round fills the disk's cache and stays out. Ratios are against our
answer to the same question in the same round.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

import measured_on
import processes
from environments import OURS, packages_in, python_of

ONE_DEVICE = "model=resnet50 data=imagenet device=rtx-3090"
ALL_DEVICES = "model=resnet50 data=imagenet device=all"
OWN_MODULE = "model={file}:build samples=50000 device=rtx-3090"
PEERS_LIVE_IN = "estimators"
HUB_NAME = "timm/resnet50.a1_in1k"
TIMEOUT_S = 300.0
ANSWERED = '{"answered": true}'
SAYS_IF_TORCH = """
import sys
from traintime.cli.main import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""

MY_MODULE = '''
"""A module of 300 layers, as a user might have written it."""

import torch
from torch import nn


def build(batch_size=8):
    layers, channels = [], 3
    for depth in range(99):
        width = 32 * 2 ** (depth // 33)
        stride = 2 if channels != width else 1
        layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    return nn.Sequential(*layers, *head), torch.randn(batch_size, 3, 64, 64)
'''
START = """
import json, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from my_module import build
"""
# Beside a CPU's torch, torchvision's import asks for operators that nobody has defined.
SHIM = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
MEM_TRACKER = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
with FakeTensorMode():
    module, batch = build(64)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    tracker = MemTracker()
    tracker.track_external(module, optimizer, batch)
    with tracker:
        module(batch).sum().backward()
        optimizer.step()
peak = tracker.get_tracker_snapshot("peak")
print(json.dumps({"peak_bytes": sum(parts["Total"] for parts in peak.values())}))
"""
RUNTIME_ESTIMATOR = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.runtime_estimator import RuntimeEstimator
with FakeTensorMode():
    module, batch = build(64)
    with RuntimeEstimator()("operator-level-cost-model") as estimator:
        module(batch).sum().backward()
print(json.dumps({"seconds": estimator.total_runtime / 1e3}))
"""
FLOP_COUNTER = """
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
with FakeTensorMode(), FlopCounterMode(display=False) as counter:
    module, batch = build(64)
    module(batch).sum().backward()
print(json.dumps({"flops": counter.get_total_flops()}))
"""
TORCHINFO = """
from torchinfo import summary
module, batch = build()
print(json.dumps({"macs": summary(module, input_data=batch, verbose=0).total_mult_adds}))
"""
FVCORE = """
from fvcore.nn import FlopCountAnalysis
print(json.dumps({"macs": FlopCountAnalysis(*build()).total()}))
"""
CALFLOPS = """
from calflops import calculate_flops
module, batch = build()
flops, _, _ = calculate_flops(
    module, input_shape=tuple(batch.shape), print_results=False, output_as_string=False
)
print(json.dumps({"flops": flops}))
"""
THOP = """
from thop import profile
module, batch = build()
print(json.dumps({"macs": profile(module, inputs=(batch,), verbose=False)[0]}))
"""
ACCELERATE = f"""
import json, sys
from accelerate.commands.accelerate_cli import main
sys.argv = ["accelerate", "estimate-memory", "{HUB_NAME}", "--library_name", "timm"]
main()
print(json.dumps({{"printed": True}}))
"""


@dataclass(frozen=True)
class Contender:
    """One who is asked.

    Args:
        label: How the table calls it.
        question: "shipped", "all" or "module": which of ours its ratio is against.
        packages: What must be installed for it, in any of the environments.
        code: Python that prints a JSON object; empty for ours, whose words are `words`.
        words: Of our command line.
        goal_s: Seconds that it should take, for all devices beyond those for one; None for a peer.
    """

    label: str
    question: str
    packages: tuple[str, ...] = ("torch",)
    code: str = ""
    words: str = ""
    goal_s: float | None = None

    @property
    def environment(self) -> str:
        """The environment that has all it needs; empty if it is not here."""
        if self.words:
            return OURS
        installed = {package.lower().replace("_", "-") for package in packages_in(PEERS_LIVE_IN)}
        return PEERS_LIVE_IN if installed.issuperset(self.packages) else ""

    @property
    def why_not(self) -> str:
        """Why nobody here can ask it."""
        return f"environment '{PEERS_LIVE_IN}' has not {' and '.join(self.packages)}"

    def command(self, module_file: Path) -> list[str]:
        """Return the command line that asks it."""
        if self.words:
            words = self.words.format(file=module_file).split()
            return [*_our_command(), "forecast", *words]
        return [str(python_of(self.environment)), "-c", self.code, str(module_file)]


SHIPPED, ALL, MODULE = (
    Contender("traintime, one device", "shipped", words=ONE_DEVICE, goal_s=0.4),
    Contender("traintime, all devices", "all", words=ALL_DEVICES, goal_s=0.1),
    Contender("traintime, own module", "module", words=OWN_MODULE, goal_s=5.0),
)
OURS_BY_QUESTION = {contender.question: contender for contender in (SHIPPED, ALL, MODULE)}
AS_JSON = (
    Contender("traintime, one device, as JSON", "shipped", words=f"{ONE_DEVICE} --json"),
    Contender("traintime, all devices, as JSON", "all", words=f"{ALL_DEVICES} --json"),
)
PEERS = (
    Contender("Python alone", "shipped", (), "print('{}')"),
    Contender("import torch alone", "module", ("torch",), "import torch; print('{}')"),
    Contender(
        "accelerate estimate-memory",
        "shipped",
        ("accelerate", "transformers", "timm"),
        SHIM + ACCELERATE,
    ),
    Contender("torch MemTracker", "module", ("torch",), START + MEM_TRACKER),
    Contender("torch RuntimeEstimator", "module", ("torch",), START + RUNTIME_ESTIMATOR),
    Contender("torch FlopCounterMode", "module", ("torch",), START + FLOP_COUNTER),
    Contender("torchinfo", "module", ("torch", "torchinfo"), START + TORCHINFO),
    Contender("fvcore", "module", ("torch", "fvcore"), START + FVCORE),
    Contender("calflops", "module", ("torch", "calflops"), SHIM + START + CALFLOPS),
    Contender("thop", "module", ("torch", "thop"), START + THOP),
)


def main() -> None:
    """Ask everyone in turn, print the table and write the result."""
    given = _arguments()
    console = Console()
    everyone = (SHIPPED, ALL, MODULE, *AS_JSON, *PEERS)
    able = [contender for contender in everyone if contender.environment]
    facts = measured_on.measured_on(contender.environment for contender in able)
    answers = Answers({}, [], {c.label: c.why_not for c in everyone if not c.environment})
    rows: list[dict[str, Any]] = []
    imports_torch = _imports_torch()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        module_file = Path(folder) / "my_module.py"
        module_file.write_text(MY_MODULE, encoding="utf-8")
        for place in range(given.rounds + 1):
            console.print(f"round {place} of {given.rounds}", highlight=False)
            for contender in able:
                answers.ask(contender, module_file, counts=place > 0)
            rows = [row for contender in able if (row := _row(contender, answers.seconds))]
            result = {
                "benchmark": "forecast_latency",
                "measured_on": facts,
                "settings": {"rounds": place},
                "imports_torch": imports_torch,
                "rows": rows,
                **asdict(answers),
            }
            measured_on.write(given.out, result)
    console.print(_table(rows, given.rounds))
    for label, problem in answers.problems.items():
        console.print(f"No answer from {label}: {problem}", highlight=False, markup=False)
    console.print(f"For a shipped model torch is imported: {imports_torch}", highlight=False)
    others = median(answers.cores_used_by_others or [0.0])
    console.print(measured_on.in_words(facts, others), highlight=False)
    console.print(f"Written to {given.out}", highlight=False)


@dataclass(frozen=True)
class Answers:
    """What came of asking.

    Args:
        seconds: Of each counted round, by contender.
        cores_used_by_others: What else the machine did meanwhile, each time.
        problems: Why there is no answer, by contender; who fails once is not asked again.
    """

    seconds: dict[str, list[float]]
    cores_used_by_others: list[float]
    problems: dict[str, str]

    def ask(self, contender: Contender, module_file: Path, *, counts: bool) -> None:
        """Ask one contender and note what came of it."""
        if contender.label in self.problems:
            return
        command = contender.command(module_file)
        finished = _asked(command)
        if finished.problem:
            self.problems[contender.label] = f"{finished.problem}; {_last_words(command)}"
        elif counts:
            self.seconds.setdefault(contender.label, []).append(finished.seconds_to_exit)
            self.cores_used_by_others.append(finished.cores_used_by_others)


def _our_command() -> list[str]:
    script = Path(sys.executable).with_name("traintime")
    return [str(script)] if script.exists() else [sys.executable, "-m", "traintime"]


def _asked(command: list[str]) -> processes.Finished:
    """Ask from a shell, which answers for those whose answer is a list: no outcome to wait for."""
    line = f"{shlex.join(command)} && echo '{ANSWERED}'"
    return processes.run(["sh", "-c", line], TIMEOUT_S)


def _last_words(command: list[str]) -> str:
    """Return what a command that fails says of it; ours says it in JSON, where nobody listened."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
    return said[-1].strip()[:300] if said else ""


def _imports_torch() -> bool | None:
    """Say whether a forecast of a shipped model imports torch; None if there is no forecast."""
    command = [sys.executable, "-c", SAYS_IF_TORCH, "forecast", *ONE_DEVICE.split(), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()[-1:]
    return None if done.returncode or not said else said[0] == "True"


def _row(contender: Contender, seconds: dict[str, list[float]]) -> dict[str, Any] | None:
    taken = seconds.get(contender.label, [])
    if not taken:
        return None
    ours = seconds.get(OURS_BY_QUESTION[contender.question].label, [])
    ratios = [a / b for a, b in zip(taken, ours, strict=False)]
    row = {
        "contender": contender.label,
        "question": contender.question,
        "environment": contender.environment,
        "n": len(taken),
        "min_s": min(taken),
        "median_s": median(taken),
        "max_s": max(taken),
        "ratio": median(ratios) if ratios else None,
        "goal_s": contender.goal_s,
    }
    # Beyond one device's, as the goal is meant.
    before = seconds.get(SHIPPED.label, []) if contender is ALL else [0.0] * len(taken)
    if contender.goal_s and before:
        row["against_goal_s"] = median(a - b for a, b in zip(taken, before, strict=False))
    return row


def _table(rows: list[dict[str, Any]], rounds: int) -> Table:
    drawn = Table(
        title=f"Waiting for an answer, start to end of the process, {rounds} rounds in turn",
        title_justify="left",
    )
    drawn.add_column("")
    for heading in ("min", "median", "max", "× ours", "goal"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        goal = "–"
        if "against_goal_s" in row:
            met = "met" if row["against_goal_s"] <= row["goal_s"] else "missed"
            more = "+" if row["question"] == ALL.question else ""
            goal = f"{more}{row['goal_s']:g} s {met}"
        ratio = f"{row['ratio']:.2f} {row['question']}" if row["ratio"] else "–"
        times = [f"{row[name]:.3f} s" for name in ("min_s", "median_s", "max_s")]
        drawn.add_row(row["contender"], *times, ratio, goal)
    return drawn


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="that count (default: 7)")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "forecast_latency.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
