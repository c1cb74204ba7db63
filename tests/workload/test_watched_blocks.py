import pytest
import torch
from torch import nn
from torch.nn import functional as F

from traintime.workload.captured_step import capture_step
from traintime.workload.step_blocks import Event, Trace


def trace_of(module: nn.Module, *args: torch.Tensor, numerics="fp32", real=False) -> Trace:
    step = capture_step(module, (args, {}), numerics, torch.sum, target="cpu", real=real)
    assert step.trace
    return step.trace


def sizes(trace: Trace, *whats: str) -> list[float]:
    return [e.num_bytes for e in trace.events if e.what in whats]


@pytest.mark.parametrize("real", [False, True])
def test_the_blocks_of_a_linear_layer_by_hand(real):
    trace = trace_of(nn.Linear(8, 4), torch.zeros(16, 8), real=real)
    assert trace.weights_bytes == (128, 16)
    assert trace.inputs_bytes == (512.0,)
    # the output, the loss; then where the backward begins, and both gradients
    assert sizes(trace, "result") == [256, 4]
    assert sizes(trace, "tensor")[-2:] == [128, 16]
    by_number = {e.block: e.num_bytes for e in trace.events if e.what == "tensor"}
    assert [(size, by_number[block]) for size, block in trace.gradients] == [(128, 128), (16, 16)]


def test_what_nothing_refers_to_any_more_ends_and_gradients_stay():
    trace = trace_of(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.zeros(16, 8))
    made = {e.block for e in trace.events if e.what in ("tensor", "result")}
    ended = [e.block for e in trace.events if e.what == "end"]
    assert len(ended) == len(set(ended))
    gradients = {block for _, block in trace.gradients}
    assert made - set(ended) - set(trace.last) == gradients
    assert not gradients & {*ended, *trace.last}


def test_the_loss_ends_with_the_step():
    trace = trace_of(nn.Linear(8, 4), torch.zeros(16, 8))
    scalar = next(e.block for e in trace.events if e.num_bytes == 4)
    assert scalar in trace.last


def test_sizes_are_as_asked_for_and_not_as_handed_out():
    trace = trace_of(nn.Linear(3, 5, bias=False), torch.zeros(7, 3))
    assert sizes(trace, "result")[0] == 4 * 7 * 5


def test_looking_at_a_storage_is_a_block_of_its_own():
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 4))

        def forward(self, x):
            return (self.weight.t() * x).relu_()

    trace = trace_of(Turned(), torch.zeros(4, 4))
    kinds = [event.what for event in trace.events]
    assert kinds[:4] == ["node", "view", "node", "result"]
    # what is computed in place is neither a result nor another view
    assert sizes(trace, "result").count(64) == 1


def test_what_autocast_lets_go_of_ends_in_the_order_in_which_it_came():
    network = nn.Sequential(*(nn.Linear(8, 8) for _ in range(12)))
    traces = [trace_of(network, torch.zeros(2, 8), numerics="amp") for _ in range(4)]
    assert all(trace == traces[0] for trace in traces)


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def test_an_lstm_takes_the_same_blocks_whether_torch_has_seen_its_shape_or_not():
    lengths = (torch.zeros(3, steps, 8) for steps in (41, 41, 43))  # the second is known
    kinds = [
        [(event.what, event.block) for event in trace_of(LastState(), x).events] for x in lengths
    ]
    assert kinds[0] == kinds[1] == kinds[2]


def test_what_an_lstm_keeps_counts_as_kept():
    step = capture_step(LastState(), ((torch.zeros(32, 50, 8),), {}), loss=torch.sum, target="cpu")
    assert step.trace
    (workspace,) = (e.num_bytes for e in step.trace.events if e.what == "workspace")
    assert workspace == pytest.approx(61 * 51 * 32 * 16, rel=0.01)
    assert step.peak_bytes > step.kept_bytes > workspace


def test_of_a_step_on_cuda_no_blocks_are_told_apart():
    step = capture_step(nn.Linear(8, 4), ((torch.zeros(16, 8),), {}), loss=torch.sum)
    assert step.trace is None


def test_convolutions_are_known_by_their_groups_and_gradients():
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(32, 2, 3, 3))

        def forward(self, x):
            return F.conv2d(x, self.weight, groups=16)

    trace = trace_of(Grouped(), torch.zeros(2, 32, 8, 8))
    assert "primitives" not in {event.what for event in trace.events}  # as matrix products
    whole = trace_of(nn.Conv2d(32, 32, 3), torch.zeros(2, 32, 8, 8))
    # one forward and the weight's gradient: the input's is not wanted
    assert [e.what for e in whole.events].count("primitives") == 2


def test_a_trace_holds_plain_numbers():
    trace = trace_of(nn.Linear(8, 4), torch.zeros(16, 8))
    assert all(type(event) is Event for event in trace.events)


def test_gradients_of_a_value_that_is_used_thrice_are_added_in_place():
    class Thrice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(50, 50))

        def forward(self, x):
            y = self.weight * x
            return y.sin() + y.cos() + y.exp()

    trace = trace_of(Thrice(), torch.zeros(50, 50))
    # nine operations make one in the backward, of which two are sums
    assert sizes(trace, "tensor").count(10_000) == 7


def test_a_linear_layer_adds_its_bias_in_place():
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 24)

        def forward(self, x):
            return self.layer(x.transpose(0, 1))

    trace = trace_of(Turned(), torch.zeros(16, 3, 8))
    assert sizes(trace, "result").count(4 * 16 * 3 * 24) == 1


def test_a_sum_of_what_is_no_product_is_a_block_of_its_own():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(24))

        def forward(self, x):
            return torch.sin(x * self.shift) + self.shift

    trace = trace_of(Shifted(), torch.zeros(16, 24))
    assert sizes(trace, "result").count(4 * 16 * 24) == 3
