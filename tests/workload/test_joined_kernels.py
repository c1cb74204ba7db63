import pytest
import torch
from torch import nn
from torch.nn import functional as F

from traintime.workload.captured_step import capture_step
from traintime.workload.kernels import KernelGraph, merge_alike


class Does(nn.Module):
    """A function between two linear layers."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def left(module: nn.Module, *inputs: torch.Tensor, numerics="fp32") -> dict[tuple[str, str], float]:
    """Return what share of its bytes the last of each operation has left, by name and phase."""
    step = capture_step(module, (inputs, {}), numerics)
    return {
        (counted.op.removeprefix("aten."), phase): pytest.approx(share, abs=0.02)
        for (counted, phase, _), share in zip(step.kernels, step.shares_left, strict=True)
    }


def of_function(function, numerics="fp32"):
    return left(Does(function), torch.zeros(512, 64), numerics=numerics)


def test_what_one_hands_to_the_next_is_neither_written_nor_read():
    shares = of_function(lambda x: F.silu(x).sin().tanh())
    assert shares["silu", "forward"] == 0.5
    assert shares["sin", "forward"] == 0.0
    assert shares["tanh", "forward"] == 0.5


def test_products_are_left_as_they_are():
    shares = of_function(torch.sin)
    assert shares["addmm", "forward"] == shares["mm", "backward"] == 1.0


def test_no_kernel_waits_for_a_product_within_itself():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.last = (nn.Linear(64, 64) for _ in range(3))

        def forward(self, x):
            x = self.first(x).sin()
            return self.last(x + self.inner(x))

    shares = left(Residual(), torch.zeros(512, 64))
    assert shares["sin", "forward"] == 1.0
    assert shares["add", "forward"] == 1.0


def test_what_the_backward_can_compute_again_is_not_kept():
    shares = of_function(lambda x: F.silu(x.sin()))
    assert shares["sin", "forward"] == 0.5
    assert shares["silu", "forward"] == 0.5
    kept = of_function(lambda x: torch.sigmoid(x @ torch.eye(64)))
    assert kept["sigmoid", "forward"] == 1.0


def test_a_mask_is_drawn_again():
    shares = of_function(lambda x: F.dropout(x.sin(), 0.5, training=True))
    assert shares["native_dropout", "forward"] == 4 / 9


def test_a_value_that_several_read_is_read_once():
    shares = of_function(lambda x: torch.maximum(x.sin(), x))
    assert shares["maximum", "forward"] == 1 / 3


def test_parts_of_a_value_are_read_each():
    def halves(x):
        left, right = x.chunk(2, dim=1)
        return torch.cat([left * right.sin(), left], dim=1)

    shares = of_function(halves)
    assert shares["sin", "forward"] == 0.5
    assert shares["mul", "forward"] == 1 / 3


def test_constants_cost_nothing():
    shares = of_function(lambda x: x + torch.ones(512, 64))
    assert shares["ones", "forward"] == 0.0
    assert shares["add", "forward"] == 2 / 3


def test_norms_over_a_batch_read_what_they_are_given_twice():
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    shares = left(nn.Sequential(network, nn.Flatten(), nn.Linear(512, 2)), torch.zeros(64, 8, 8, 8))
    # two readings and what is written; the bias is added within
    assert shares["convolution.bias", "forward"] == 1.0
    assert shares["native_batch_norm", "forward"] == 1 / 3
    assert shares["relu", "forward"] == 0.5
    # the relu's gradient is written for the second pass and read once
    assert shares["threshold_backward", "backward"] == 1.0
    assert shares["native_batch_norm_backward", "backward"] == 0.8


def test_casts_join_what_they_stand_between():
    shares = of_function(lambda x: F.layer_norm(x, (64,)), numerics="amp")
    assert shares["native_layer_norm", "forward"] == pytest.approx(0.0, abs=0.1)


def test_what_is_written_in_place_is_a_new_value():
    shares = of_function(lambda x: x.sin().mul_(2.0).add_(1.0))
    assert shares["sin", "forward"] == 0.5
    assert shares["mul_", "forward"] == 0.0
    assert shares["add_", "forward"] == 0.5


def test_no_more_is_spared_than_is_moved():
    shares = of_function(lambda x: x.sin()[torch.zeros(4, dtype=torch.long)])
    assert 0.0 <= shares["index", "forward"].expected <= 1.0
    # the row that is read is in the kernel, what is written is not
    assert shares["index", "forward"].expected > 0.4


def test_a_part_that_was_read_is_not_the_whole():
    def twice(x):
        return x * x[:, :1].sin()

    shares = of_function(twice)
    assert shares["mul", "forward"].expected > 0.95


def test_what_a_product_wrote_around_a_part_is_read():
    def in_part(x):
        x[:, :1].add_(1.0)
        return x.sin()

    assert of_function(in_part)["sin", "forward"].expected > 0.95


def test_what_waits_for_nothing_comes_when_it_is_needed():
    """RMS norm by hand: what its backward makes of the input alone joins the rest of it."""

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.middle, self.last = (nn.Linear(64, 64) for _ in range(3))

        def forward(self, x):
            x = self.first(x)
            x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))
            return self.last(self.middle(x).sin())

    shares = left(Norm(), torch.zeros(512, 64))
    assert shares["pow", "backward"] == 0.0


def test_what_is_made_of_constants_is_constant():
    def masked(x):
        mask = torch.ones(512, 64).tril() == 0
        return x.masked_fill(mask, 0.0)

    shares = of_function(masked)
    assert shares["tril", "forward"] == shares["eq", "forward"] == 0.0
    assert shares["masked_fill", "forward"] == pytest.approx(8 / 9, abs=0.05)


def test_what_is_added_to_places_needs_them_in_memory():
    def scattered(x):
        return torch.zeros_like(x).index_add_(0, torch.zeros(512, dtype=torch.long), x.sin())

    shares = of_function(scattered)
    assert shares["index_add_", "forward"] == shares["zeros_like", "forward"] == 1.0


def test_a_convolution_that_learns_its_bias_alone():
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.conv.weight.requires_grad_(False)

        def forward(self, x):
            return self.conv(x).sin().flatten(1)

    shares = left(Frozen(), torch.zeros(4, 3, 8, 8))
    assert shares["convolution_backward.bias", "backward"].expected < 0.1


def test_sorting_is_not_joined():
    shares = of_function(lambda x: x.sin().sort().values)
    assert shares["sort", "forward"] == 1.0
    assert shares["sin", "forward"] == 1.0


def test_shares_survive_a_file_and_tell_kernels_apart():
    row = ["aten.relu", "elementwise", "forward", "a", 1, 0, 0, [0, 4], [0, 4], 0, 1, 1]
    graph = {
        "model": "tiny", "source": "a test", "numerics": "fp32", "num_calls": 1, "parameters": 1,
        "parameter_tensors": 1, "buffers_bytes": 0, "kept_bytes": 0, "peak_bytes": 0,
        "input_shape": [1], "size_unit": None, "unknown": [],
        "kernels": [row, [*row, 1, 0.5]],
    }  # fmt: skip
    first, second = KernelGraph.from_json(graph).kernels
    assert (first.share_left, second.share_left) == (1.0, 0.5)
    assert KernelGraph.from_json(graph).to_json()["kernels"] == graph["kernels"]
    assert len(merge_alike((first, second))) == 2
