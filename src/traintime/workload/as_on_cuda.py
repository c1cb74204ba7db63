"""What torch does on CUDA where it does otherwise on the CPU that captures.

Autocast keeps another list of operations in fp32; attention with dropout or a learned bias stays
one kernel; a recurrent network is cuDNN's, where a CPU takes it apart step by step.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Generator, Sequence
from functools import cache
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# AT_FORALL_FP32, AT_FORALL_FP32_SET_OPT_DTYPE and "norm" of torch 2.13's ATen/autocast_mode.h, by
# the names that Python calls them; https://docs.pytorch.org/docs/stable/amp.html lists the same.
FP32_ON_CUDA = frozenset(
    """
    __pow__ __rdiv__ __rpow__ __rtruediv__ _upsample_bicubic2d_aa _upsample_bilinear2d_aa acos
    arccos asin arcsin binary_cross_entropy_with_logits cdist cosh cosine_embedding_loss
    cosine_similarity cross_entropy cumprod cumsum dist erfinv exp expm1 group_norm
    hinge_embedding_loss huber_loss interpolate kl_div l1_loss layer_norm linalg_matrix_norm
    linalg_norm linalg_vector_norm log log10 log1p log2 log_softmax logsumexp
    margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss native_layer_norm
    nll_loss norm normalize pdist poisson_nll_loss pow prod reciprocal renorm rms_norm rsqrt
    sinh smooth_l1_loss soft_margin_loss softmax softmin softplus sum tan triplet_margin_loss
    upsample
    """.split()  # noqa: SIM905 - as a list it fills the screen
)
ASKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
FLASH_HEAD = 256
"""Widest head of flash attention on CUDA; aten/src/ATen/native/transformers/cuda/sdp_utils.cpp."""


class AsOnCuda(TorchFunctionMode):
    """Makes torch's functions launch what they launch on CUDA.

    Args:
        computed: Values are computed on the CPU, so kernels that it lacks must not appear.
    """

    def __init__(self, *, computed: bool = False) -> None:
        super().__init__()
        self.kernels = {"dropout": _drop} if computed else KERNELS

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in FP32_ON_CUDA and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_to_fp32, (args, kwargs))
        elif _asks_again(func):
            with self:
                return _without_asking(func)(*args, **kwargs)
        kernel = None if isinstance(func, FunctionType) else self.kernels.get(name)
        return kernel(func, *args, **kwargs) if kernel else func(*args, **kwargs)


def _to_fp32(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    return value


def _to_half(value: Any) -> Any:
    """Return what autocast hands to a product."""
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.to(torch.get_autocast_dtype("cpu"))
    return value


def _asks_again(func: Any) -> bool:
    """Say whether it is one of torch's that calls others: attention, or a backward's checkpoint."""
    return (
        isinstance(func, FunctionType)
        and func.__module__ in ("torch.nn.functional", "torch.autograd")
        and any(name in ASKS for name in func.__code__.co_names)
    )


@cache
def _without_asking(func: FunctionType) -> Callable[..., Any]:
    """Return a function that goes ahead at once, so that what it calls can be seen."""
    names = func.__globals__ | dict.fromkeys(ASKS, lambda *_: False)
    plain = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    plain.__kwdefaults__ = func.__kwdefaults__
    return plain


def _drop(func: Callable[..., Tensor], x: Tensor, p: float, train: bool) -> Tensor:
    """Dropout by one kernel that keeps a mask of one byte a value."""
    return torch.native_dropout(x, p, train)[0] if train and 0 < p < 1 else func(x, p, train)


def _rms_norm(
    _func: Callable[..., Tensor],
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS norm, one kernel since torch 2.9, as a layer norm: it moves the same values."""
    return torch.native_layer_norm(x, shape, weight, None, eps or 1e-5)[0]


def _attend(
    func: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention by CUDA's kernel of choice: flash in 16 bits without a mask, else efficient."""
    shared = key.shape[-3:-2] != query.shape[-3:-2]
    if torch.is_autocast_enabled("cpu"):
        query, key, value, attn_mask = tree_map(_to_half, (query, key, value, attn_mask))
    half = query.element_size() == 2
    alike = query.shape[-1] == value.shape[-1] <= FLASH_HEAD
    flash = half and attn_mask is None and alike
    if query.ndim != 4 or (shared and not flash):  # no kernel of its own on CUDA either
        options = {"scale": scale, "enable_gqa": enable_gqa}
        return func(query, key, value, attn_mask, dropout_p, is_causal, **options)
    if flash:
        flashed = torch.ops.aten._scaled_dot_product_flash_attention  # noqa: SLF001
        return flashed(query, key, value, dropout_p, is_causal, scale=scale)[0]
    bias = None if attn_mask is None else _bias(attn_mask, query, key)
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention  # noqa: SLF001
    return efficient(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]


def _bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, -math.inf)
    return mask.to(query.dtype).expand(*query.shape[:3], key.shape[2])


RESERVED = {"lstm": 6, "gru": 5, "rnn_tanh": 1, "rnn_relu": 1}
"""Values a layer keeps for each step and unit: gates, state, cell (GRU: the new gate's state)."""


def _is_padded(args: Sequence[Any]) -> bool:
    """Say whether it is a plain batch on one set of four weights a layer: cuDNN's usual case."""
    if len(args) != 9 or not isinstance(args[2], list):
        return False
    _, _, weights, has_biases, num_layers, _, _, bidirectional, _ = args
    return len(weights) == num_layers * (1 + bidirectional) * (4 if has_biases else 2)


def _recur(func: Callable[..., Any], *args: Any) -> Any:
    """A recurrent network as one call of cuDNN, which drops out between its layers itself."""
    if not _is_padded(args):
        return func(*args)
    x, states, weights, _, num_layers, _, _, bidirectional, _ = args
    states = [states] if isinstance(states, Tensor) else list(states)
    if torch.is_autocast_enabled("cpu"):
        x, states, weights = tree_map(_to_half, (x, states, weights))
    layers = num_layers * (1 + bidirectional)
    kept = RESERVED[func.__name__] * layers
    out, _, *last = recurrent(x, states, weights, kept, bidirectional)
    return (out, *last)


KERNELS: dict[str, Callable[..., Any]] = {
    "dropout": _drop,
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attend,
    "lstm": _recur,
    "gru": _recur,
    "rnn_tanh": _recur,
    "rnn_relu": _recur,
}


@torch.library.custom_op("traintime::recurrent", mutates_args=())
def recurrent(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    kept: int,
    bidirectional: bool,
) -> list[Tensor]:
    """Stand for cuDNN's recurrent network; it is captured and never computed.

    Args:
        x: (T, B, C) or (B, T, C).
        states: First state, and for an LSTM first cell, each (layers, B, H).
        weights: Of each layer and direction: (gates·H, C), (gates·H, H), and biases if any.
        kept: Values kept for the backward, for each step of a sample and each of the H units.
        bidirectional: Whether each layer runs in both directions.

    Returns:
        Output, what is kept, last state, and for an LSTM last cell.
    """
    raise NotImplementedError


@recurrent.register_fake
def _(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    kept: int,
    bidirectional: bool,
) -> list[Tensor]:
    hidden = weights[1].shape[1]
    out = x.new_empty(*x.shape[:2], hidden * (1 + bidirectional))
    reserve = x.new_empty(x.shape[0] * x.shape[1] * hidden * kept)
    return [out, reserve, *(torch.empty_like(state) for state in states)]


@torch.library.custom_op("traintime::recurrent_backward", mutates_args=())
def recurrent_backward(
    grads: list[Tensor], reserve: Tensor, x: Tensor, states: list[Tensor], weights: list[Tensor]
) -> list[Tensor]:
    """Return the gradients of what came in, the states and the weights."""
    raise NotImplementedError


@recurrent_backward.register_fake
def _(
    _grads: list[Tensor], _reserve: Tensor, x: Tensor, states: list[Tensor], weights: list[Tensor]
) -> list[Tensor]:
    return [torch.empty_like(value) for value in (x, *states, *weights)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, states, weights = inputs[:3]
    ctx.set_materialize_grads(False)
    ctx.num_states = len(states)
    ctx.save_for_backward(output[1], x, *states, *weights)


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    reserve, x, *rest = ctx.saved_tensors
    states, weights = rest[: ctx.num_states], rest[ctx.num_states :]
    given = [grad for grad in grads if grad is not None]
    found = cast("list[Tensor]", recurrent_backward(given, reserve, x, states, weights))
    split = 1 + ctx.num_states
    return found[0], found[1:split], found[split:], None, None


recurrent.register_autograd(_backward, setup_context=_keep)


@contextlib.contextmanager
def not_packed() -> Generator[None]:
    """Let transformers take each row for one text, as it does where it can look.

    Of tensors without values it assumes that rows may hold several, and masks them from each other;
    the mask keeps attention from its flash kernel.
    """
    name = "find_packed_sequence_indices"
    masks = sys.modules.get("transformers.masking_utils")
    before = getattr(masks, name, None)
    if masks and before:
        setattr(masks, name, lambda *_: None)
    try:
        yield
    finally:
        if masks and before:
            setattr(masks, name, before)
