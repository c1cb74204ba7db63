import copy
import json
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from traintime.errors import InputError
from traintime.workload.capture import Subject, capture, graph_of, three_sizes
from traintime.workload.captured_step import capture_step, default_loss
from traintime.workload.kernels import Amount, KernelGraph
from traintime.workload.refusals import NeedsValuesError
from traintime.workload.step_blocks import trace_at


@torch.library.custom_op("traintime_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


twice.register_autograd(lambda _ctx, grad: twice(grad))


@torch.library.custom_op("traintime_tests::thrice", mutates_args=())
def thrice(x: torch.Tensor) -> torch.Tensor:
    return x * 3


thrice.register_autograd(lambda _ctx, grad: thrice(grad))


class Then(nn.Module):
    """A linear layer and what is done with its output."""

    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.function = function

    def forward(self, x):
        return self.function(self.linear(x))


def images(batch: int, size: int):
    return (torch.zeros(batch, 3, size, size),), {}


def subject(module: nn.Module, inputs=images, size: int = 32, unit="pixels", **fields) -> Subject:
    shape = (3, size, size) if unit == "pixels" else (size,)
    return Subject("tiny", "a test", module, inputs, shape, size, unit, **fields)


def of_vectors(module: nn.Module, width: int = 8) -> Subject:
    def inputs(batch: int, _size: int):
        return (torch.ones(batch, width),), {}

    return Subject("tiny", "a test", module, inputs, (width,))


def flops(module: nn.Module, *args: torch.Tensor, numerics="fp32") -> float:
    step = capture_step(module, (args, {}), numerics, lambda out: out.float().sum())
    return sum(counted.flops for counted, _, _ in step.kernels)


def flops_of_torch(module: nn.Module, *args: torch.Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        copy.deepcopy(module).to("meta")(*(arg.to("meta") for arg in args)).sum().backward()
    return counter.get_total_flops()


class PlainAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        return (q @ k.transpose(-1, -2)).softmax(-1) @ v


@pytest.mark.parametrize("numerics", ["fp32", "amp"])
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)), (7, 20)),
        (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 5)), (2, 3, 9, 9)),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, dilation=2)), (2, 3, 9, 9)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2, stride=2)), (2, 3, 8, 8)),
        (nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3)), (2, 3, 15, 15)),
        (nn.Sequential(nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 3)), (2, 3, 20)),
        (nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv3d(4, 4, (1, 3, 3))), (2, 3, 6, 6, 6)),
        (PlainAttention(), (2, 10, 32)),
    ],
    ids=str,
)
def test_products_of_forward_and_backward_are_those_that_torch_counts(module, shape, numerics):
    x = torch.zeros(*shape)
    assert flops(module, x, numerics=numerics) == flops_of_torch(module, x)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(8, 8, 3, groups=4), (2, 8, 15, 15)),
        (nn.Conv2d(8, 16, 3, stride=2, groups=2), (2, 8, 15, 15)),
        (nn.Conv2d(8, 8, 3, groups=8), (2, 8, 8, 8)),
        (nn.Conv1d(8, 8, 3, groups=2), (2, 8, 20)),
        (nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2), (2, 8, 8, 8)),
    ],
    ids=str,
)
def test_both_gradients_of_groups_are_as_much_as_the_forward(module, shape):
    # torch's counter takes the gradient of a grouped weight for one of all channels
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(torch.zeros(*shape))
    x = torch.zeros(*shape, requires_grad=True)
    assert flops(module, x) == 3 * counter.get_total_flops()


def test_attention_is_counted_as_torch_counts_its_kernel():
    layer = nn.MultiheadAttention(32, 4, batch_first=True)

    class Itself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x, x, x, need_weights=False)[0]

    tokens, width, batch = 10, 32, 2
    projections = (
        3 * 2 * batch * tokens * width * width * 4 - 2 * batch * tokens * width * 3 * width
    )
    attention = (2 + 5) * 2 * batch * tokens * tokens * width
    # the input needs no gradient, so the first projection has one product less
    assert flops(Itself(), torch.zeros(batch, tokens, width)) == projections + attention


@pytest.mark.parametrize("numerics", ["fp32", "amp"])
def test_three_sizes_say_what_a_fourth_takes_of_a_convolutional_network(numerics):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    graph = capture(subject(network), numerics, (16, 32, 48))
    fourth = capture(subject(network, size=64), numerics)
    for batch in (1, 16, 50):
        assert graph.flops(batch, 4.0) == pytest.approx(fourth.flops(batch), rel=1e-9)
        assert moved(graph, batch, 4.0) == pytest.approx(moved(fourth, batch), rel=1e-6)
    assert (graph.size_unit, fourth.size_unit) == ("pixels", None)


def test_three_sizes_say_what_a_fourth_takes_of_a_transformer():
    network = nn.Sequential(
        nn.Embedding(100, 32), nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    )

    def inputs(batch: int, size: int):
        return (torch.zeros(batch, size, dtype=torch.long),), {}

    graph = capture(subject(network, inputs, 64, "tokens"), "fp32", (32, 64, 96))
    fourth = capture(subject(network, inputs, 160, "tokens"))
    assert graph.flops(24, 160 / 64) == pytest.approx(fourth.flops(24), rel=1e-9)
    assert moved(graph, 24, 160 / 64) == pytest.approx(moved(fourth, 24), rel=1e-9)


class Counted(nn.Module):
    """A few words scored: weights fill the memory of short texts, activations that of long ones."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.scores = nn.Embedding(2_000, 32), nn.Linear(32, 2_000)

    def forward(self, ids):
        return self.scores(self.words(ids))


@pytest.mark.parametrize("numerics", ["fp32", "amp"])
def test_memory_of_text_eight_times_as_long_is_as_captured_there(numerics):
    def inputs(batch: int, size: int):
        return (torch.zeros(batch, size, dtype=torch.long),), {}

    graph = capture(subject(Counted(), inputs, 8, "tokens"), numerics, (2, 4, 8))
    longer = capture(subject(Counted(), inputs, 64, "tokens"), numerics)
    for batch in (8, 64):
        assert graph.peak_bytes.at(batch, 8.0) == pytest.approx(
            longer.peak_bytes.at(batch), rel=0.01
        )
        assert graph.kept_bytes.at(batch, 8.0) == pytest.approx(
            longer.kept_bytes.at(batch), rel=0.01
        )
    assert graph.kept_bytes.per_sample[2] == graph.peak_bytes.per_sample[2] == 0


def moved(graph: KernelGraph, batch: float, size: float = 1.0) -> float:
    return sum(
        kernel.count * (kernel.bytes_read.at(batch, size) + kernel.bytes_written.at(batch, size))
        for kernel in graph.kernels
    )


def test_memory_of_a_small_network_by_hand():
    network = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 128))
    step = capture_step(network, ((torch.zeros(64, 256),), {}), loss=torch.sum)
    hidden, scalar = 64 * 512 * 4, 512  # an allocator hands out no less than 512 bytes
    # The ReLU keeps its output, which the second layer keeps too; the loss is alive.
    assert step.kept_bytes == hidden + scalar
    # Most lives when the first layer's gradients are made: the hidden values' gradient, and
    # gradients of all weights and biases.
    gradients = 4 * (256 * 512 + 512 + 512 * 128 + 128)
    assert step.peak_bytes == pytest.approx(hidden + gradients + scalar, abs=2 * scalar)


def test_memory_in_amp_keeps_halves_and_copies_of_weights():
    network = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 128))
    step = capture_step(network, ((torch.zeros(64, 256),), {}), "amp", torch.sum)
    copies = 2 * (64 * 256 + 512 * 128)  # of the input and of the second layer's weight
    assert step.kept_bytes == pytest.approx(2 * 64 * 512 + copies + 4 * 64 * 128, abs=33_000)


def test_nothing_is_left_alive():
    seen: list[weakref.ref[torch.Tensor]] = []

    def keep(x):
        seen.append(weakref.ref(x))
        return x

    capture_step(Then(keep), ((torch.zeros(4, 8),), {}))
    assert all(one() is None for one in seen)


@pytest.mark.parametrize("real", [False, True])
def test_a_module_is_left_as_it_was(real):
    module = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout())
    module[0].weight.grad = torch.ones(8, 8)
    module.register_buffer("plain", torch.ones(3))
    module.attribute = torch.ones(3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    identities = {name: id(value) for name, value in module.named_parameters()}
    module.eval()
    random_state = torch.get_rng_state()
    x = torch.ones(4, 8)
    capture_step(module, ((x,), {}), real=real)
    assert not module.training
    assert not module[2].training
    assert {name: id(value) for name, value in module.named_parameters()} == identities
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(module[0].weight.grad, torch.ones(8, 8))
    assert module[0].bias.grad is None
    assert type(module.attribute) is torch.Tensor
    assert not module[0]._forward_hooks
    assert not module[0]._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_recurrent_network_is_left_as_it_was():
    lstm = nn.LSTM(8, 8)
    weights = list(lstm._flat_weights)
    capture_step(nn.Sequential(lstm), ((torch.zeros(3, 2, 8),), {}), loss=lambda out: out[0].sum())
    assert all(a is b for a, b in zip(lstm._flat_weights, weights, strict=True))
    assert lstm(torch.zeros(3, 2, 8))[0].isfinite().all()


def test_a_model_in_evaluation_mode_is_captured_as_it_is_trained():
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout()).eval()
    step = capture_step(module, ((torch.zeros(4, 8),), {}))
    assert "aten.native_dropout" in {counted.op for counted, _, _ in step.kernels}


def test_a_part_that_is_frozen_stays_frozen():
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 8))
    module[1].eval()
    module[0].requires_grad_(False)
    step = capture_step(module, ((torch.zeros(4, 8),), {}))
    names = [(counted.op, phase) for counted, phase, _ in step.kernels]
    assert "aten.native_dropout" not in dict(names)
    assert names.count(("aten.mm", "backward")) == 1  # only the last weight's


def test_a_model_without_memory_is_captured_on_meta():
    with torch.device("meta"):
        huge = nn.Linear(1_000_000, 1_000_000)
    graph = capture(of_vectors(huge, 1_000_000))
    assert graph.parameters == 10**12 + 10**6
    assert graph.flops(3) == 2 * 2 * 3 * 10**12


def test_blocks_are_kept_at_both_batch_sizes_for_a_cpu_alone():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    graph = capture(subject(network), target="cpu")
    assert graph.traces
    (small, first), (large, second) = graph.traces
    assert (small, large) == (16, 32)
    for batch in (16, 32):
        played = trace_at(batch, graph.traces)
        assert played == (first if batch == 16 else second)
    assert capture(subject(network)).traces is None
    assert capture(subject(network), "fp32", (16, 32, 48), target="cpu").traces is None


def test_blocks_of_a_graph_are_not_stored():
    graph = graph_of(of_vectors(nn.Linear(8, 8)), target="cpu")
    assert graph.traces
    text = json.dumps(graph.to_json())
    assert "traces" not in text
    assert KernelGraph.from_json(json.loads(text)).traces is None


def test_a_graph_says_what_it_is_and_where_its_kernels_are():
    network = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
    graph = capture(of_vectors(network))
    assert (graph.model, graph.source, graph.input_shape) == ("tiny", "a test", (8,))
    assert (graph.parameters, graph.parameter_tensors) == (8 * 16 + 16 + 32 + 16 * 4 + 4, 6)
    assert graph.buffers_bytes == 2 * 16 * 4 + 8
    places = {k.where for k in graph.kernels if k.kind == "matrix product" and k.phase == "forward"}
    assert places == {"0", "2"}
    assert graph.kept_bytes.at(32) > graph.kept_bytes.at(16) > 0
    assert KernelGraph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


def test_quantities_of_one_size_are_affine_in_the_batch():
    (product,) = [k for k in capture(of_vectors(nn.Linear(8, 16))).kernels if k.op == "aten.addmm"]
    assert product.flops == Amount((0.0,), (2.0 * 8 * 16,))
    assert product.bytes_written == Amount((0.0,), (64.0,))
    assert product.bytes_read == Amount((4.0 * (8 * 16 + 16),), (32.0,))


def test_another_module_is_built_for_another_size_where_it_must_be():
    def built_for(side: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2))

    graph = capture(subject(built_for(8), size=8, at_size=built_for), "fp32", (4, 8, 12))
    assert graph.parameters == 3 * 64 * 2 + 2
    assert graph.flops(5, 2.0) == 2 * 2 * 5 * 2 * 3 * 128


def test_a_model_that_does_otherwise_at_another_size_is_refused():
    class Shrinks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            return (F.relu(x) if x.shape[-1] > 16 else x).mean((2, 3))

    with pytest.raises(InputError, match="other operations at another batch or input size"):
        capture(subject(Shrinks()), "fp32", (16, 32, 48))


def test_an_operation_that_nobody_knows_is_counted_in_bytes_and_named():
    graph = graph_of(of_vectors(Then(twice)))
    assert graph.unknown == ("traintime_tests.twice.default",)
    assert graph.source == "a test"
    found = [k for k in graph.kernels if k.op == "traintime_tests.twice"]
    assert [(k.kind, k.phase) for k in found] == [("other", "forward"), ("other", "backward")]
    assert found[0].bytes_read == found[0].bytes_written == Amount((0.0,), (32.0,))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2 if x.sum() > -1e9 else x,
        lambda x: x[x > -1e9].sum(),
        lambda x: x * float(x.detach().numpy().size),
        lambda x: x * len(x.tolist()),
        thrice,
    ],
    ids=["branch", "mask", "numpy", "tolist", "no fake kernel"],
)
def test_what_depends_on_values_is_computed_with_a_tiny_batch(function):
    module = Then(function)
    with pytest.raises(NeedsValuesError):
        capture(of_vectors(module))
    graph = graph_of(of_vectors(module))
    assert graph.source == (
        "a test; computed with batches of 2 and 4, as shapes alone do not say what it does"
    )
    assert graph.flops(100) == 2 * 2 * 100 * 8 * 8


def test_a_model_without_weights_cannot_be_computed_and_says_where_it_looked():
    with torch.device("meta"):
        module = nn.Sequential(Then(lambda x: x[x > 0]))
    with pytest.raises(NeedsValuesError, match=r"layer '0' \(Then\).*register_fake"):
        graph_of(of_vectors(module))


def test_what_fails_in_both_ways_says_both():
    def picky(x):
        if x.sum() > -1e9:
            raise ValueError("I never liked this")
        return x

    with pytest.raises(InputError, match=r"register_fake.*tiny batch failed too.*never liked this"):
        graph_of(of_vectors(Then(picky)))


@pytest.mark.parametrize(
    ("module", "x", "message"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
            torch.zeros(4, 3, 32, 32),
            r"stopped in its layer '1' \(Linear\).*3072.*784.*input=3x224x224",
        ),
        (
            nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3))),
            torch.zeros(4, 1, 8, 8),
            r"layer '0\.0' \(Conv2d\).*to have 3 channels, but got 1",
        ),
        (nn.Embedding(10, 4), torch.zeros(4, 8), r"its forward \(Embedding\).*Long, Int"),
    ],
)
def test_an_input_of_the_wrong_shape_names_the_layer_that_refused_it(module, x, message):
    with pytest.raises(InputError, match=message):
        capture_step(module, ((x,), {}))


def test_a_part_that_failed_and_was_forgiven_is_not_blamed():
    class Forgives(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(8, 8)

        def forward(self, x):
            try:
                self.first(x)
            except RuntimeError:
                x = self.second(x)
            return x.reshape(3, 3, 3)

    with pytest.raises(InputError, match=r"its forward \(Forgives\)"):
        capture_step(nn.Sequential(Forgives())[0], ((torch.zeros(4, 8),), {}))


def test_a_backward_that_fails_is_said_to():
    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise ValueError("no way back")

    with pytest.raises(InputError, match="stopped in its backward: no way back"):
        capture_step(Then(Refuses.apply), ((torch.zeros(4, 8),), {}))


def test_a_model_that_learns_nothing_is_refused():
    with pytest.raises(InputError, match="nothing to forecast"):
        capture_step(nn.Linear(8, 8).requires_grad_(False), ((torch.zeros(4, 8),), {}))


class Output(dict):
    loss = None


@pytest.mark.parametrize(
    ("shape", "op"),
    [((4, 10), "aten._log_softmax"), ((4, 5, 10), "aten.sum"), ((4, 1), "aten.sum")],
)
def test_scores_of_classes_are_judged_by_cross_entropy_and_all_else_summed(shape, op):
    class Gives(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.zeros(*shape))

        def forward(self, x):
            return self.value * 1

    step = capture_step(Gives(), ((torch.zeros(1),), {}))
    assert op in {counted.op for counted, _, _ in step.kernels}


def test_a_models_own_loss_is_taken():
    output = Output(scores=torch.zeros(4, 10, requires_grad=True))
    output.loss = torch.tensor(3.0)
    assert default_loss(output) is output.loss


def test_sizes_to_capture_at():
    module = nn.Linear(8, 8)
    assert three_sizes(subject(module, size=224)) == (160, 224, 288)
    assert three_sizes(subject(module, size=512, unit="tokens")) == (128, 256, 512)
    assert three_sizes(of_vectors(module)) == ()
