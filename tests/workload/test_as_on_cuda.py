import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from traintime.workload.captured_step import CapturedStep, capture_step


class Calls(nn.Module):
    """A layer whose weights are learned, so that all after it has a backward."""

    def __init__(self, function, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.function = function

    def forward(self, x):
        return self.function(self.first(x))


def step(function, shape=(2, 8, 64), numerics="fp32", width=64) -> CapturedStep:
    return capture_step(Calls(function, width), ((torch.zeros(*shape),), {}), numerics)


def ops(captured: CapturedStep, phase="forward") -> list[str]:
    return [counted.op for counted, when, _ in captured.kernels if when == phase]


def is_half(captured: CapturedStep, op: str) -> bool:
    (found,) = [c for c, when, _ in captured.kernels if c.op == op and when == "forward"]
    return found.half


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: x.softmax(-1), "aten._softmax"),
        (lambda x: F.softmax(x, -1), "aten._softmax"),
        (lambda x: torch.log_softmax(x, -1), "aten._log_softmax"),
        (lambda x: F.layer_norm(x, (64,)), "aten.native_layer_norm"),
        (nn.GroupNorm(8, 8), "aten.native_group_norm"),
        (lambda x: x**2, "aten.pow"),
        (lambda x: x.pow(3), "aten.pow"),
        (torch.exp, "aten.exp"),
        (lambda x: x.square().mean(-1).rsqrt(), "aten.rsqrt"),
        (F.softplus, "aten.softplus"),
        (lambda x: x.logsumexp(-1), "aten.logsumexp"),
        (lambda x: F.interpolate(x, scale_factor=2), "aten.upsample_nearest1d"),
    ],
)
def test_autocast_on_cuda_keeps_these_in_fp32(function, op):
    assert not is_half(step(function, numerics="amp"), op)


@pytest.mark.parametrize(
    ("function", "op"),
    [(F.relu, "aten.relu"), (F.gelu, "aten.gelu"), (lambda x: x.mean(-1), "aten.mean")],
)
def test_what_follows_a_product_stays_in_16_bits(function, op):
    captured = step(function, numerics="amp")
    assert is_half(captured, op)
    assert is_half(captured, "aten.addmm")


def test_fp32_stays_fp32():
    assert not any(counted.half for counted, _, _ in step(F.relu).kernels)


def attend(**options):
    def function(x):  # (B, T, C) -> (B, heads, T, C / heads)
        heads = x.unflatten(-1, (4, 16)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, **options)

    return function


FLASH = "aten._scaled_dot_product_flash_attention"
EFFICIENT = "aten._scaled_dot_product_efficient_attention"


@pytest.mark.parametrize(
    ("numerics", "options", "op"),
    [
        ("fp32", {}, EFFICIENT),
        ("fp32", {"dropout_p": 0.1, "is_causal": True}, EFFICIENT),
        ("amp", {"dropout_p": 0.1}, FLASH),
        ("amp", {"is_causal": True}, FLASH),
        ("amp", {"attn_mask": torch.zeros(8, 8)}, EFFICIENT),
        ("amp", {"attn_mask": torch.ones(2, 1, 8, 8, dtype=torch.bool)}, EFFICIENT),
    ],
)
def test_attention_is_one_kernel_whatever_its_dropout_and_mask(numerics, options, op):
    captured = step(attend(**options), numerics=numerics)
    assert ops(captured).count(op) == 1
    assert ops(captured, "backward").count(f"{op}_backward") == 1
    assert not {"aten.bmm", "aten._softmax"} & set(ops(captured))


def test_a_learned_mask_gets_its_gradient():
    class Biased(Calls):
        def __init__(self) -> None:
            super().__init__(None)
            self.bias = nn.Parameter(torch.zeros(4, 8, 8))
            self.function = lambda x: attend(attn_mask=self.bias)(x)

    captured = capture_step(Biased(), ((torch.zeros(2, 8, 64),), {}))
    assert EFFICIENT in ops(captured)
    assert "aten.sum" in ops(captured, "backward")  # over the batch, into the bias


def test_fewer_keys_than_queries_are_shared_by_flash_attention():
    def grouped(x):
        heads = x.unflatten(-1, (4, 16)).transpose(1, 2)
        pair = heads[:, :2]
        return F.scaled_dot_product_attention(heads, pair, pair, enable_gqa=True)

    assert FLASH in ops(step(grouped, numerics="amp"))


@pytest.mark.parametrize("numerics", ["fp32", "amp"])
def test_torchs_own_attention_layer_launches_it_too(numerics):
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True)
    captured = capture_step(layer, ((torch.zeros(2, 8, 64),), {}), numerics)
    assert (FLASH if numerics == "amp" else EFFICIENT) in ops(captured)
    assert ops(captured).count("aten.native_dropout") == 3
    norms = [c for c, _, _ in captured.kernels if c.op == "aten.native_layer_norm"]
    assert not any(norm.half for norm in norms)


def test_dropout_is_one_kernel_with_a_mask_of_bytes():
    captured = step(nn.Dropout(0.1))
    assert ops(captured)[:2] == ["aten.addmm", "aten.native_dropout"]
    assert "aten.native_dropout_backward" in ops(captured, "backward")
    values = 2 * 8 * 64
    (drop,) = [c for c, _, _ in captured.kernels if c.op == "aten.native_dropout"]
    assert (drop.bytes_read, drop.bytes_written) == (4 * values, 5 * values)


def test_no_dropout_is_no_kernel():
    assert "aten.native_dropout" not in ops(step(nn.Dropout(0.0)))


def test_rms_norm_is_one_kernel():
    captured = step(nn.RMSNorm(64))
    assert ops(captured)[:2] == ["aten.addmm", "aten.native_layer_norm"]


def test_what_a_checkpoint_computes_anew_is_as_on_cuda_too():
    captured = step(lambda x: checkpoint(nn.Dropout(0.1), x, use_reentrant=False))
    assert "aten.native_dropout" in ops(captured, "backward")


class TakesOutput(nn.Module):
    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, x, *states):
        out, last = self.recurrent(x, *states)
        return out.sum() + (last[0] if isinstance(last, tuple) else last).sum()


@pytest.mark.parametrize(
    ("kind", "gates", "options"),
    [
        (nn.LSTM, 4, {}),
        (nn.LSTM, 4, {"num_layers": 2, "dropout": 0.5, "bidirectional": True}),
        (nn.LSTM, 4, {"batch_first": True, "bias": False}),
        (nn.GRU, 3, {"num_layers": 2}),
        (nn.RNN, 1, {}),
        (nn.RNN, 1, {"nonlinearity": "relu"}),
    ],
)
@pytest.mark.parametrize("numerics", ["fp32", "amp"])
def test_a_recurrent_network_is_a_kernel_for_each_layer_and_direction(
    kind, gates, options, numerics
):
    steps, batch, width, units = 6, 5, 32, 48
    module = kind(width, units, **options)
    shape = (batch, steps) if options.get("batch_first") else (steps, batch)
    captured = capture_step(TakesOutput(module), ((torch.zeros(*shape, width),), {}), numerics)
    found = [(c, when) for c, when, _ in captured.kernels if c.kind == "recurrent"]
    layers = module.num_layers * (1 + module.bidirectional)
    assert len(found) == 2 * layers
    first, phase = found[0]
    assert (phase, first.op, first.sides) == (
        "forward",
        "aten._cudnn_rnn",
        (steps, batch, gates * units, width + units),
    )
    assert first.half is (numerics == "amp")
    forward = sum(c.flops for c, when in found if when == "forward")
    assert sum(c.flops for c, when in found if when == "backward") == 2 * forward


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_products_of_a_recurrent_network_are_those_of_its_steps(kind):
    steps, batch, width, units = 4, 3, 8, 16
    with torch.device("meta"):
        module = TakesOutput(kind(width, units, num_layers=2))
        x = torch.zeros(steps, batch, width, requires_grad=True)
        states = torch.zeros(2, batch, units, requires_grad=True)
        given = (states, states.detach().requires_grad_()) if kind is nn.LSTM else states
        counter = FlopCounterMode(display=False)
        with counter:
            module(x, given).backward()
    captured = capture_step(module, ((x, given), {}))
    assert sum(c.flops for c, _, _ in captured.kernels) == counter.get_total_flops()


def test_a_recurrent_network_that_projects_is_taken_apart():
    captured = capture_step(TakesOutput(nn.LSTM(8, 16, proj_size=4)), ((torch.zeros(3, 2, 8),), {}))
    assert "recurrent" not in {c.kind for c, _, _ in captured.kernels}
