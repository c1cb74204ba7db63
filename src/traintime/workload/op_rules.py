"""What one dispatched torch operation costs: its kind, FLOP and bytes.

FLOP are counted for products (2 per multiply-add); for all else the bytes moved decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from traintime.workload.op_kinds import FREE, KIND_OF, MOVES_NOTHING

SidesOf = tuple[float, float, float, float]


@dataclass(frozen=True)
class Counted:
    """One kernel at one size; fields as in `Kernel`, `sides` as (batch, rows, columns, inner)."""

    op: str
    kind: str
    flops: float = 0.0
    bytes_read: float = 0.0
    bytes_written: float = 0.0
    half: bool = False
    sides: SidesOf | tuple[()] = ()
    window: int = 1
    stride: int = 1
    dilation: int = 1


@dataclass(frozen=True)
class OpCount:
    """The kernels of one operation.

    Args:
        kernels: None for what costs nothing.
        unknown: Whether no rule knows the operation.
    """

    kernels: tuple[Counted, ...]
    unknown: bool = False


@cache
def is_view(func: Any) -> bool:
    """Say whether an operation only looks at its input in another way."""
    returns = func._schema.returns  # noqa: SLF001
    aliases = [r.alias_info for r in returns if r.alias_info is not None]
    if aliases and not any(alias.is_write for alias in aliases):
        return True
    return _name(func) in FREE


def count_op(func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> OpCount:
    """Return the kernels of one dispatched operation.

    Args:
        func: The overload, such as `aten.mm.default`.
        args: Its arguments; shapes, strides and dtypes are looked at.
        kwargs: Its named arguments.
        result: What it returned.
    """
    name, ours = _name(func), func.namespace in OURS
    if ours and name in MOVES_NOTHING:
        return OpCount(())
    read, written = _traffic(name if ours else "", args, kwargs, result)
    rule = RULES.get(name) if ours else None
    if rule:
        return OpCount(tuple(rule(f"aten.{name}", args, result, read, written)))
    kind = KIND_OF.get(name) if ours else None
    if kind is None and torch.Tag.pointwise in func.tags:
        kind = "elementwise"
    unknown = kind is None and (not ours or name in PRODUCTS_WITHOUT_RULE)
    if not written and not read:
        return OpCount((), unknown)
    half = _is_half(result)
    plain = Counted(f"{func.namespace}.{name}", kind or "other", 0.0, read, written, half)
    return OpCount((plain,), unknown)


OURS = ("aten", "prims", "traintime")
"""Namespaces whose operations the tables here mean; another's `mm` may be anything."""

PRODUCTS_WITHOUT_RULE = frozenset(
    {
        "_cdist_backward",
        "_cdist_forward",
        "cholesky_solve",
        "_fft_c2c",
        "_fft_c2r",
        "_fft_r2c",
        "geqrf",
        "linalg_cholesky_ex",
        "_linalg_eigh",
        "linalg_inv_ex",
        "linalg_lu_factor_ex",
        "linalg_matrix_exp",
        "linalg_qr",
        "_linalg_solve_ex",
        "linalg_solve_triangular",
        "_linalg_svd",
        "ormqr",
        "_scaled_mm",
        "_trilinear",
    }
)

NOT_READ = {
    0: (
        "bernoulli_ copy_ exponential_ fill_ full_like index_add_ index_copy_ index_put_ "
        "_index_put_impl_ new_full new_ones new_zeros normal_ ones_like rand_like randn_like "
        "random_ scatter_ scatter_add_ uniform_ zero_ zeros_like"
    ),
    1: (
        "_adaptive_avg_pool2d_backward adaptive_max_pool2d_backward avg_pool2d_backward "
        "avg_pool3d_backward max_pool2d_with_indices_backward max_pool3d_with_indices_backward "
        "nll_loss2d_backward nll_loss_backward"
    ),
}
"""Place of an argument of which the shape alone matters, or into which is written."""
UNREAD = {op: place for place, ops in NOT_READ.items() for op in ops.split()}

GATHERS = frozenset(
    {
        "embedding",
        "gather",
        "index",
        "index_select",
        "masked_select",
        "nll_loss2d_forward",
        "nll_loss_forward",
        "_unsafe_index",
    }
)
"""Read as many values of their first argument as they return."""

SCATTERS = frozenset(
    {"index_add_", "index_copy_", "index_put_", "_index_put_impl_", "scatter_", "scatter_add_"}
)
"""Write as many values into their first argument as they are given."""


def _traffic(
    name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any
) -> tuple[float, float]:
    """Return the bytes that an operation reads and writes."""
    reads = _read(name, args)
    written = sum(map(bytes_of, distinct_tensors(result)))
    if name in GATHERS:
        return written + _all_bytes((reads[1:], kwargs)), written
    if name in SCATTERS:
        read = _all_bytes((reads, kwargs))
        return read, min(read, written)
    return _all_bytes((reads, kwargs)), written


def _read(name: str, args: Sequence[Any]) -> list[Any]:
    unread = UNREAD.get(name)
    return [value for place, value in enumerate(args) if place != unread]


def tensors_read(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors whose values an operation reads, each once.

    Args:
        func: The overload, such as `aten.mm.default`.
        args: Its arguments.
        kwargs: Its named arguments.
    """
    name = _name(func) if func.namespace in OURS else ""
    return distinct_tensors((_read(name, args), kwargs))


def _all_bytes(values: Any) -> float:
    return sum(map(bytes_of, distinct_tensors(values)))


def _name(func: Any) -> str:
    return func._schema.name.partition("::")[2]  # noqa: SLF001


def distinct_tensors(values: Any) -> list[Tensor]:
    """Return the tensors in nested lists, tuples and mappings, each once."""
    leaves = {id(v): v for v in tree_flatten(values)[0] if isinstance(v, Tensor)}
    return list(leaves.values())


def bytes_of(tensor: Tensor) -> float:
    """Return the bytes of the values that a tensor shows, repeated ones (stride 0) counted once."""
    sides = [n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step or n == 0]
    return float(math.prod(sides) * tensor.element_size())


def _is_half(values: Any) -> bool:
    tensors = [t for t in distinct_tensors(values) if t.is_floating_point()]
    return bool(tensors) and tensors[0].element_size() == 2


def _product(
    op: str, kind: str, sides: SidesOf, read: float, written: float, half: bool
) -> Counted:
    return Counted(op, kind, 2.0 * math.prod(sides), read, written, half, sides)


def _mm(op: str, args: Sequence[Any], result: Any, read: float, written: float) -> list[Counted]:
    a, b = args[:2] if op.endswith((".mm", ".mv", ".dot")) else args[1:3]
    rows, inner = a.shape if a.ndim == 2 else (1, a.shape[0])
    columns = b.shape[1] if b.ndim == 2 else 1
    sides = (1.0, float(rows), float(columns), float(inner))
    return [_product(op, "matrix product", sides, read, written, _is_half(result))]


def _bmm(op: str, args: Sequence[Any], result: Any, read: float, written: float) -> list[Counted]:
    a, b = args[:2] if op.endswith(".bmm") else args[1:3]
    batch, rows, inner = a.shape
    sides = (float(batch), float(rows), float(b.shape[2]), float(inner))
    return [_product(op, "batched product", sides, read, written, _is_half(result))]


def _convolution_kind(groups: int, in_channels: int, window: int) -> str:
    if groups > 1:
        return "depthwise convolution" if groups == in_channels else "grouped convolution"
    return "1×1 convolution" if window == 1 else "convolution"


@dataclass(frozen=True)
class _Conv:
    """A convolution's geometry: both sides' places (batch × area) and channels."""

    places_in: float
    places_out: float
    channels_in: int
    channels_out: int
    groups: int
    area: int
    window: int
    stride: int
    dilation: int

    @property
    def kind(self) -> str:
        return _convolution_kind(self.groups, self.channels_in, self.window)

    @property
    def flops(self) -> float:
        inner = self.channels_in / self.groups * self.area
        return 2.0 * self.places_out * self.channels_out * inner

    def sides(self, role: str) -> SidesOf:
        """Return the product's sides for the forward, the input's and the weight's gradient."""
        per_in, per_out = self.channels_in / self.groups, self.channels_out / self.groups
        match role:
            case "forward":
                return (self.groups, self.places_out, per_out, per_in * self.area)
            case "input gradient":
                return (self.groups, self.places_in, per_in, per_out * self.area)
            case _:
                return (self.groups, per_out, per_in * self.area, self.places_out)


def _geometry(
    x: Tensor, weight: Tensor, out: Tensor, how: Sequence[Any], transposed: bool, groups: int
) -> _Conv:
    """Return it; `how` are stride, padding and dilation."""
    stride, _, dilation = how
    if transposed:  # the gradient of a convolution: its roles are exchanged
        x, out = out, x
    kernel = list(weight.shape[2:])
    return _Conv(
        places_in=float(x.shape[0] * math.prod(x.shape[2:])),
        places_out=float(out.shape[0] * math.prod(out.shape[2:])),
        channels_in=x.shape[1],
        channels_out=out.shape[1],
        groups=groups,
        area=math.prod(kernel),
        window=max(kernel),
        stride=max(stride),
        dilation=max(dilation),
    )


def _conv(op: str, args: Sequence[Any], result: Any, read: float, written: float) -> list[Counted]:
    """A convolution, and where cuDNN computes it a pass over the result that adds the bias."""
    x, weight, bias, *how, transposed, _, groups = args[:9]
    conv, half = _geometry(x, weight, result, how, transposed, groups), _is_half(result)
    role = "input gradient" if transposed else "forward"
    if bias is None or conv.kind == "depthwise convolution":
        return [_convolution(op, conv, role, read, written, half)]
    of_bias = bytes_of(bias)
    adding = Counted(f"{op}.bias", "elementwise", 0.0, written + of_bias, written, half)
    return [_convolution(op, conv, role, read - of_bias, written, half), adding]


def _convolution(
    op: str, conv: _Conv, role: str, read: float, written: float, half: bool
) -> Counted:
    shape = conv.window, conv.stride, conv.dilation
    return Counted(op, conv.kind, conv.flops, read, written, half, conv.sides(role), *shape)


def _conv_backward(
    op: str, args: Sequence[Any], result: Any, _read: float, _written: float
) -> list[Counted]:
    grad, x, weight, _, *how, transposed, _, groups, mask = args[:11]
    conv = _geometry(x, weight, grad, how, transposed, groups)
    half = grad.element_size() == 2
    into, of_weight, of_bias = result
    kernels: list[Counted] = []
    if mask[0]:
        role = "forward" if transposed else "input gradient"
        moved = bytes_of(grad) + bytes_of(weight)
        kernels.append(_convolution(f"{op}.input", conv, role, moved, bytes_of(into), half))
    if mask[1]:
        moved = bytes_of(grad) + bytes_of(x)
        kernels.append(
            _convolution(f"{op}.weight", conv, "weight gradient", moved, bytes_of(of_weight), half)
        )
    if mask[2]:
        kernels.append(
            Counted(f"{op}.bias", "reduction", 0, bytes_of(grad), bytes_of(of_bias), half)
        )
    return kernels


def _grouped(
    op: str, args: Sequence[Any], result: Any, read: float, written: float
) -> list[Counted]:
    """Products of groups of rows, each with its own matrix: the experts of a mixture."""
    a, b = args[:2]
    batch = a.shape[0] if a.ndim == b.ndim == 3 else 1
    sides = (float(batch), float(a.shape[-2]), float(b.shape[-1]), float(a.shape[-1]))
    return [_product(op, "batched product", sides, read, written, _is_half(result))]


def _attention(
    op: str, args: Sequence[Any], result: Any, read: float, written: float
) -> list[Counted]:
    """Two products forward; backward computes the scores anew: five (Dao et al. 2022).

    Scores of a causal mask's empty half are counted, as by torch's own counter.
    """
    backward = "backward" in op
    query, key, value = args[1:4] if backward else args[:3]
    batch = float(math.prod(query.shape[:-2]))
    rows, inner, columns = query.shape[-2], query.shape[-1], key.shape[-2]
    sides = (batch, float(rows), float(columns), float(inner))
    inners = 3 * inner + 2 * value.shape[-1] if backward else inner + value.shape[-1]
    flops = 2.0 * batch * rows * columns * inners
    return [Counted(op, "attention", flops, read, written, _is_half(result), sides)]


def _recurrent(
    op: str, args: Sequence[Any], _result: Any, read: float, written: float
) -> list[Counted]:
    """A recurrent network, layer by layer, each with one product a step.

    The sides are those of T products of (B, C + H) and (C + H, gates·H), which wait for each other.
    """
    backward = "backward" in op
    x, states, weights = args[2:5] if backward else args[:3]
    batch, half = states[0].shape[1], x.element_size() == 2
    steps = x.shape[0] * x.shape[1] / batch
    matrices = [weight for weight in weights if weight.ndim == 2]
    pairs = list(zip(matrices[::2], matrices[1::2], strict=True))
    kernels: list[Counted] = []
    for of_input, of_state in pairs:
        inner = float(of_input.shape[1] + of_state.shape[1])
        sides = (steps, float(batch), float(of_input.shape[0]), inner)
        flops = (2 if backward else 1) * 2.0 * math.prod(sides)
        moved = read / len(pairs), written / len(pairs)
        kernels.append(
            Counted(op.replace("recurrent", "_cudnn_rnn"), "recurrent", flops, *moved, half, sides)
        )
    return kernels


def _recurrent_layer(
    op: str, args: Sequence[Any], _result: Any, read: float, written: float
) -> list[Counted]:
    """One layer of an LSTM on a CPU that computes: (T, B, C) and both weight matrices."""
    x, of_input, of_state = args[:3]
    inner = float(of_input.shape[1] + of_state.shape[1])
    sides = (float(x.shape[0]), float(x.shape[1]), float(of_input.shape[0]), inner)
    flops = (2 if "backward" in op else 1) * 2.0 * math.prod(sides)
    return [Counted(op, "recurrent", flops, read, written, x.element_size() == 2, sides)]


ATTENTIONS = (
    "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_backward "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_efficient_attention_backward "
    "_scaled_dot_product_cudnn_attention _scaled_dot_product_cudnn_attention_backward "
    "_scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_flash_attention_for_cpu_backward"
)

Rule = Callable[[str, Sequence[Any], Any, float, float], list[Counted]]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("mm", "addmm", "mv", "addmv", "dot"), _mm),
    **dict.fromkeys(("bmm", "baddbmm"), _bmm),
    **dict.fromkeys(("convolution", "_convolution"), _conv),
    "convolution_backward": _conv_backward,
    "_grouped_mm": _grouped,
    **dict.fromkeys(ATTENTIONS.split(), _attention),
    **dict.fromkeys(("recurrent", "recurrent_backward"), _recurrent),
    **dict.fromkeys(("mkldnn_rnn_layer", "mkldnn_rnn_layer_backward"), _recurrent_layer),
}
