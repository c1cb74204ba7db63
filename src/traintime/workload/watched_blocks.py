"""The blocks of a step while it is captured: which storage is which, and when it ends."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from traintime.workload.block_rules import PRODUCTS, Call, Recording, true_bytes
from traintime.workload.kernels import Phase
from traintime.workload.live_bytes import LiveBytes, address_of, tensors_of
from traintime.workload.op_rules import is_view
from traintime.workload.step_blocks import Trace

GROUPS_AT = {"convolution": 8, "convolution_backward": 9}
"""Place of their argument `groups`."""
WANTED_AT = 10
"""Place of the argument of `convolution_backward` that says which gradients it makes."""


class WatchedBlocks:
    """Writes down the blocks of operations as they run, and when nothing refers to them any more.

    Args:
        memory: Counts what is alive.
    """

    def __init__(self, memory: LiveBytes) -> None:
        self._memory = memory
        self._recording = Recording()
        self._numbers: dict[int, int] = {}
        self._views: dict[int, weakref.ref[Tensor]] = {}
        self._product: int | None = None

    def see(self, func: Any, args: Sequence[Any], result: Any, phase: Phase) -> None:
        """Write down an operation that has run.

        Args:
            func: The overload, such as `aten.mm.default`.
            args: Its arguments.
            result: What it returned.
            phase: In which it ran.
        """
        call = _call(func, args, phase)
        tensors, new = list(tensors_of(result)), self._memory.unseen(result)
        new_bytes = true_bytes(call, [tensor.untyped_storage().nbytes() for tensor in new])
        numbers = self._recording.operation(call, new_bytes)
        for tensor, num_bytes, number in zip(new, new_bytes, numbers, strict=True):
            address = address_of(tensor.untyped_storage())
            self._memory.watch(tensor, num_bytes, partial(self._end, address, number))
            self._numbers[address] = number
        if call.name == "add" and len(numbers) == 1 and (phase == "backward" or _adds_bias(args)):
            self._sum(args[0], new_bytes[0], numbers[0], of_product=phase == "forward")
        if numbers:
            self._product = numbers[0] if call.name in PRODUCTS else None
        in_place = call.name.endswith("_")
        if is_view(func) or (len(new) < len(tensors) and not in_place):
            for tensor in tensors:
                self._look(tensor)

    def end_forward(self) -> None:
        """Bring in order what ended with the forward."""
        self._recording.sort_last_ends()

    def trace(self, module: nn.Module, inputs: Any, alive: list[Tensor]) -> Trace:
        """Return what was seen, at the end of the backward.

        Args:
            module: That was trained; its gradients are there.
            inputs: It was given.
            alive: The last references to what ends with the step; they are let go of here.
        """
        gradients = [
            (parameter.nbytes, self._number_of(parameter.grad))
            for parameter in module.parameters()
            if parameter.grad is not None
        ]
        events = self._recording.events
        num_events = len(events)
        alive.clear()
        return Trace(
            events=tuple(events[:num_events]),
            weights_bytes=tuple(t.nbytes for t in (*module.parameters(), *module.buffers())),
            inputs_bytes=tuple(float(t.nbytes) for t in tensors_of(inputs)),
            gradients=tuple(
                (size, self._recording.block_of(number))
                for size, number in gradients
                if number is not None
            ),
            last=tuple(event.block for event in events[num_events:] if event.what == "end"),
        )

    def _sum(self, term: Any, num_bytes: int, total: int, *, of_product: bool) -> None:
        """Write down a sum of gradients, or what a linear layer adds to its product.

        A view's storage is referred to by what it looks at too.
        """
        if not isinstance(term, Tensor) or term._is_view():  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            return
        number = self._number_of(term)
        if of_product and number != self._product:
            return
        if number is not None and term.untyped_storage().nbytes() == num_bytes:
            self._recording.summed(number, total)

    def _number_of(self, tensor: Tensor) -> int | None:
        return self._numbers.get(address_of(tensor.untyped_storage()))

    def _end(self, address: int, number: int) -> None:
        del self._numbers[address]
        self._recording.end(number)

    def _look(self, tensor: Tensor) -> None:
        """Write down a tensor that looks at a storage, unless it was before."""
        key = id(tensor)
        known = self._views.get(key)
        if known is not None and known() is tensor:
            return
        number = self._recording.view()

        def forget(gone: weakref.ref[Tensor]) -> None:
            if self._views.get(key) is gone:
                del self._views[key]
            self._recording.end(number)

        self._views[key] = weakref.ref(tensor, forget)


def _call(func: Any, args: Sequence[Any], phase: Phase) -> Call:
    name = func._schema.name.partition("::")[2]  # noqa: SLF001
    given = list(tensors_of(args))
    floating = next((tensor for tensor in given if tensor.is_floating_point()), None)
    return Call(
        name=name,
        phase=phase,
        shapes=tuple(tuple(tensor.shape) for tensor in given),
        item_bytes=0 if floating is None else floating.element_size(),
        groups=args[GROUPS_AT[name]] if name in GROUPS_AT else 1,
        input_gradient=name != "convolution_backward" or args[WANTED_AT][0],
    )


def _adds_bias(args: Sequence[Any]) -> bool:
    """Say whether a vector is added to a matrix or more, as a linear layer does in place."""
    return isinstance(args[0], Tensor) and isinstance(args[1], Tensor) and args[1].ndim == 1


def with_both_biases(func: Any, result: Any) -> Any:
    """Give each bias of an LSTM's layer a gradient of its own, as the CPU does.

    Torch's fake kernel returns one tensor for both when it first sees a shape, and two when its
    cache answers; so the same step would be captured now with a block less, now with one more.
    """
    if func is not torch.ops.aten.mkldnn_rnn_layer_backward.default or result[3] is not result[4]:
        return result
    return (*result[:4], torch.empty_like(result[4]), *result[5:])
