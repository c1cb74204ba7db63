"""The law of kernel times with everything in it that is fitted, over all points at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from law_inputs import Products, Static, watts_of, years_after_2020
from traintime.forecast.kernel_time import (
    bandwidth_gain,
    kernel_seconds,
    loading,
    no_faster,
    num_tiles,
    share_of_side,
    share_of_waves,
    stretch,
    widening,
)
from traintime.hardware.devices import DeviceSpec

START = {
    "peak_share": 0.4,  # logit of a share
    "fp32": 0.0,
    "bandwidth_share": 1.1,  # logit of a share
    "bytes_at_start": math.log(1e6),
    "rows_least": math.log(30.0),
    "columns_least": math.log(30.0),
    "inner_at_half": math.log(30.0),
    "waves_at_half": math.log(0.3),
    "misaligned": -1.0,
    "contiguous_peak": 0.0,
    "contiguous_bandwidth": 0.0,
    "contiguous_bandwidth_fp32": 0.0,
    "contiguous_traffic": -3.0,
    "channels_last_traffic": 0.0,
}
"""Where each class starts, and is drawn to where the data say nothing."""
PULL = {
    "peak_share": 0.1,
    "fp32": 0.3,
    "bandwidth_share": 0.3,
    "bytes_at_start": 0.05,
    "rows_least": 0.05,
    "columns_least": 0.05,
    "inner_at_half": 0.05,
    "waves_at_half": 0.05,
    "misaligned": 0.05,
    "contiguous_peak": 0.5,
    "contiguous_bandwidth": 0.5,
    "contiguous_bandwidth_fp32": 0.5,
    "contiguous_traffic": 0.05,
    "channels_last_traffic": 0.01,
}
PULL_TO_KIND = {
    "peak_share": 1.0,
    "fp32": 100.0,
    "bandwidth_share": 1.0,
    "bytes_at_start": 8.0,
    "rows_least": 8.0,
    "columns_least": 8.0,
    "inner_at_half": 8.0,
    "waves_at_half": 8.0,
    "misaligned": 8.0,
    "contiguous_peak": 1.0,
    "contiguous_bandwidth": 1.0,
    "contiguous_bandwidth_fp32": 1.0,
    "contiguous_traffic": 1.0,
    "channels_last_traffic": 0.01,
}
"""How firmly a class is held to its kind: how kernels use tiles is alike in all of its roles, and
what a number format costs is a matter of the engine alone. Conversions tell nothing of others."""
SCALARS = {
    "overlap": -1.4,  # logit of how far the exponent is between 1 and the largest
    "launch_s": math.log(4e-6),
    "inner_tile": math.log(4096.0),
    "call_s": math.log(6e-6),
    "update_call_s": math.log(1.5e-5),
    "dispatch_overlap": 0.4,  # so too
    "update_bytes": math.log(24.0),
    "tile_growth": 0.0,  # logit
    "tile_overlap": -1.4,  # as the other
    "tf32": 2.0,  # logit of what its products reach of the share in 16 bits
    "cache_gain": math.log(0.5),
}


LARGEST_EXPONENT = 6.0
"""Beyond that the shorter of two times is hidden wholly, and powers leave a float's range."""


def exponent(logit: Tensor) -> Tensor:
    """Return the exponent that joins two times, 1 to the largest."""
    return 1 + (LARGEST_EXPONENT - 1) * torch.sigmoid(logit)


PAGEABLE_BYTES_PER_S = 6e9
"""From ordinary host memory over PCIe 3; the tables that time this copy do not say what it took."""
POWER = [math.log(0.8), math.log(16.0), 0.23]
POWER_KNEE = 8.0
"""The larger, the sharper the bend between a peak that power limits and one that it does not. Read
from how fast a V100 and an A40 train ResNet-50 and BERT at power limits of 100 to 300 W (Zeus: You,
Chung and Chowdhury 2023, zeus_power_throughput.csv)."""
BEND = 8.0
"""As of the power's knee: a rate may come near its limit before it feels it."""
CROWDED = -0.2
"""Log of what a doubling of the lanes leaves of the vector units' share, by guess."""
REFERENCE_SOFTWARE = "timm pytorch-1.12"
"""Has no offset: the newest framework of the largest table."""


class Law(nn.Module):
    """Parameters of the law, as logarithms.

    What a class is beyond its kind of kernel is drawn to nothing, so that a window that was never
    measured goes by the others.

    Args:
        classes: Names "kind/role" or "kind/role/window".
        num_devices: How many have effects of their own.
        num_architectures: How many have.
        software: Names of frameworks, each with an offset of its own.
        num_vendors: How many have effects of their own.
        num_hosts: Machines that were measured, each with a dispatch of its own.
    """

    def __init__(
        self,
        classes: Sequence[str],
        num_devices: int,
        num_architectures: int,
        software: Sequence[str],
        num_vendors: int,
        num_hosts: int,
    ) -> None:
        super().__init__()
        kinds = sorted({name.split("/")[0] for name in classes})
        self.kind_of_class = torch.tensor([kinds.index(name.split("/")[0]) for name in classes])
        self.kinds = nn.Parameter(torch.tensor(list(START.values())).repeat(len(kinds), 1))
        self.beyond_kind = nn.Parameter(torch.zeros(len(classes), len(START)))
        self.scalars = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(v)) for name, v in SCALARS.items()}
        )
        # log watts per TFLOP/s in 2020 that feed the matrix engine, the vector units; gain a year
        self.power = nn.Parameter(torch.tensor(POWER))
        # logs of matrix, vector, bandwidth: of all devices, of an architecture, of a device
        self.common = nn.Parameter(torch.zeros(3))
        self.device = nn.Parameter(torch.zeros(num_devices, 3))
        self.architecture = nn.Parameter(torch.zeros(num_architectures, 3))
        self.vendor = nn.Parameter(torch.zeros(num_vendors, 3))
        self.lanes = nn.Parameter(torch.tensor(CROWDED))
        self.host = nn.Parameter(torch.zeros(num_hosts))
        self.software = nn.Parameter(torch.zeros(len(software)))
        self.has_offset = torch.tensor([name != REFERENCE_SOFTWARE for name in software])

    def classes(self) -> Tensor:
        """Return (C, parameters) in the order of `START`."""
        return F.embedding(self.kind_of_class, self.kinds) + self.beyond_kind

    def effects(self, static: Static) -> Tensor:
        """Return (P, 3) log shares of what each point's device sustains."""
        own = F.embedding(static.device, static.likeness @ self.device)
        kin = F.embedding(static.architecture, self.architecture)
        made = F.embedding(static.vendor, self.vendor)
        crowded = torch.tensor([0.0, 1.0, 0.0]) * (self.lanes * static.lanes)[:, None]
        return self.common + made + kin + own + crowded

    def kernel_times(self, static: Static) -> Tensor:
        """Return (N,) seconds of every operation, all alike together."""
        points, products = static.points, static.products
        of_classes = dict(zip(START, self.classes().unbind(1), strict=True))
        matrix, vector, bandwidth = self.effects(static).unbind(1)
        traffic = self._traffic_s(static, of_classes, bandwidth)
        arithmetic = self._arithmetic_s(products, of_classes, (matrix, vector))
        # In microseconds: powers of a nanosecond in seconds are too small for a float.
        joined = kernel_seconds(
            (arithmetic * 1e6).clamp_min(1e-4),
            traffic.index_select(0, products.kernel) * 1e6,
            exponent(self.scalars["overlap"]),
        )
        seconds = traffic.index_copy(0, products.kernel, joined * 1e-6)
        return points.count * (seconds + static.in_turn * self.scalars["launch_s"].exp())

    def _traffic_s(
        self, static: Static, of_classes: Mapping[str, Tensor], effect: Tensor
    ) -> Tensor:
        """Return (N,) seconds of memory traffic alone of one of each kernel."""
        points = static.points

        def of(values: Tensor) -> Tensor:
            return values.index_select(0, points.kernel_class)

        logit = of(of_classes["bandwidth_share"])
        logit = logit + of(of_classes["contiguous_bandwidth"]) * static.contiguous_half
        in_fp32 = static.contiguous_op & ~static.contiguous_half
        log_share = F.logsigmoid(logit + of(of_classes["contiguous_bandwidth_fp32"]) * in_fp32)
        rate = (static.bandwidth * effect.exp()).index_select(0, points.point)
        converted = of(of_classes["contiguous_traffic"].exp()) * static.contiguous_half_conv
        converted = converted + of(of_classes["channels_last_traffic"].exp()) * static.fallback
        moved = points.num_bytes * (1 + converted)
        cache_bytes = static.cache_bytes.index_select(0, points.point)
        gain = bandwidth_gain(moved, self.scalars["cache_gain"].exp(), cache_bytes)
        least = moved
        moved = moved + of(of_classes["bytes_at_start"].exp()) * static.in_turn
        peak_rate = static.bandwidth.index_select(0, points.point)
        seconds = moved / (rate * log_share.exp() * gain)
        return no_faster(seconds, least / (peak_rate * gain), BEND)

    def _arithmetic_s(
        self,
        products: Products,
        of_classes: Mapping[str, Tensor],
        effects: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Return (M,) seconds of arithmetic alone of one of each product."""

        def of(values: Tensor) -> Tensor:
            return values.index_select(0, products.kernel_class)

        in_fp32 = ~(products.in_half | products.tf32)
        logit = of(of_classes["peak_share"]) + of(of_classes["fp32"]) * in_fp32
        logit = logit + of(of_classes["contiguous_peak"]) * products.contiguous_half
        log_share = F.logsigmoid(logit) + products.log_cap
        log_share = log_share - of(F.softplus(of_classes["misaligned"])) * products.misaligned
        sustained = products.peak * self._sustained(products, effects)
        wide = widening(sustained / products.cores, torch.sigmoid(self.scalars["tile_growth"]))
        batch, rows, columns, inner = products.sides.unbind(1)
        least = (of(of_classes[f"{side}_least"].exp()) for side in ("rows", "columns"))
        loads = wide * loading(rows, columns, *least, products.value_bytes)
        inner_tile = torch.where(products.splits, self.scalars["inner_tile"].exp(), math.inf)
        tiles = num_tiles(batch, rows, columns, inner, inner_tile)
        share = log_share.exp() * share_of_side(inner, of(of_classes["inner_at_half"].exp()))
        share = share * share_of_waves(tiles, products.cores, of(of_classes["waves_at_half"].exp()))
        longer = stretch(loads, exponent(self.scalars["tile_overlap"]))
        peak = products.peak * products.log_cap.exp()
        seconds = products.flops * longer / (sustained * share)
        return no_faster(seconds, products.flops / peak, BEND)

    def _sustained(self, products: Products, effects: tuple[Tensor, Tensor]) -> Tensor:
        """Return (M,) what of a peak the device sustains."""
        matrix, vector = (effect.index_select(0, products.point) for effect in effects)
        log_share = torch.where(products.on_matrix, matrix, vector)
        log_share = log_share + F.logsigmoid(self.scalars["tf32"]) * products.tf32
        return log_share.exp() * self.power_share(products)

    def power_share(self, products: Products) -> Tensor:
        """Return (M,) what of a peak the rated power feeds.

        Watts per peak FLOP/s, times a gain per year that smaller transistors brought, up to all.
        Products in full fp32 on a matrix engine need no more than the vector units at their peak.
        """
        need = torch.where(products.on_matrix, self.power[0], self.power[1])
        return _up_to_all((products.log_watts - need + products.year * self.power[2]).exp())

    def power_at(self, peak: float, spec: DeviceSpec, *, on_matrix: bool) -> float:
        """Return what of one peak of a device its power feeds."""
        peak = peak if on_matrix else min(peak, spec.fp32_flops or peak)
        need, gain = self.power[0 if on_matrix else 1], self.power[2] * years_after_2020(spec)
        fed = torch.exp(math.log(watts_of(spec) / peak * 1e12) - need + gain)
        return _up_to_all(fed).item()

    def forward(self, static: Static) -> Tensor:
        """Return (R,) log seconds of every row."""
        own = F.embedding(static.host, self.host[:, None]).squeeze(1).exp()
        at_rows = self.at_points(static, own).log().index_select(0, static.points.row_point)
        offsets = self.software * self.has_offset
        return at_rows + offsets.index_select(0, static.software)

    def at_points(self, static: Static, dispatch_of_host: Tensor | float = 1.0) -> Tensor:
        """Return (P,) seconds of every point, without any framework's offset.

        Args:
            static: What is known of the points.
            dispatch_of_host: (P,) how much longer than others their hosts take to dispatch.
        """
        points = static.points
        scalars = {name: value.exp() for name, value in self.scalars.items()}
        busy = torch.zeros(len(points.spec)).index_add(0, points.point, self.kernel_times(static))
        bandwidth = static.bandwidth * self.effects(static)[:, 2].exp()
        busy = busy + scalars["update_bytes"] * points.updated / bandwidth
        dispatch = scalars["call_s"] * points.calls + scalars["update_call_s"] * points.tensors
        dispatch = dispatch * dispatch_of_host
        overlap = exponent(self.scalars["dispatch_overlap"])
        micros = kernel_seconds(busy * 1e6, (dispatch * 1e6).clamp_min(1e-3), overlap)
        return micros * 1e-6 + points.copied / PAGEABLE_BYTES_PER_S

    def pull(self) -> Tensor:
        """Return how far the parameters are from where they belong without data."""
        pull, start = torch.tensor(list(PULL.values())), torch.tensor(list(START.values()))
        total = (pull * (self.kinds - start).square()).sum()
        to_kind = torch.tensor(list(PULL_TO_KIND.values()))
        total = total + (to_kind * self.beyond_kind.square()).sum()
        for name, value in self.scalars.items():
            total = total + 0.2 * (value - SCALARS[name]).square()
        total = total + 40.0 * self.common.square().sum()
        total = total + 40.0 * self.device.square().sum() + 15.0 * self.architecture.square().sum()
        total = total + 3.0 * self.vendor.square().sum() + 2.0 * (self.lanes - CROWDED).square()
        total = total + 2.0 * (self.power - torch.tensor(POWER)).square().sum()
        return total + 5.0 * self.host.square().sum() + 150.0 * self.software.square().sum()


def _up_to_all(fed: Tensor) -> Tensor:
    return (1 + fed**-POWER_KNEE) ** (-1 / POWER_KNEE)


def fit(
    static: Static,
    num: tuple[Sequence[str], int, int, Sequence[str]],
    weights: Tensor,
    *,
    steps: int = 800,
    rate: float = 0.1,
    huber: float = 0.1,
    pull: float = 2e-3,
) -> Law:
    """Return the law that fits rows best in log seconds.

    Args:
        static: Points and rows.
        num: What `Law` takes.
        weights: (R,) of the rows; 0 leaves a row out.
        steps: Of Adam.
        rate: Largest learning rate.
        huber: Error beyond which a row counts linearly.
        pull: Weight of `Law.pull`.
    """
    torch.manual_seed(0)
    law = Law(*num)
    optimizer = torch.optim.Adam(law.parameters(), lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    kept = weights > 0
    share = (weights / weights.sum())[kept]
    for _ in range(steps):
        # A row that is left out must not count even where its forecast overflows.
        error = (law(static) - static.target)[kept]
        cost = F.huber_loss(error, torch.zeros_like(error), delta=huber, reduction="none") / huber
        loss = (cost * share).sum() + pull * law.pull() / 10
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(law.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return law
