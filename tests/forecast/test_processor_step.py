import dataclasses

import pytest

from traintime.errors import InputError
from traintime.forecast.device_parameters import MEASURED_HERE, SPECS_ONLY
from traintime.forecast.device_step import DeviceStep
from traintime.forecast.processor_law import class_names, image_side
from traintime.forecast.processor_parameters import (
    ProcessorClass,
    ProcessorParameters,
    processor_parameters,
)
from traintime.forecast.processor_step import predict_processor_step, sized_for_processor
from traintime.hardware.devices import DeviceSpec
from traintime.workload.kernels import Amount, Kernel, Sides

from .synthetic_device import graph, kernel
from .synthetic_processor import RATES, law, processor

HALVES = ProcessorClass(bandwidth_share=0.5, peak_share=0.5)


def step(
    *kernels: Kernel,
    batch_size: int = 1,
    spec: DeviceSpec | None = None,
    parameters: ProcessorParameters | None = None,
    optimizer: str = "sgd",
) -> DeviceStep:
    parameters = parameters or law()
    captured = graph(kernels=kernels, numerics="fp32")
    sized = sized_for_processor(captured, batch_size, 1.0, "fp32", parameters)
    return predict_processor_step(
        captured, sized, spec or processor(), parameters, optimizer=optimizer
    )


def in_fp32(one: Kernel) -> Kernel:
    return dataclasses.replace(one, half=False)


def product(flops: float) -> Kernel:
    return in_fp32(kernel("matrix product", "forward", flops=flops))


def convolution(channels: float) -> Kernel:
    sides = Sides(Amount((1.0,)), Amount((64.0,)), Amount((channels,)), Amount((64.0,)))
    one = in_fp32(kernel("convolution", "forward", flops=1e9))
    return dataclasses.replace(one, sides=sides, window=3)


def elementwise(num_bytes: float) -> Kernel:
    return in_fp32(kernel("elementwise", "forward", num_bytes=num_bytes))


def test_a_product_takes_its_flops_over_what_it_reaches_of_the_measured_rate():
    assert step(product(1e9)).seconds == pytest.approx(1e9 / (0.5 * 100e9))


def test_in_16_bits_the_rate_of_16_bits_counts():
    in_half = kernel("matrix product", "forward", flops=1e9)
    assert step(in_half).seconds == pytest.approx(1e9 / (0.5 * 200e9))


def test_the_amounts_grow_with_the_batch():
    assert step(product(1e9), batch_size=3).seconds == pytest.approx(3 * step(product(1e9)).seconds)


def test_traffic_beyond_the_cache_goes_by_the_memory_and_within_it_by_the_cache():
    large = step(elementwise(1e9), parameters=law(cache_bytes=1e6)).seconds
    small = step(elementwise(1e6), parameters=law(cache_bytes=1e9)).seconds
    assert large == pytest.approx(1e9 / (0.5 * 10e9), rel=1e-3)
    assert small == pytest.approx(1e6 / (0.5 * 40e9), rel=1e-3)


def test_a_short_vector_is_computed_by_one_core():
    # 1,000 values of 4 bytes: far below what torch shares among the cores
    assert step(elementwise(4e3)).seconds == pytest.approx(4e3 / (0.5 * 10e9 * 0.5), rel=1e-3)


def test_a_value_costs_the_arithmetic_of_its_kind():
    costly = ProcessorClass(bandwidth_share=0.5, value_flops=1000.0)
    parameters = law(classes={"other": costly})
    beyond_traffic = (
        step(elementwise(4e9), parameters=parameters).seconds - step(elementwise(4e9)).seconds
    )
    assert beyond_traffic == pytest.approx(1e9 * 1000 / 100e9)


def test_channels_that_fill_no_register_are_computed_all_the_same():
    padded = ProcessorClass(bandwidth_share=0.5, peak_share=0.5, padding_cost=1.0)
    parameters = law(classes={"other": padded})
    full = step(convolution(16), parameters=parameters).seconds
    assert step(convolution(17), parameters=parameters).seconds == pytest.approx(full * 32 / 17)


def test_a_convolution_is_slower_on_small_images():
    along_rows = ProcessorClass(bandwidth_share=0.5, peak_share=0.5, side_at_half=4.0)
    found = step(convolution(16), parameters=law(classes={"other": along_rows})).seconds
    usual = step(convolution(16)).seconds
    side = image_side(convolution(16))
    assert found == pytest.approx(usual * (side + 4) / side)


def test_a_kernel_starts_slower_where_the_cores_wait_longer_for_each_other():
    starting = dataclasses.replace(HALVES, start_s=1e-3)
    parameters = law(classes={"other": starting})
    usual = step(product(0.0), parameters=parameters).seconds
    slow = processor(parallel_call_s=RATES.call_s + 4e-6)
    assert usual == pytest.approx(1e-3)
    assert step(product(0.0), parameters=parameters, spec=slow).seconds == pytest.approx(2e-3)


def test_dispatch_and_update_come_on_top():
    parameters = law(dispatch_calls=2.0, update_calls={"sgd": 3.0}, update_bytes={"sgd": 20.0})
    found = step(product(1e9), parameters=parameters)
    assert found.dispatch_s == pytest.approx(2 * 10 * 1e-6)
    assert found.update_s == pytest.approx(20 * 1e6 / 10e9 + 3 * 4 * 1e-6)
    assert found.seconds == pytest.approx(0.02 + found.dispatch_s + found.update_s)


def test_what_is_no_product_starts_slower_where_calls_are_slower():
    starting = dataclasses.replace(HALVES, start_s=1e-3)
    parameters = law(classes={"other": starting})
    usual = step(elementwise(0.0), parameters=parameters, spec=processor(call_s=2.8e-6)).seconds
    slow = step(elementwise(0.0), parameters=parameters, spec=processor(call_s=5.6e-6)).seconds
    assert usual == pytest.approx(1e-3)
    assert slow == pytest.approx(2e-3)


def test_random_numbers_are_drawn_by_one_core_however_many_there_are():
    serial = dataclasses.replace(HALVES, grain_values=1e12)
    shared = law(classes={"other": HALVES})
    alone = law(classes={"other": serial}, one_core=0.25)
    long = elementwise(4e9)
    assert step(long, parameters=alone).seconds == pytest.approx(
        4 * step(long, parameters=shared).seconds
    )


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({}, "3"),
        ({"stride": 2}, "3 strided"),
        ({"dilation": 4}, "3 dilated"),
        ({"window": 2, "stride": 2}, "patches"),
    ],
)
def test_convolutions_are_told_apart_by_how_their_window_moves(changes, detail):
    one = dataclasses.replace(convolution(16), **({"window": 3} | changes))
    assert class_names(one)[0] == f"convolution/forward/{detail}"


def test_a_depthwise_convolution_that_makes_several_channels_of_one_has_no_kernel_of_its_own():
    def detail(columns: float) -> str:
        sides = Sides(*(Amount((n,)) for n in (16.0, 100.0, columns, 9.0)))
        kind = "depthwise convolution"
        one = dataclasses.replace(convolution(16), kind=kind, window=3, sides=sides)
        return class_names(one)[0].rpartition("/")[2]

    assert detail(1.0) == "3"
    assert detail(2.0) == "multiplied"


def test_a_kernel_that_was_never_timed_goes_by_its_nearest_kin():
    kin = {
        "elementwise/forward/relu": 0.1,
        "elementwise/forward": 0.2,
        "elementwise": 0.4,
        "other": 0.8,
    }
    known = law(classes={name: ProcessorClass(bandwidth_share=b) for name, b in kin.items()})

    def share(op: str, phase: str = "forward", kind: str = "elementwise") -> float:
        one = dataclasses.replace(elementwise(1.0), op=op, phase=phase, kind=kind)
        return known.kernel_class(one).bandwidth_share

    assert share("aten.relu") == 0.1
    assert share("aten.frobnicate") == 0.2
    assert share("aten.relu", phase="backward") == 0.4
    assert share("mine.sort", kind="other") == 0.8


def test_a_processor_of_the_catalogue_goes_by_its_data_sheet():
    sheet = processor(key="epyc", confidence="ds", cache_bandwidth=None, call_s=None)
    rates = law().rates(sheet)
    assert rates
    assert rates.product_flops == 100e9
    # as much faster than the memory as that of the processor that was fitted to
    assert rates.cache_bandwidth == pytest.approx(10e9 * 4)
    assert rates.call_s == RATES.call_s


def test_this_processor_was_measured_and_so_was_one_that_was_saved():
    assert law().evidence(processor()) == MEASURED_HERE
    saved = processor(key="mine", confidence="user", note="measured on 2026-11-30")
    assert law().evidence(saved) == MEASURED_HERE
    assert law().evidence(processor(key="mine", confidence="user")) == SPECS_ONLY
    assert law().evidence(processor(key="epyc", confidence="ds")) == SPECS_ONLY


def test_too_little_known_of_a_processor_is_said():
    with pytest.raises(InputError, match="Too little is known of Processor"):
        step(product(1e9), spec=processor(bandwidth=None))


def test_the_shipped_law_knows_every_kind_in_both_formats():
    shipped = processor_parameters()
    for kind in ("matrix product", "convolution", "elementwise", "batch norm", "attention"):
        for half in (False, True):
            one = dataclasses.replace(kernel(kind, "forward", flops=1.0), half=half)
            assert shipped.kernel_class(one).bandwidth_share > 0
