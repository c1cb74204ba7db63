"""The law of a processor's kernels with everything in it that is fitted, over all timings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpu_steps import Timed
from op_times import OPTIMIZER, keys_of, seconds_of
from traintime.forecast.processor_law import (
    GRAIN_VALUES,
    class_names,
    image_side,
    joined,
    kernel_parts,
    padded_side,
    padding,
    shared_part,
    start_seconds,
)
from traintime.hardware.processor import ProcessorRates, typical
from traintime.workload.kernels import PRODUCT_KINDS, KernelGraph

START = {
    "peak_share": 1.0,  # logit of a share of the largest, less 1
    "bandwidth_share": -1.0,
    "value_flops": math.log(100.0) - 1.0,
    "rows_at_half": 1.0,
    "columns_at_half": 2.0,
    "inner_at_half": 2.5,
    "side_at_half": -1.0,
    "padding_cost": -1.0,  # logit
    "start_s": math.log(1.4e-6),
    "grain_values": math.log(GRAIN_VALUES),
}
"""Where each class starts, and is drawn to where the data say nothing; logarithms but for two."""
PULL = {
    "peak_share": 0.1,
    "bandwidth_share": 0.1,
    "value_flops": 0.03,
    "rows_at_half": 0.05,
    "columns_at_half": 0.05,
    "inner_at_half": 0.05,
    "side_at_half": 0.05,
    "padding_cost": 0.05,
    "start_s": 0.1,
    "grain_values": 0.05,
}
OF_PRODUCTS = ("peak_share", "rows_at_half", "columns_at_half", "inner_at_half")
LARGEST_SHARE = 2.5
"""Of the rate of products: Winograd's convolutions of 3×3 save more than half of the arithmetic."""
SCALARS = {
    "overlap": 0.0,  # logit of how far the exponent is between 1 and the largest
    "cache_bytes": math.log(6e6),
    "one_core": math.log(0.5),
    "dispatch_calls": math.log(0.5),
    "update_calls": math.log(2.0),  # of an operation
    "update_bytes": math.log(4.0),  # of a value
}
LARGEST_EXPONENT = 6.0
OPTIMIZER_OPS = {"sgd": 3, "adam": 8, "adamw": 9, "muon": 10}
"""Operations that update a tensor in torch: for SGD with momentum mul, add, add."""
OPTIMIZER_VALUES = {"sgd": 8, "adam": 18, "adamw": 20, "muon": 9}
"""Values that these read and write for each parameter, one operation after the other."""
SHORTEST_S = 2e-6
"""The profiler's own cost drowns what is shorter."""
STEP_WEIGHT, UPDATE_WEIGHT = 30.0, 0.2
"""Of whole steps and of updates, over all operations: steps are what is asked for."""
ARCHITECTURE_WEIGHT = 3.0
"""Of a step of a published architecture over that of a random network, of which there are more."""


@dataclass(frozen=True)
class Timings:
    """Timed steps and their operations as tensors; K kernels of G operations of R steps.

    Args:
        timed: The steps.
        rates: (R,) of each rate of the processor, by name.
        classes: Numbers of class names.
        of_class: (K,) number of its class.
        step, op: (K,) what it belongs to.
        count, half, flops, num_bytes, padded, image_side: (K,).
        sides: (K, 3) rows, columns, inner.
        op_step: (G,) step of an operation.
        op_s: (G,) seconds, nan where the profiler saw none.
        op_keys: Names of the operations.
        update_s: (R,) seconds of the optimizer, nan without one.
        calls: (R,) of each graph.
        update_ops, update_values: (R,) that its optimizer computes and moves.
    """

    timed: Sequence[Timed]
    rates: Mapping[str, Tensor]
    classes: Mapping[str, int]
    of_class: Tensor
    step: Tensor
    op: Tensor
    count: Tensor
    half: Tensor
    flops: Tensor
    num_bytes: Tensor
    padded: Tensor
    image_side: Tensor
    sides: Tensor
    op_step: Tensor
    op_s: Tensor
    op_keys: Sequence[str]
    update_s: Tensor
    calls: Tensor
    update_ops: Tensor
    update_values: Tensor

    @cached_property
    def step_s(self) -> Tensor:
        """(R,) seconds of each step."""
        return torch.tensor([one.step_s for one in self.timed], dtype=torch.float64)

    @cached_property
    def is_network(self) -> Tensor:
        """(R,) whether the whole step counts; of a layer the operations alone do."""
        return torch.tensor([bool(one.optimizer) for one in self.timed])

    @cached_property
    def step_weight(self) -> Tensor:
        """(R,) what each step counts among steps."""
        weights = [ARCHITECTURE_WEIGHT if ":" in one.case else 1.0 for one in self.timed]
        return torch.tensor(weights, dtype=torch.float64)

    @cached_property
    def is_product(self) -> Tensor:
        """(K,) whether a kernel is a product."""
        kinds = [name.split("/")[0] in PRODUCT_KINDS for name in self.classes]
        return torch.tensor(kinds)[self.of_class]


def gather(timed: Sequence[Timed], graph_of: Callable[[Timed], KernelGraph]) -> Timings:
    """Return timings as tensors."""
    classes: dict[str, int] = {}
    kernels: list[tuple[float, ...]] = []
    ops: list[tuple[int, str, float]] = []
    facts: list[tuple[float, float, float, float]] = []
    for step, one in enumerate(timed):
        graph, numbers = graph_of(one), dict[str, int]()
        keys = keys_of(graph, one.batch_size, one.ops_s)
        for kernel, key in zip(graph.kernels, keys, strict=True):
            if key not in numbers:
                numbers[key] = len(ops)
                ops.append((step, key, seconds_of(key, one.ops_s)))
            number = classes.setdefault(class_names(kernel)[0], len(classes))
            flops, num_bytes, sides = kernel.at(one.batch_size)
            padded = padding(padded_side(kernel, sides)) if "convolution" in kernel.kind else 1.0
            row = (number, step, numbers[key], kernel.count, kernel.half)
            side = image_side(kernel)
            kernels.append((*row, flops, num_bytes, padded, side, *sides[1:]))
        optimizer = one.optimizer or "sgd"
        facts.append(
            (
                graph.num_calls,
                graph.parameter_tensors * OPTIMIZER_OPS[optimizer],
                graph.parameters * OPTIMIZER_VALUES[optimizer],
                one.ops_s.get(OPTIMIZER, math.nan),
            )
        )
    table = torch.tensor(kernels, dtype=torch.float64)
    calls, update_ops, update_values, update_s = torch.tensor(facts, dtype=torch.float64).unbind(1)
    return Timings(
        timed=timed,
        rates=_rates(timed),
        classes=classes,
        of_class=table[:, 0].long(),
        step=table[:, 1].long(),
        op=table[:, 2].long(),
        count=table[:, 3],
        half=table[:, 4] > 0,
        flops=table[:, 5],
        num_bytes=table[:, 6],
        padded=table[:, 7],
        image_side=table[:, 8],
        sides=table[:, 9:12],
        op_step=torch.tensor([step for step, _, _ in ops]),
        op_s=torch.tensor([seconds for _, _, seconds in ops], dtype=torch.float64),
        op_keys=[key for _, key, _ in ops],
        update_s=update_s,
        calls=calls,
        update_ops=update_ops,
        update_values=update_values,
    )


def _rates(timed: Sequence[Timed]) -> dict[str, Tensor]:
    """Return what the processor sustained around each step, smoothed by its neighbours."""
    around: list[ProcessorRates] = []
    for place, one in enumerate(timed):
        near = [
            rates for other in timed[max(0, place - 1) : place + 2] for rates in other.processor
        ]
        around.append(typical([*near, *one.processor]))
    names = (*ProcessorRates.__dataclass_fields__, "wait_s")
    return {
        name: torch.tensor([getattr(one, name) for one in around], dtype=torch.float64)
        for name in names
    }


class CpuLaw(nn.Module):
    """Numbers of the law's classes, drawn to those of their kind and role, and to those of fp32.

    Args:
        classes: Names "kind/role/detail".
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(classes)
        self.kinds = sorted({name.split("/")[0] for name in classes})
        self.roles = sorted({name.rpartition("/")[0] for name in classes})
        kind_of = [self.kinds.index(name.split("/")[0]) for name in classes]
        role_of = [self.roles.index(name.rpartition("/")[0]) for name in classes]
        self.kind_of, self.role_of = torch.tensor(kind_of), torch.tensor(role_of)
        self.of_kind, self.of_role, self.own = map(
            _zeros, map(len, (self.kinds, self.roles, classes))
        )
        self.half_of_kind, self.half_own = _zeros(len(self.kinds)), _zeros(len(classes))
        self.scalars = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(value, dtype=torch.float64))
                for name, value in SCALARS.items()
            }
        )

    def raw(self, level: str, *, half: bool) -> Tensor:
        """Return (names, numbers) of classes, roles or kinds, as they are fitted."""
        start = torch.tensor(list(START.values()), dtype=torch.float64)
        of_kind = start + self.of_kind + half * self.half_of_kind
        if level == "kinds":
            return of_kind
        kind_of_role = [self.kinds.index(role.split("/")[0]) for role in self.roles]
        if level == "roles":
            return of_kind[kind_of_role] + self.of_role
        whole = of_kind[self.kind_of] + self.of_role[self.role_of] + self.own
        return whole + half * self.half_own

    def scalar(self, name: str) -> Tensor:
        """Return a number that all classes share."""
        value = self.scalars[name]
        if name == "overlap":
            return 1.0 + (LARGEST_EXPONENT - 1.0) * torch.sigmoid(value)
        return value.exp()

    def kernel_times(self, timings: Timings) -> Tensor:
        """Return (K,) seconds of all kernels alike together."""
        at = timings.of_class
        chosen = torch.where(
            timings.half[:, None],
            self.raw("classes", half=True)[at],
            self.raw("classes", half=False)[at],
        )
        numbers = SimpleNamespace(**plain(dict(zip(START, chosen.unbind(1), strict=True))))
        rates = {name: values[timings.step] for name, values in timings.rates.items()}
        is_product = timings.is_product
        values = timings.num_bytes / torch.where(timings.half, 2.0, 4.0)
        arithmetic_s, traffic_s = kernel_parts(
            torch.where(is_product, timings.flops, 0.0),
            timings.num_bytes,
            torch.where(is_product, 0.0, values),
            timings.sides.unbind(1),
            timings.padded,
            timings.image_side,
            torch.where(is_product, 1.0, shared_part(values, numbers.grain_values)),
            torch.where(timings.half, rates["half_product_flops"], rates["product_flops"]),
            rates["product_flops"],
            rates["memory_bandwidth"],
            rates["cache_bandwidth"],
            numbers,
            self.scalar("cache_bytes"),
            self.scalar("one_core"),
        )
        # Powers of nothing have no gradient.
        seconds = joined(
            arithmetic_s.clamp_min(1e-12), traffic_s.clamp_min(1e-12), self.scalar("overlap")
        )
        seconds = seconds + start_seconds(
            numbers.start_s, is_product.double(), rates["wait_s"], rates["call_s"]
        )
        return timings.count * seconds

    def forward(self, timings: Timings) -> tuple[Tensor, Tensor, Tensor]:
        """Return seconds: (G,) of operations, (R,) of updates, (R,) of steps."""
        ops = torch.zeros_like(timings.op_s).index_add(0, timings.op, self.kernel_times(timings))
        call_s = timings.rates["call_s"]
        updates = self.scalar("update_calls") * timings.update_ops * call_s
        moved = self.scalar("update_bytes") * timings.update_values
        updates = updates + moved / timings.rates["memory_bandwidth"]
        dispatch = self.scalar("dispatch_calls") * timings.calls * call_s
        steps = torch.zeros_like(call_s).index_add(0, timings.op_step, ops)
        return ops, updates, steps + dispatch + updates

    def pull(self) -> Tensor:
        """Return how far the numbers are from where they belong without data."""
        weights = torch.tensor(list(PULL.values()), dtype=torch.float64)
        total = 0.5 * (weights * (self.of_kind.square().sum(0) + self.half_of_kind.square().sum(0)))
        for numbers in (self.of_role, self.own, self.half_own):
            total = total + weights * numbers.square().sum(0)
        off = [(value - SCALARS[name]).square() for name, value in self.scalars.items()]
        return total.sum() + 0.02 * torch.stack(off).sum()


def _zeros(rows: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(rows, len(START), dtype=torch.float64))


def plain(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a class's numbers as the law takes them."""
    numbers = {name: value.exp() for name, value in raw.items()}
    numbers["peak_share"] = LARGEST_SHARE * torch.sigmoid(raw["peak_share"] - 1.0)
    numbers["padding_cost"] = torch.sigmoid(raw["padding_cost"])
    return numbers


def fit(
    timings: Timings,
    keep: Tensor,
    *,
    steps: int = 600,
    rate: float = 0.08,
    huber: float = 0.15,
    pull: float = 2e-3,
) -> CpuLaw:
    """Return the law that fits steps, and the operations in them, best in log seconds.

    Args:
        timings: All there are.
        keep: (R,) which steps count.
        steps: Of Adam.
        rate: Largest learning rate.
        huber: Error beyond which a time counts linearly.
        pull: Weight of `CpuLaw.pull`.
    """
    torch.manual_seed(0)
    law = CpuLaw(list(timings.classes))
    optimizer = torch.optim.Adam(law.parameters(), lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    weights = _op_weights(timings, keep)
    ops = weights > 0
    whole = keep & timings.is_network
    counts = timings.step_weight[whole] / timings.step_weight[whole].sum()
    updated = whole & timings.update_s.isfinite()

    def cost(forecast: Tensor, actual: Tensor) -> Tensor:
        error = (forecast / actual).log()
        return F.huber_loss(error, torch.zeros_like(error), delta=huber, reduction="none") / huber

    for _ in range(steps):
        op_s, update_s, step_s = law(timings)
        loss = (cost(op_s[ops], timings.op_s[ops]) * weights[ops]).sum()
        of_updates = cost(update_s[updated], timings.update_s[updated]).mean()
        of_steps = (cost(step_s[whole], timings.step_s[whole]) * counts).sum()
        loss = loss + UPDATE_WEIGHT * of_updates + STEP_WEIGHT * of_steps + pull * law.pull()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(law.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return law


def _op_weights(timings: Timings, keep: Tensor) -> Tensor:
    """Return (G,) weights: by an operation's share of its step, and less where there are many."""
    seen = keep[timings.op_step] & (timings.op_s > SHORTEST_S)
    share = (timings.op_s / timings.step_s[timings.op_step]).clamp(0, 1)
    weights = torch.where(seen, share, 0.0)
    total: dict[str, float] = {}
    for key, weight in zip(timings.op_keys, weights.tolist(), strict=True):
        total[key] = total.get(key, 0.0) + weight
    evened = [total[key] ** -0.5 if total[key] else 0.0 for key in timings.op_keys]
    weights = weights * torch.tensor(evened, dtype=torch.float64)
    return weights / weights.sum()
