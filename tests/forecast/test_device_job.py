import dataclasses
import json
import math

import pytest

from traintime.errors import InputError
from traintime.forecast import device_memory
from traintime.forecast.asked_job import sized_model
from traintime.forecast.data_parallel import (
    deviations_of_slowest,
    exchange_parameters,
    exposed_exchange_s,
)
from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.device_job import (
    COMPILED_SIGMA,
    COMPILED_SIGMA_ON_CPU,
    forecast_on_device,
)
from traintime.forecast.device_memory import HEAP_SIGMA
from traintime.forecast.device_parameters import KNOWN_DEVICE, LANGUAGE_MODELS, SPECS_ONLY
from traintime.hardware.devices import DeviceCount
from traintime.units import GIB
from traintime.workload.kernels import Amount
from traintime.workload.sample import Sample

from .synthetic_device import card, each_sample, graph, job, kernel, model, parameters
from .synthetic_processor import law as processor_law
from .synthetic_processor import processor


def forecast(captured=None, law=None, count: int = 1, spec=None, **changes) -> DeviceForecast:
    law = law or parameters()
    device = DeviceCount(spec or card(), count)
    return forecast_on_device(job(**changes), model(captured, law), device, law)


def test_one_device_takes_its_steps():
    answer = forecast()
    # 0.4 ms and 0.2 ms of arithmetic, 0.2 ms of traffic, 0.02 ms of update
    assert answer.step_time_s.median == pytest.approx(8.2e-4)
    assert answer.steps_per_epoch == 100
    assert answer.epoch_time_s.median == pytest.approx(0.082)
    assert answer.total_s.median == answer.stages_s["train"].median == pytest.approx(0.164)
    assert answer.stages_s["validate"].median == 0.0
    assert answer.samples_per_s == pytest.approx(10 / 8.2e-4)
    assert answer.flops_per_step == pytest.approx(3e10)
    assert answer.utilization == pytest.approx(3e10 / 8.2e-4 / 100e12)
    assert answer.flops_per_joule == pytest.approx(3e10 / 8.2e-4 / 200)
    assert (answer.device, answer.num_devices, answer.precision) == ("card", 1, "amp")
    assert (answer.model, answer.model_source, answer.parameters) == ("toy", "a test", 1_000_000)


@pytest.mark.parametrize(("kind", "waits"), [("gpu", True), ("tpu", False), ("asic", False)])
def test_only_gpus_wait_for_a_host_that_dispatches_each_operation(kind, waits):
    slow_host = parameters(call_s=1.0)
    answer = forecast(law=slow_host, spec=card(kind=kind))
    assert ("waiting for dispatch" in {part.kind for part in answer.step_by_kind}) == waits


def test_kinds_and_limits_add_up():
    answer = forecast()
    shares = {part.kind: part.seconds for part in answer.step_by_kind}
    assert shares == pytest.approx(
        {"matrix product": 6e-4, "elementwise": 2e-4, "optimizer": 2e-5}, rel=1e-6
    )
    assert sum(part.share for part in answer.step_by_kind) == pytest.approx(1.0)
    assert answer.limited_by == "arithmetic"


def test_traffic_limits_what_has_little_arithmetic():
    light = graph(kernels=(kernel("elementwise", "forward", num_bytes=10e6),))
    assert forecast(light).limited_by == "memory traffic"


def test_dispatch_limits_what_is_small():
    answer = forecast(law=parameters(call_s=1e-3, dispatch_overlap=64.0))
    assert answer.limited_by == "dispatch"
    assert answer.step_by_kind[0].kind == "waiting for dispatch"
    assert answer.step_time_s.median == pytest.approx(0.01)
    compiled = forecast(law=parameters(call_s=1e-3, dispatch_overlap=64.0), compiled=True)
    assert compiled.step_time_s.median == pytest.approx(8.2e-4)
    assert any("Compiling itself is not counted" in line for line in compiled.assumptions)


@pytest.mark.parametrize(("kind", "share"), [("gpu", 0.5), ("tpu", 1.0)])
def test_what_a_compiler_joins_is_left_out_but_on_accelerators(kind: str, share: float):
    """There it is in what was fitted."""
    light = kernel("elementwise", "forward", num_bytes=10e6)
    halves = graph(kernels=(dataclasses.replace(light, share_left=0.5),))
    compiled, whole = (
        forecast(captured, spec=card(kind=kind), compiled=True).step_by_kind[0].seconds
        for captured in (halves, graph(kernels=(light,)))
    )
    assert compiled == pytest.approx(share * whole)
    told, plain = (forecast(spec=card(kind=kind), compiled=how) for how in (True, False))
    is_gpu = kind == "gpu"
    assert any("Compiled" in line for line in told.assumptions) == is_gpu
    wider = math.hypot(plain.step_time_s.sigma, COMPILED_SIGMA * is_gpu)
    assert told.step_time_s.sigma == pytest.approx(wider)


def test_compiled_a_step_on_a_processor_is_as_long_and_less_sure():
    plain, compiled = (
        forecast(law=processor_law(), spec=processor(memory_bytes=8 * GIB), compiled=how)
        for how in (False, True)
    )
    assert compiled.step_time_s.median == plain.step_time_s.median
    assert compiled.step_time_s.sigma == pytest.approx(
        math.hypot(plain.step_time_s.sigma, COMPILED_SIGMA_ON_CPU)
    )
    assert any("as often longer as shorter" in line for line in compiled.assumptions)


def test_validation_is_a_forward_at_the_same_batch():
    answer = forecast(validation_samples=95)
    assert answer.stages_s["validate"].median == pytest.approx(2 * 10 * 4e-4)
    assert answer.total_s.median == pytest.approx(0.164 + 0.008)
    assert answer.epoch_time_s.median == pytest.approx(0.082)


def test_accumulating_updates_once():
    answer = forecast(accumulate=2)
    assert answer.step_time_s.median == pytest.approx(8.2e-4)
    assert answer.kernels[0].count == 2
    assert sum(part.seconds for part in answer.step_by_kind) == pytest.approx(8.2e-4)
    assert answer.flops_per_step == pytest.approx(3e10)


def test_devices_share_a_batch_and_exchange_gradients():
    answer = forecast(count=2)
    shipped = exchange_parameters()
    exchange_s = exposed_exchange_s(4e6, DeviceCount(card(), 2), 2e-4, shipped).median
    slowest_s = (4e-4 + 2e-5) * (1 + shipped.jitter * deviations_of_slowest(2))
    assert answer.step_time_s.median == pytest.approx(slowest_s + exchange_s)
    assert answer.flops_per_step == pytest.approx(3e10)
    assert answer.flops_per_joule == pytest.approx(1.5e10 / answer.step_time_s.median / 200)
    assert {part.kind for part in answer.step_by_kind} >= {"communication"}
    assert answer.memory_by_part["gradients"] == 8e6
    assert (answer.device, answer.num_devices) == ("card", 2)
    said = "\n".join(answer.assumptions)
    assert "Each of 2 devices" in said
    assert "over NVLink3 of 100 GB/s" in said
    assert "waiting for the slowest device" in said


def test_exchange_limits_what_has_many_parameters():
    heavy = graph(parameters=1_000_000_000)
    answer = forecast(heavy, count=8, spec=card(memory_bytes=80 * GIB, bandwidth=1e15))
    assert answer.limited_by == "communication"


@pytest.mark.parametrize(
    ("spec", "evidence", "sigma"),
    [(card(), KNOWN_DEVICE, 0.2), (card(key="other"), SPECS_ONLY, 0.4)],
)
def test_the_interval_is_as_wide_as_the_evidence_allows(spec, evidence, sigma: float):
    answer = forecast(spec=spec)
    assert answer.evidence == evidence
    for interval in (answer.step_time_s, answer.epoch_time_s, answer.total_s):
        assert interval.sigma == pytest.approx(sigma)
        assert interval.level == 0.8


def test_several_devices_are_less_certain_than_one():
    beside = exchange_parameters().jitter_spread * deviations_of_slowest(4)
    calm = forecast(graph(parameters=0), count=4)
    assert calm.step_time_s.sigma == pytest.approx(math.hypot(0.2, beside), rel=1e-3)
    answer = forecast(graph(parameters=10_000_000), count=4)
    upwards = answer.step_time_s.high / answer.step_time_s.median
    downwards = answer.step_time_s.median / answer.step_time_s.low
    assert upwards > downwards > math.exp(1.2816 * 0.2)
    assert answer.total_s.sigma == pytest.approx(answer.step_time_s.sigma)


def test_it_is_said_where_fewer_devices_would_do():
    heavy = graph(parameters=30_000_000)
    roomy = card(memory_bytes=80 * GIB, bandwidth=1e15)
    said = forecast(heavy, count=8, spec=roomy).assumptions[-1]
    assert said.startswith("More devices do not help at this batch: card takes")
    light = graph(parameters=0)
    assert "do not help" not in "\n".join(forecast(light, count=8, spec=roomy).assumptions)


def test_what_a_forecast_takes_for_granted_is_said():
    said = "\n".join(forecast(notes=("Toys: 1,000 images",)).assumptions)
    for part in (
        "Toys: 1,000 images",
        "Card reaches what it did in the public measurements",
        "Computed in amp, images channels_last, as auto has it",
        "keeps up: 12.2 k samples/s, 37 MB/s decoded",
        "does nothing else",
        "Operations of toy captured from a test",
    ):
        assert part in said
    assert "fit" not in said.replace("fitted", "")
    assert "never measured on Card" not in said


def test_a_device_that_was_never_measured_is_said_to_be_so():
    said = forecast(spec=card(key="other")).assumptions[0]
    assert said.startswith("No step was ever measured on Card: it is taken to use its data sheet")


def test_operations_that_no_rule_counts_are_named():
    strange = graph(unknown=tuple(f"own.op{number}" for number in range(7)))
    said = "\n".join(forecast(strange).assumptions)
    assert "Of own.op0, own.op1, own.op2, own.op3, own.op4 and 2 others the bytes" in said


def test_a_language_model_is_as_uncertain_as_those_that_were_measured():
    text = graph(input_shape=(128,), size_unit="tokens")
    asked = job(sample=Sample((128,), tokens=True))
    for of_words, expected in ((0.3, 0.3), (0.1, 0.2)):
        spread = parameters().spread | {LANGUAGE_MODELS: of_words}
        law = parameters(spread=spread)
        sized = sized_model(lambda _: text, asked.sample, law)
        answer = forecast_on_device(asked, sized, DeviceCount(card()), law)
        assert answer.step_time_s.sigma == pytest.approx(expected)
        assert forecast(law=law).step_time_s.sigma == pytest.approx(0.2)  # images as before


def test_text_is_said_in_tokens_and_scaled_by_length():
    law = parameters()
    text = graph(input_shape=(128,), size_unit="tokens")
    asked = job(sample=Sample((256,), tokens=True))
    sized = sized_model(lambda _: text, asked.sample, law)
    answer = forecast_on_device(asked, sized, DeviceCount(card()), law)
    said = "\n".join(answer.assumptions)
    assert "tokens/s" in said
    assert "captured around input 128 tokens and scaled to 256 tokens" in said
    assert "images" not in said


# Memory


def large(kept: float = 1e9, weights: int = 1_000_000):
    return graph(
        kept_bytes=each_sample(kept),
        peak_bytes=Amount((4.0 * weights,), (kept,)),
        parameters=weights,
    )


def test_a_job_that_fits_says_nothing_of_memory():
    answer = forecast()
    assert answer.chance_it_fits == pytest.approx(1.0)
    assert answer.capacity_bytes == 8 * GIB
    assert (answer.largest_batch_size or 0) > 10


def test_a_batch_that_does_not_fit_is_answered_with_what_would():
    answer = forecast(large())
    assert answer.chance_it_fits == pytest.approx(0.0, abs=0.01)
    # (8 GiB / e^(1.28 · 0.08) - 0.6 GiB) / 1.09 hold 5 samples of 1 GB
    assert answer.largest_batch_size == 6
    line = answer.assumptions[0]
    assert line.startswith("It does not fit: ")
    assert "are expected on each Card, which has 8 GiB; " in line
    assert (
        "are missing. It would fit with accumulate=2, or device=cardx2, or precision=half" in line
    )
    assert line.endswith("or batch_size=6")
    assert answer.step_time_s.median > 0


def test_what_is_advised_does_fit():
    for changes in (
        {"batch_size": 6},
        {"accumulate": 2},
        {"precision": "half"},
    ):
        assert (forecast(large(), **changes).chance_it_fits or 0) >= 0.9
    assert (forecast(large(), count=2).chance_it_fits or 0) >= 0.9


def test_a_batch_that_may_fit_is_told_the_chance():
    answer = forecast(large(), batch_size=7)
    assert 0.05 < (answer.chance_it_fits or 0) < 0.9
    assert answer.assumptions[0].startswith("It may not fit: ")
    assert "a chance of " in answer.assumptions[0]
    assert "It would fit with accumulate=2, or " in answer.assumptions[0]
    assert answer.assumptions[0].endswith("or batch_size=6")


def test_a_model_that_does_not_fit_at_all_is_still_answered():
    answer = forecast(large(kept=1.0, weights=1_000_000_000))
    assert answer.chance_it_fits == pytest.approx(0.0, abs=1e-6)
    assert answer.largest_batch_size == 0
    assert answer.assumptions[0].endswith(
        "Not even one sample at a time fits with nine chances in ten. It would fit with "
        "device=cardx8 sharding=full"
    ), "data parallel devices that divide nothing hold all weights each"
    advised = {"count": 8, "sharding": "full"}
    assert (forecast(large(kept=1.0, weights=1_000_000_000), **advised).chance_it_fits or 0) >= 0.9


def test_half_may_make_even_the_weights_fit():
    answer = forecast(large(kept=1.0, weights=600_000_000))
    said = answer.assumptions[0]
    assert "Not even one sample at a time fits with nine chances in ten. It would fit with " in said
    assert said.endswith("or precision=half")


def test_a_device_without_memory_of_its_own_is_not_judged():
    answer = forecast(large(), spec=card(memory_bytes=None))
    assert answer.capacity_bytes is None
    assert answer.chance_it_fits is None
    assert answer.largest_batch_size is None
    assert not any("fit:" in line for line in answer.assumptions)


# The rest


def test_ten_kernels_are_shown_the_largest_first():
    many = graph(
        kernels=tuple(kernel("matrix product", "forward", flops=n * 1e8) for n in range(1, 21))
    )
    kernels = forecast(many).kernels
    assert len(kernels) == 10
    assert [k.seconds for k in kernels] == sorted((k.seconds for k in kernels), reverse=True)
    first = kernels[0]
    assert (first.name, first.kind) == ("aten.matrix_product in head", "matrix product")
    assert first.flops == pytest.approx(2e10)
    assert first.sides == (64.0, 64.0, 64.0, 64.0)
    assert first.arithmetic_s == pytest.approx(first.seconds)
    assert forecast().kernels[-1].sides == ()


def test_a_device_without_a_rated_power_has_no_efficiency():
    assert forecast(spec=card(tdp_w=None)).flops_per_joule is None


def test_a_forecast_is_plain_json():
    text = json.dumps(forecast(validation_samples=5).to_json(), allow_nan=False)
    assert json.loads(text)["device"] == "card"


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"bandwidth": None}, {}, "Too little is known of Card"),
        ({}, {"precision": "tf32"}, "has no TF32"),
        ({}, {"batch_size": 5_000}, "more than the 1,000"),
        ({"interconnect_bytes_per_s": None}, {"count": 2}, "tied together"),
    ],
)
def test_what_cannot_be_forecast_is_refused(changes, options, says: str):
    with pytest.raises(InputError, match=says):
        forecast(spec=card(**changes), **options)


def test_input_that_the_graph_does_not_hold_for_is_refused():
    law = parameters()
    asked = dataclasses.replace(job(), sample=Sample((1, 8, 8)))
    sized = sized_model(lambda _: graph(), asked.sample, law)
    with pytest.raises(InputError, match="input=1x8x8 does not fit toy"):
        forecast_on_device(asked, sized, DeviceCount(card()), law)


def test_the_heap_of_a_cpu_is_played_once_at_the_micro_batch(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def played(_graph, batch_size: int, _num_slots: int) -> int:
        asked.append(batch_size)
        return 40_000_000_000

    monkeypatch.setattr(device_memory, "captured_heap_peak", played)
    spec = card(kind="cpu", confidence="user")
    answer = forecast(spec=spec, batch_size=1000, accumulate=2)
    assert asked == [500]  # though it does not fit, so other ways were tried
    assert answer.peak_memory_bytes.sigma == pytest.approx(HEAP_SIGMA)
    assert not answer.fits
    assert sum(answer.memory_by_part.values()) == pytest.approx(answer.peak_memory_bytes.median)
