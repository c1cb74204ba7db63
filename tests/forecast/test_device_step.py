import dataclasses

import pytest

from traintime.errors import InputError
from traintime.forecast.device_parameters import DeviceShares
from traintime.forecast.device_step import (
    DevicePrecision,
    DeviceStep,
    predict_device_step,
    rates,
    sized_kernels,
)

from .synthetic_device import HALF_OF_EVERYTHING, card, graph, kernel, parameters

WHOLE = DeviceShares(1.0, 1.0, 1.0, 1.0, 1.0, "by hand")


def step(law=None, precision: DevicePrecision = "amp", spec=None, captured=None, **options):
    law, captured = law or parameters(), captured or graph()
    kernels = sized_kernels(captured, 10, 1.0, precision, law)
    device = rates(spec or card(), precision, WHOLE)
    return predict_device_step(captured, kernels, device, law, **options)


def test_a_step_is_arithmetic_traffic_and_update():
    predicted = step()
    # 3 · 10 GFLOP at 50 TFLOP/s, 100 MB at 500 GB/s, 20 MB at 1 TB/s
    assert [time.seconds for time in predicted.kernels] == pytest.approx([2e-4, 2e-4, 4e-4])
    assert predicted.update_s == pytest.approx(2e-5)
    assert predicted.seconds == predicted.device_s == pytest.approx(8.2e-4)
    assert predicted.flops == pytest.approx(3e10)
    assert predicted.utilization == pytest.approx(3e10 / (100e12 * 8.2e-4))


def test_a_forward_alone_has_neither_backward_nor_update():
    assert step(phases="forward").seconds == pytest.approx(4e-4)


def test_gradients_alone_have_no_update():
    assert step(phases="gradients").seconds == pytest.approx(8e-4)


def test_adam_moves_more_than_sgd():
    assert step(optimizer="adam").update_s == pytest.approx(2.8e-5)


def test_fp32_products_take_the_fp32_rate():
    full = graph(kernels=tuple(dataclasses.replace(k, half=False) for k in graph().kernels))
    predicted = step(precision="fp32", captured=full)
    assert [time.seconds for time in predicted.kernels] == pytest.approx([2e-3, 2e-4, 4e-3])
    assert predicted.peak_flops == 10e12


def test_tf32_products_take_its_rate():
    full = graph(kernels=tuple(dataclasses.replace(k, half=False) for k in graph().kernels))
    predicted = step(precision="tf32", captured=full, spec=card(tf32_flops=50e12))
    assert predicted.kernels[0].seconds == pytest.approx(1e10 / 25e12)
    assert predicted.peak_flops == 50e12


def test_fp32_products_take_the_matrix_engine_where_it_computes_them():
    full = graph(kernels=tuple(dataclasses.replace(k, half=False) for k in graph().kernels))
    predicted = step(precision="fp32", captured=full, spec=card(fp32_matrix_flops=20e12))
    assert predicted.kernels[0].seconds == pytest.approx(1e10 / 10e12)


def test_half_halves_the_bytes_and_computes_all_in_16_bits():
    full = graph(kernels=tuple(dataclasses.replace(k, half=False) for k in graph().kernels))
    predicted = step(precision="half", captured=full)
    assert [time.seconds for time in predicted.kernels] == pytest.approx([2e-4, 1e-4, 4e-4])


def test_the_device_waits_for_the_host():
    law = parameters(call_s=1e-3, update_call_s=1e-3, dispatch_overlap=64.0)
    predicted = step(law)
    assert predicted.dispatch_s == pytest.approx(10e-3 + 4e-3)
    assert predicted.seconds == pytest.approx(14e-3)
    assert predicted.by_kind()["waiting for dispatch"] == pytest.approx(14e-3 - 8.2e-4)
    assert step(law, mode="graph").dispatch_s == step(law, mode="compiled").dispatch_s == 0.0


def test_a_compiler_leaves_a_share_of_what_lies_between_products():
    kernels = tuple(dataclasses.replace(k, share_left=0.5) for k in graph().kernels)
    joined = graph(kernels=kernels)
    seconds = {mode: step(captured=joined, mode=mode).seconds for mode in ("graph", "compiled")}
    assert seconds["graph"] == pytest.approx(8.2e-4)
    assert seconds["compiled"] == pytest.approx(4.2e-4)


def test_every_kernel_costs_its_launch():
    assert step(parameters(launch_s=1e-4)).seconds == pytest.approx(11.2e-4)


def test_every_step_of_a_recurrent_network_costs_a_launch():
    recurrent = graph(kernels=(kernel("recurrent", "forward", flops=1e9),))
    law = parameters(launch_s=1e-4)
    launches = step(law, captured=recurrent).seconds - step(captured=recurrent).seconds
    assert launches == pytest.approx(64 * 1e-4)


def test_steps_of_a_recurrent_network_do_not_fill_cores_together():
    few = dataclasses.replace(HALF_OF_EVERYTHING, waves_at_half=1.0)
    law = parameters(classes={"other/forward": few})

    def seconds(kind: str) -> float:
        one = graph(kernels=(kernel(kind, "forward", flops=1e9),))
        return step(law, captured=one).kernels[0].seconds

    # (64 / 128 + 1)² tiles at a time, 64 times as many in a batch, on 100 cores
    assert seconds("recurrent") == pytest.approx(2e-4 * (1 + 100 / 2.25), rel=1e-2)
    assert seconds("batched product") == pytest.approx(2e-4 * (1 + 100 / (64 * 2.25)), rel=1e-2)


def test_the_same_sides_keep_a_faster_core_waiting_longer():
    narrow = dataclasses.replace(HALF_OF_EVERYTHING, rows_least=64.0)
    law = parameters(
        classes={"matrix product/forward": narrow, "other/forward": narrow}, tile_growth=0.5
    )
    product = graph(kernels=(kernel("matrix product", "forward", flops=1e9),))

    def seconds(half_flops: float) -> float:
        return step(law, spec=card(fp16_flops=half_flops), captured=product).kernels[0].seconds

    # 64 rows load as long as a core of 1 TFLOP/s computes, and twice as long as one of 4 does
    assert seconds(100e12) == pytest.approx(2 * 2e-4)
    assert seconds(400e12) == pytest.approx(3 * 2e-4 / 4)


def test_values_of_32_bits_take_twice_as_long_to_load():
    narrow = dataclasses.replace(HALF_OF_EVERYTHING, rows_least=64.0)
    law = parameters(classes={"matrix product/forward": narrow, "other/forward": narrow})
    half = graph(kernels=(kernel("matrix product", "forward", flops=1e9),))
    full = graph(kernels=tuple(dataclasses.replace(k, half=False) for k in half.kernels))
    spec = card(tf32_flops=100e12)
    assert step(law, captured=half).kernels[0].seconds == pytest.approx((1 + 1) * 2e-4)
    rounded = step(law, precision="tf32", captured=full, spec=spec)
    assert rounded.kernels[0].seconds == pytest.approx((1 + 2) * 2e-4)


def test_a_device_without_a_rate_for_16_bits_computes_them_by_what_fp32_has():
    both = dataclasses.replace(HALF_OF_EVERYTHING, peak_share_fp32=0.25, misaligned_share=0.5)
    law = parameters(classes={"other/forward": both})
    product = graph(kernels=(kernel("matrix product", "forward", flops=1e9),))

    def seconds(**changes: float | None) -> float:
        return step(law, captured=product, spec=card(**changes)).kernels[0].seconds

    assert seconds(fp16_flops=10e12) == pytest.approx(1e10 / 5e12)
    assert seconds(fp16_flops=None) == pytest.approx(1e10 / 2.5e12)


def test_utilization_counts_what_winograds_algorithm_computes():
    one = kernel("convolution", "forward", flops=1e9)
    three = dataclasses.replace(one, half=False, window=3)
    product = dataclasses.replace(kernel("matrix product", "forward", flops=1e9), half=False)
    alone = step(precision="fp32", captured=graph(kernels=(three,)))
    assert alone.peak_flops == pytest.approx(2.25 * 10e12)
    beside = step(precision="fp32", captured=graph(kernels=(three, product)))
    assert beside.peak_flops == pytest.approx(10e12 * 2 / (1 + 1 / 2.25))
    rounded = step(precision="tf32", captured=graph(kernels=(three,)), spec=card(tf32_flops=50e12))
    assert rounded.peak_flops == 50e12


def test_a_larger_cache_helps_traffic_as_long_as_it_holds_it():
    law = parameters(cache_gain=1.0)

    def seconds(cache_bytes: int) -> float:
        return step(law, spec=card(cache_bytes=cache_bytes)).kernels[1].seconds

    # 100 MB at 500 GB/s, times 1 + 1 / (1 + 100 MB over the cache)
    assert seconds(100_000_000) == pytest.approx(2e-4 / 1.5)
    assert seconds(1) == pytest.approx(2e-4)


def test_chips_that_are_no_gpus_are_not_slowed_by_tiles():
    narrow = dataclasses.replace(HALF_OF_EVERYTHING, rows_least=64.0, waves_at_half=1.0)
    law = parameters(classes={"other/forward": narrow})
    chip = step(law, spec=card(kind="tpu"))
    assert chip.kernels[0].seconds == pytest.approx(2e-4)
    assert step(law).kernels[0].seconds > 4e-4


def test_images_by_channel_first_are_slower_where_the_fit_says_so():
    slower = dataclasses.replace(
        HALF_OF_EVERYTHING, contiguous_bandwidth_share=0.5, contiguous_bandwidth_share_fp32=0.25
    )
    law = parameters(classes={"other/forward": slower})
    assert step(law, contiguous=True).kernels[1].seconds == pytest.approx(4e-4)
    assert step(law, contiguous=False).kernels[1].seconds == pytest.approx(2e-4)
    full = graph(kernels=tuple(dataclasses.replace(k, half=False) for k in graph().kernels))
    in_fp32 = step(law, precision="fp32", captured=full, contiguous=True)
    assert in_fp32.kernels[1].seconds == pytest.approx(8e-4)


def test_groups_are_slower_by_channel_last_where_the_fit_says_so():
    slower = dataclasses.replace(HALF_OF_EVERYTHING, channels_last_traffic=1.0)
    law = parameters(classes={"layer norm/forward/groups": slower})
    norm = dataclasses.replace(
        kernel("layer norm", "forward", num_bytes=10e6), op="aten.native_group_norm"
    )
    images = graph(kernels=(norm,))
    assert step(law, captured=images, contiguous=True).kernels[0].seconds == pytest.approx(2e-4)
    assert step(law, captured=images, contiguous=False).kernels[0].seconds == pytest.approx(4e-4)
    tokens = dataclasses.replace(images, input_shape=(128,))
    assert step(law, captured=tokens, contiguous=False).kernels[0].seconds == pytest.approx(2e-4)


def test_kinds_add_up_to_the_step():
    predicted: DeviceStep = step()
    assert sum(predicted.by_kind().values()) == pytest.approx(predicted.seconds)
    assert next(iter(predicted.by_kind())) == "matrix product"


def test_what_a_device_sustains_is_a_share_of_its_data_sheet():
    sustained = rates(card(), "amp", DeviceShares(0.8, 1.0, 0.6, 0.5, 0.9, "by hand"))
    assert sustained.matrix_half == pytest.approx(80e12)
    assert sustained.matrix_full == pytest.approx(6e12)
    assert sustained.vector == pytest.approx(5e12)
    assert sustained.bandwidth == pytest.approx(0.9e12)
    assert sustained.peak == 100e12


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"bandwidth": None}, "its memory bandwidth was never published"),
        ({"fp32_flops": None, "fp16_flops": None}, "its arithmetic peak was never published"),
    ],
)
def test_a_data_sheet_that_says_too_little_is_refused(missing: dict[str, None], says: str):
    with pytest.raises(InputError, match=says):
        rates(card(**missing), "fp32", WHOLE)
