"""What the law of a processor's kernels needs to know, fitted to measurements.

`processor_parameters.json` is made by `calibration/cpu_fit.py` from random networks and layers and
published architectures that were timed on one processor; nothing in it was typed by hand. Another
processor is told apart by the rates that were measured on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from traintime.forecast.device_parameters import MEASURED_HERE, SPECS_ONLY, Evidence
from traintime.forecast.processor_law import GRAIN_VALUES, class_names
from traintime.hardware.devices import DeviceSpec
from traintime.hardware.processor import ProcessorRates
from traintime.workload.kernels import Kernel

OWN_KEY = "cpu"
"""Of the processor that runs this, as `own_cpu` names it."""
MEASURED = "measured"
"""How the note of a processor begins whose rates were measured."""
IN_HALF = " half"


@dataclass(frozen=True, slots=True)
class ProcessorClass:
    """How one kind of kernel uses a processor, in one number format.

    Args:
        bandwidth_share: Of the bandwidth.
        peak_share: Of the measured rate of products, at large sides.
        rows_at_half: Rows of the result at which half of that is reached.
        columns_at_half: See there.
        inner_at_half: See there.
        side_at_half: Side of a convolution's image, see there.
        padding_cost: Exponent of how many times the channels of a convolution are padded.
        start_s: Seconds that it costs at least, on the processor that was fitted to.
        value_flops: FLOP that a value of another kind costs.
        grain_values: Values of another kind from which the cores share it.
    """

    bandwidth_share: float
    peak_share: float = 1.0
    rows_at_half: float = 0.0
    columns_at_half: float = 0.0
    inner_at_half: float = 0.0
    side_at_half: float = 0.0
    padding_cost: float = 0.0
    start_s: float = 0.0
    value_flops: float = 0.0
    grain_values: float = GRAIN_VALUES


@dataclass(frozen=True)
class ProcessorParameters:
    """All that was fitted.

    Args:
        classes: By name as `processor_law.class_names` makes it, with " half" behind for 16 bits.
        overlap: Exponent that joins arithmetic and traffic.
        cache_bytes: Traffic of a kernel at which half of what the cache gains is left.
        one_core: What one core reaches of all of them.
        dispatch_calls: What dispatching an operation costs beside that, in calls on one number.
        update_calls: What updating a tensor costs, in such calls, by optimizer.
        update_bytes: Traffic of one update per parameter, by optimizer.
        reference: Rates of the processor that was fitted to.
        spread: σ of the log error by evidence, with the quantile that covers 80 %.
        sources: What was fitted to.
    """

    classes: Mapping[str, ProcessorClass]
    overlap: float
    cache_bytes: float
    one_core: float
    dispatch_calls: float
    update_calls: Mapping[str, float]
    update_bytes: Mapping[str, float]
    reference: ProcessorRates
    spread: Mapping[Evidence, float]
    sources: tuple[str, ...]

    @property
    def dispatch_overlap(self) -> float:
        """Exponent that joins computing and dispatching: the processor does one after the other."""
        return 1.0

    def kernel_class(self, kernel: Kernel) -> ProcessorClass:
        """Return the class of a kernel; what was never timed goes by its nearest kin."""
        suffix = IN_HALF if kernel.half else ""
        names = (*class_names(kernel), "other")
        known = (self.classes.get(name + suffix) for name in names)
        found = next((one for one in known if one), None)
        assert found, "there is a class of all others"
        return found

    def evidence(self, spec: DeviceSpec) -> Evidence:
        """Return what a forecast for a processor stands on."""
        is_saved = spec.confidence == "user" and spec.note.startswith(MEASURED)
        return MEASURED_HERE if spec.key == OWN_KEY or is_saved else SPECS_ONLY

    def rates(self, spec: DeviceSpec) -> ProcessorRates | None:
        """Return a processor's rates: measured ones, or by its data sheet what can be.

        None stands for a processor of which too little is known.
        """
        fp32, memory = spec.fp32_flops, spec.bandwidth
        if not fp32 or not memory:
            return None
        like = self.reference
        faster_in_cache = like.cache_bandwidth / like.memory_bandwidth
        return ProcessorRates(
            product_flops=fp32,
            half_product_flops=spec.half_flops or fp32,
            memory_bandwidth=memory,
            cache_bandwidth=spec.cache_bandwidth or memory * faster_in_cache,
            call_s=spec.call_s or like.call_s,
            parallel_call_s=spec.parallel_call_s or like.parallel_call_s,
        )


@cache
def processor_parameters() -> ProcessorParameters:
    """Return the shipped parameters of processors."""
    text = files("traintime.forecast").joinpath("processor_parameters.json").read_text("utf-8")
    return read_processor_parameters(json.loads(text))


def read_processor_parameters(values: Mapping[str, Any]) -> ProcessorParameters:
    """Return parameters from their JSON form."""
    plain = dict(values)
    plain["classes"] = {name: ProcessorClass(**row) for name, row in plain["classes"].items()}
    plain["reference"] = ProcessorRates(**plain["reference"])
    plain["sources"] = tuple(plain["sources"])
    return ProcessorParameters(**plain)
