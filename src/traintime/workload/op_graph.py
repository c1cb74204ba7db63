"""What will be computed: operations with their sizes, before any device is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16"]
Kind = Literal[
    "convolution",
    "fused convolution",
    "matrix product",
    "pooling",
    "normalisation",
    "elementwise",
    "orthogonalisation",
    "optimizer",
    "input",
]
"""Kinds of operation that share a rate. Work is FLOP for PRODUCTS, else values moved."""

PRODUCTS: tuple[Kind, ...] = (
    "convolution",
    "fused convolution",
    "matrix product",
    "orthogonalisation",
)


@dataclass(frozen=True)
class Op:
    """One operation of a training step, its forward and backward together.

    Args:
        name: Where it stands and what it is, for people.
        kind: What sort of work it is.
        work_per_sample: FLOP, or values read and written, for each sample of the batch.
        work_fixed: The same once per step, whatever the batch.
        size: What the rate depends on: (inner, outer) sides of a product; for the others (values
            per sample, channels).
        launches: Operations dispatched, forward and backward.
        kept_per_sample: Values kept from the forward for the backward.
        forward_share: Share of the work that the forward alone does.
        image: Whether the memory format of images matters to it.
        precision: What it is always done in; None follows the forward's.
    """

    name: str
    kind: Kind
    work_per_sample: float = 0.0
    work_fixed: float = 0.0
    size: tuple[float, ...] = (1.0,)
    launches: int = 2
    kept_per_sample: float = 0.0
    forward_share: float = 1 / 3
    image: bool = False
    precision: Precision | None = None

    def work(self, batch_size: int) -> float:
        """FLOP or values moved in one step."""
        return self.work_per_sample * batch_size + self.work_fixed

    @property
    def is_network(self) -> bool:
        """Whether it is part of the forward and backward, not of the update or the data."""
        return self.kind not in ("input", "optimizer", "orthogonalisation")

    def size_at(self, batch_size: int) -> tuple[float, ...]:
        """Return what the rate depends on; values moved together fit a cache or do not."""
        if self.kind in PRODUCTS or not self.work_per_sample:
            return self.size
        values, *rest = self.size
        return (values * batch_size, *rest)


@dataclass(frozen=True)
class OpGraph:
    """The operations of one training step, for any batch size.

    Args:
        ops: In the order of the forward pass, then the update.
        parameters: Number of learned values.
        optimizer_slots: Values that the optimizer keeps per parameter.
    """

    ops: tuple[Op, ...]
    parameters: int
    optimizer_slots: int

    def flops(self, batch_size: int) -> float:
        """FLOP of one training step in matrix products and convolutions, 2 per multiply-add."""
        return sum(op.work(batch_size) for op in self.ops if op.kind in PRODUCTS)


@dataclass(frozen=True)
class Workload:
    """A whole training job as an amount of work.

    Args:
        graph: One step.
        batch_size: Samples in a step.
        epochs: At most.
        train_samples: Samples in an epoch.
        validation_samples: Samples judged after each epoch.
        test_samples: Samples judged at the end.
        sample_bytes: Of one stored sample.
    """

    graph: OpGraph
    batch_size: int
    epochs: int
    train_samples: int
    validation_samples: int
    test_samples: int
    sample_bytes: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last batch may be short."""
        return -(-self.train_samples // self.batch_size)

    @property
    def resident_bytes(self) -> int:
        """Size of all samples, which stay in memory while training."""
        samples = self.train_samples + self.validation_samples + self.test_samples
        return samples * self.sample_bytes
