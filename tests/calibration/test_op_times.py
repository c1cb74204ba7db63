"""Operations that the profiler times and kernels of a capture are known by the same keys."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for folder in ("calibration", "benchmarks"):
    sys.path.insert(0, str(Path(__file__).parents[2] / folder))

from torch import nn  # noqa: E402

import cpu_architectures  # noqa: E402
import cpu_steps  # noqa: E402
from op_times import keys_of, seconds_of, time_ops  # noqa: E402


def timed_and_known(*, bias: bool) -> tuple[dict[str, float], set[str]]:
    """Return seconds by operation, and what the kernels of convolutions are known by."""

    def build() -> nn.Module:
        first, last = nn.Conv2d(3, 8, 3, bias=bias), nn.Conv2d(8, 6, 1, bias=bias)
        between = nn.Conv2d(8, 8, 3, groups=8, bias=bias)
        head = nn.Linear(6 * 12 * 12, 10)
        return nn.Sequential(first, nn.ReLU(), between, last, nn.Flatten(), head)

    case = cpu_steps.Case("one", "cnn", build, lambda b: torch.randn(b, 3, 16, 16), 4)
    graph = cpu_steps.graph_of(case, "fp32")
    step = cpu_steps.make_step(case, "fp32", "sgd")
    timed = time_ops(step, graph, budget_s=0.01, most=2)
    keys = keys_of(graph, case.batch_size, timed)
    assert all(seconds_of(key, timed) > 0 for key in keys if "conv" in key or "linear" in key)
    return timed, {key for key in keys if key.startswith("convolution")}


def test_convolutions_of_a_network_are_told_apart_by_their_weights():
    _, of_convolutions = timed_and_known(bias=False)
    assert of_convolutions == {
        f"{name} {weights}"
        for name in ("convolution forward", "convolution_backward backward")
        for weights in (3 * 8 * 9, 8 * 9, 8 * 6)
    }


def test_convolutions_with_a_bias_are_one_operation():
    timed, of_convolutions = timed_and_known(bias=True)
    assert of_convolutions == {"convolution forward", "convolution_backward backward"}
    forward = [seconds for key, seconds in timed.items() if key.startswith("convolution forward ")]
    assert len(forward) == 3
    assert seconds_of("convolution forward", timed) == pytest.approx(sum(forward))


def test_timings_that_do_not_tell_them_apart_are_read_as_they_are():
    assert seconds_of("convolution forward", {"convolution forward": 2.0}) == 2.0


def test_every_architecture_has_a_name_of_its_own_and_none_is_examined():
    from unseen_models import MODELS

    names = [case.name for case in cpu_architectures.cases()]
    assert len(set(names)) == len(names) > 70
    assert all(":" in name for name in names)
    assert not {name.partition(":")[2] for name in names} & {model.name for model in MODELS}
