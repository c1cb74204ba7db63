"""The law of kernel times with everything in it that is fitted, over all points at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from points import Points, is_product, on_vector_units
from traintime.forecast.kernel_time import bandwidth_gain, kernel_seconds, share_at_sides
from traintime.hardware.devices import DeviceSpec

START = {
    "peak_share": 0.4,  # logit of a share
    "fp32": 0.0,
    "bandwidth_share": 1.1,  # logit of a share
    "bytes_at_start": math.log(1e6),
    "rows_at_half": math.log(30.0),
    "columns_at_half": math.log(30.0),
    "inner_at_half": math.log(30.0),
    "waves_at_half": math.log(0.3),
    "misaligned": -1.0,
    "contiguous_peak": 0.0,
    "contiguous_bandwidth": 0.0,
    "contiguous_traffic": -3.0,
}
"""Where each class starts, and is drawn to where the data say nothing."""
PULL = {
    "peak_share": 0.1,
    "fp32": 0.3,
    "bandwidth_share": 0.3,
    "bytes_at_start": 0.05,
    "rows_at_half": 0.05,
    "columns_at_half": 0.05,
    "inner_at_half": 0.05,
    "waves_at_half": 0.05,
    "misaligned": 0.05,
    "contiguous_peak": 0.5,
    "contiguous_bandwidth": 0.5,
    "contiguous_traffic": 0.05,
}
SCALARS = {
    "overlap": -1.4,  # logit of how far the exponent is between 1 and the largest
    "launch_s": math.log(4e-6),
    "call_s": math.log(6e-6),
    "update_call_s": math.log(1.5e-5),
    "dispatch_overlap": 0.4,  # so too
    "update_bytes": math.log(24.0),
    "cache_gain": math.log(0.2),
    "cache_bytes": math.log(4e6),
}


LARGEST_EXPONENT = 6.0
"""Beyond that the shorter of two times is hidden wholly, and powers leave a float's range."""


def exponent(logit: Tensor) -> Tensor:
    """Return the exponent that joins two times, 1 to the largest."""
    return 1 + (LARGEST_EXPONENT - 1) * torch.sigmoid(logit)


@dataclass(frozen=True)
class Static:
    """What of the points never changes while fitting, gathered once."""

    points: Points
    peak: Tensor
    bandwidth: Tensor
    cores: Tensor
    device: Tensor
    architecture: Tensor
    software: Tensor
    watts: Tensor
    year: Tensor
    on_matrix: Tensor
    misaligned: Tensor
    log_cap: Tensor
    contiguous_half_conv: Tensor
    contiguous_op: Tensor
    target: Tensor


def prepare(
    points: Points,
    devices: Sequence[str],
    architectures: Sequence[str],
    software: Sequence[str],
) -> Static:
    """Gather what the law needs beside its parameters."""
    vector_class = points.of_classes(on_vector_units)[points.kernel_class]
    conv = points.of_classes(lambda kind: "convolution" in kind)[points.kernel_class]
    product = points.of_classes(is_product)[points.kernel_class]
    half_peak = torch.tensor([s.half_flops or s.fp32_flops or 1.0 for s in points.spec])
    fp32_peak = torch.tensor([s.fp32_flops or s.half_flops or 1.0 for s in points.spec])
    tf32 = torch.tensor([precision == "tf32" for precision in points.precision])
    tf32_peak = torch.tensor([s.tf32_flops or s.fp32_flops or 1.0 for s in points.spec])
    products_peak = torch.tensor(
        [s.fp32_matrix_flops or s.fp32_flops or s.half_flops or 1.0 for s in points.spec]
    )
    full_peak = torch.where(tf32, tf32_peak, products_peak)
    at = points.point
    peak = torch.where(points.half, half_peak[at], full_peak[at])
    peak = torch.where(vector_class, fp32_peak[at], peak)
    _, _, columns, inner = points.sides.unbind(1)
    by_layout = points.of_classes(depends_on_layout)[points.kernel_class]
    contiguous = points.contiguous[at] & by_layout
    return Static(
        points=points,
        peak=peak,
        bandwidth=torch.tensor([s.bandwidth or 1.0 for s in points.spec]),
        cores=torch.tensor([float(s.cores or 64) for s in points.spec]),
        device=torch.tensor([devices.index(s.key) for s in points.spec]),
        architecture=torch.tensor([architectures.index(s.architecture) for s in points.spec]),
        software=torch.tensor([software.index(software_of(row)) for row in points.rows]),
        watts=torch.tensor([math.log(watts_of(s)) for s in points.spec]),
        year=torch.tensor([years_after_2020(s) for s in points.spec]),
        on_matrix=(peak > ON_MATRIX_FROM * products_peak[at]) & ~vector_class,
        misaligned=((columns % 8 != 0) | (inner % 8 != 0)) & product & points.half,
        log_cap=log_caps(points.classes)[points.kernel_class] * ~points.half,
        contiguous_half_conv=contiguous & points.half & conv,
        contiguous_op=contiguous,
        target=torch.tensor([math.log(row.seconds) for row in points.rows]),
    )


def depends_on_layout(kind: str) -> bool:
    """Say whether a kind of kernel runs otherwise on NCHW than on NHWC."""
    return "convolution" in kind or kind in ("batch norm", "pooling", "copy")


WINOGRAD = 1.8
"""Most of the peak that an fp32 convolution of 3×3 reaches by Winograd's algorithm (Lavin 2016)."""


def log_caps(classes: Sequence[str]) -> Tensor:
    """Return (C,) logarithms of the largest share of the fp32 peak that a class can reach."""
    fast = [name.startswith("convolution/") and name.endswith("/3") for name in classes]
    return torch.tensor(fast) * math.log(WINOGRAD)


def software_of(row: object) -> str:
    """Return what rows of one framework share: an offset that no forecast has."""
    name = f"{getattr(row, 'source', 'neusight-ops')} {getattr(row, 'software', '')}"
    return name.strip()


ON_MATRIX_FROM = 1.5
"""Times the fp32 peak: a product that is computed faster than that is on a matrix engine."""
PAGEABLE_BYTES_PER_S = 6e9
"""From ordinary host memory over PCIe 3; the tables that time this copy do not say what it took."""
POWER = [math.log(0.8), math.log(16.0), 0.23]
POWER_KNEE = 4.0
"""The larger, the sharper the bend between a peak that power limits and one that it does not."""


def watts_of(spec: DeviceSpec) -> float:
    """Return the rated power; what is not known limits nothing."""
    return spec.tdp_w or 1e4


def years_after_2020(spec: DeviceSpec) -> float:
    """Return how much newer a device is than one of 2020."""
    return float((spec.year or 2020) - 2020)


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
    """

    def __init__(
        self,
        classes: Sequence[str],
        num_devices: int,
        num_architectures: int,
        software: Sequence[str],
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
        # matrix, vector, bandwidth: of all devices, of an architecture, of a device
        self.common = nn.Parameter(torch.zeros(3))
        self.device = nn.Parameter(torch.zeros(num_devices, 3))
        self.architecture = nn.Parameter(torch.zeros(num_architectures, 3))
        self.software = nn.Parameter(torch.zeros(len(software)))
        self.has_offset = torch.tensor([name != REFERENCE_SOFTWARE for name in software])

    def classes(self) -> Tensor:
        """Return (C, parameters) in the order of `START`."""
        return F.embedding(self.kind_of_class, self.kinds) + self.beyond_kind

    def effects(self, static: Static) -> Tensor:
        """Return (P, 3) log shares of what each point's device sustains."""
        own = F.embedding(static.device, self.device)
        return self.common + own + F.embedding(static.architecture, self.architecture)

    def kernel_times(self, static: Static) -> Tensor:
        """Return (N,) seconds of every operation, all alike together."""
        points = static.points
        columns = F.embedding(points.kernel_class, self.classes()).unbind(1)
        of = dict(zip(START, columns, strict=True))
        at = points.point
        effects = F.embedding(at, self.effects(static))
        half = points.half
        log_share = F.logsigmoid(of["peak_share"] + torch.where(half, 0.0, of["fp32"]))
        log_share = log_share + static.log_cap
        log_share = log_share + torch.where(static.on_matrix, effects[:, 0], effects[:, 1])
        log_share = log_share - F.softplus(of["misaligned"]) * static.misaligned
        log_share = log_share + of["contiguous_peak"] * (static.contiguous_op & half)
        sides = share_at_sides(
            *points.sides.unbind(1),
            static.cores[at],
            of["rows_at_half"].exp(),
            of["columns_at_half"].exp(),
            of["inner_at_half"].exp(),
            of["waves_at_half"].exp(),
        )
        arithmetic = points.flops / (
            static.peak * log_share.exp() * sides * self.power_share(static)
        )
        log_bandwidth = F.logsigmoid(of["bandwidth_share"]) + effects[:, 2]
        log_bandwidth = log_bandwidth + of["contiguous_bandwidth"] * static.contiguous_op
        converted = of["contiguous_traffic"].exp() * static.contiguous_half_conv
        moved = points.num_bytes * (1 + converted)
        gain = bandwidth_gain(
            moved, self.scalars["cache_gain"].exp(), self.scalars["cache_bytes"].exp()
        )
        moved = moved + of["bytes_at_start"].exp()
        traffic = moved / (static.bandwidth[at] * log_bandwidth.exp() * gain)
        overlap = exponent(self.scalars["overlap"])
        # In microseconds: powers of a nanosecond in seconds are too small for a float.
        micros = kernel_seconds((arithmetic * 1e6).clamp_min(1e-4), traffic * 1e6, overlap)
        return points.count * (micros * 1e-6 + self.scalars["launch_s"].exp())

    def power_share(self, static: Static) -> Tensor:
        """Return (N,) what of a peak the rated power feeds.

        Watts per peak FLOP/s, times a gain per year that smaller transistors brought, up to all.
        """
        log_watts = F.embedding(static.points.point, static.watts[:, None]).squeeze(1)
        log_watts = log_watts - (static.peak / 1e12).log()
        need = torch.where(static.on_matrix, self.power[0], self.power[1])
        gain = F.embedding(static.points.point, (static.year * self.power[2])[:, None]).squeeze(1)
        return _up_to_all((log_watts - need + gain).exp())

    def power_at(self, peak: float, spec: DeviceSpec, *, on_matrix: bool) -> float:
        """Return what of one peak of a device its power feeds."""
        need, gain = self.power[0 if on_matrix else 1], self.power[2] * years_after_2020(spec)
        fed = torch.exp(math.log(watts_of(spec) / peak * 1e12) - need + gain)
        return _up_to_all(fed).item()

    def forward(self, static: Static) -> Tensor:
        """Return (R,) log seconds of every row."""
        at_rows = self.at_points(static).log().index_select(0, static.points.row_point)
        offsets = self.software * self.has_offset
        return at_rows + offsets.index_select(0, static.software)

    def at_points(self, static: Static) -> Tensor:
        """Return (P,) seconds of every point, without any framework's offset."""
        points = static.points
        scalars = {name: value.exp() for name, value in self.scalars.items()}
        busy = torch.zeros(len(points.spec)).index_add(0, points.point, self.kernel_times(static))
        bandwidth = static.bandwidth * self.effects(static)[:, 2].exp()
        busy = busy + scalars["update_bytes"] * points.updated / bandwidth
        dispatch = scalars["call_s"] * points.calls + scalars["update_call_s"] * points.tensors
        overlap = exponent(self.scalars["dispatch_overlap"])
        micros = kernel_seconds(busy * 1e6, (dispatch * 1e6).clamp_min(1e-3), overlap)
        return micros * 1e-6 + points.copied / PAGEABLE_BYTES_PER_S

    def pull(self) -> Tensor:
        """Return how far the parameters are from where they belong without data."""
        pull, start = torch.tensor(list(PULL.values())), torch.tensor(list(START.values()))
        total = (pull * (self.kinds - start).square()).sum()
        total = total + ((pull + 0.2) * self.beyond_kind.square()).sum()
        for name, value in self.scalars.items():
            total = total + 0.2 * (value - SCALARS[name]).square()
        total = total + 8.0 * self.device.square().sum() + 3.0 * self.architecture.square().sum()
        total = total + 2.0 * (self.power - torch.tensor(POWER)).square().sum()
        return total + 150.0 * self.software.square().sum()


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
    one_device: bool = False,
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
        one_device: All rows are of one device: kinds of kernels alone are fitted.
    """
    torch.manual_seed(0)
    law = Law(*num)
    for effects in (law.common, law.architecture, law.device, law.power, law.software):
        effects.requires_grad_(not one_device)
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
