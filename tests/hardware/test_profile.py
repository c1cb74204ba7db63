import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from traintime.hardware.machine import Gpu, Machine
from traintime.hardware.profile import Context, HardwareProfile, Rate, load_profile, save_profile

MACHINE = Machine("AMD EPYC", 2, 2.5, 2**34, 2**36, (Gpu("NVIDIA H200", 2**37),), "Linux 6.1")
PROFILE = HardwareProfile(
    machine=MACHINE,
    device="cpu",
    evidence="measured on this machine",
    rates=(
        Rate("matrix product", "fp32", (10.0, 10.0), 1e9, 1.1),
        Rate("matrix product", "fp32", (1000.0, 10.0), 1e11, 1.2),
        Rate("elementwise", "fp32", (1024.0, 1.0), 5e9, 1.0),
    ),
    contexts=(
        Context("matrix product", "fp32", 1e-3, 2.0),
        Context("matrix product", "fp32", 1e-1, 1.0),
    ),
    dispatch_s=5e-6,
    disk_bytes_per_s=1e9,
    import_s=1.5,
    measured_on="2025-11-20",
    software={"torch": "2.9.0"},
)


def product(*size: float) -> float:
    rate = PROFILE.rate("matrix product", "fp32", size)
    assert rate is not None
    return rate


def test_a_measured_size_has_the_measured_rate():
    assert product(10, 10) == 1e9
    assert product(1000, 10) == 1e11


def test_halfway_on_a_logarithmic_scale_is_the_geometric_mean():
    # 100 lies as far from 10 as from 1000, so √(10⁹ · 10¹¹)
    assert product(100, 10) == pytest.approx(1e10)


def test_nearer_points_weigh_by_the_inverse_square_of_their_distance():
    # 10^1.5 is 0.5 decades from 10 and 1.5 from 1000: weights 9 and 1, exponent 9 + 2 / 10
    assert product(10**1.5, 10) == pytest.approx(10**9.2)


def test_rates_lie_between_those_that_were_measured():
    sizes = [10 ** (exponent / 4) for exponent in range(4, 13)]
    rates = [product(size, 10) for size in sizes]
    assert rates == sorted(rates)
    assert all(1e9 <= product(side, side) <= 1e11 for side in (1, 5, 50, 1e6))


@pytest.mark.parametrize(
    ("kind", "form"), [("matrix product", "bf16"), ("convolution", "fp32"), ("", "")]
)
def test_what_was_never_measured_has_no_rate(kind: str, form: str):
    assert PROFILE.rate(kind, form, (10, 10)) is None


def test_a_guess_for_another_machine_goes_by_cores_and_clock():
    bigger = replace(MACHINE, cores=8, ghz=5.0)
    scaled = PROFILE.scaled_to(bigger)
    assert [rate.per_s for rate in scaled.rates] == pytest.approx([8e9, 8e11, 4e10])
    assert (scaled.machine, scaled.evidence) == (bigger, "specs only")
    assert scaled.dispatch_s == PROFILE.dispatch_s
    assert PROFILE.rates[0].per_s == 1e9


def test_a_clock_that_cannot_be_read_is_taken_as_the_same():
    scaled = PROFILE.scaled_to(replace(MACHINE, cores=4, ghz=0.0))
    assert scaled.rates[0].per_s == 2e9


def test_a_profile_survives_being_saved_and_loaded(tmp_path: Path):
    path = tmp_path / "machines" / "one.json"
    save_profile(PROFILE, path)
    assert load_profile(path) == PROFILE


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "\x00" * len(text),
        lambda text: "{}",
        lambda text: json.dumps({**json.loads(text), "format": 99}),
        lambda text: json.dumps({**json.loads(text), "rates": [["convolution"]]}),
        lambda text: json.dumps({**json.loads(text), "rates": 7}),
        lambda text: json.dumps({**json.loads(text), "machine": {"cpu": "AMD"}}),
        lambda text: json.dumps({**json.loads(text), "unknown": 1}),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "import_s"}),
        lambda text: "null",
    ],
)
def test_a_damaged_profile_is_as_good_as_none(tmp_path: Path, damage):
    path = tmp_path / "one.json"
    save_profile(PROFILE, path)
    path.write_text(damage(path.read_text()))
    assert load_profile(path) is None


def test_a_profile_that_was_never_saved_is_none(tmp_path: Path):
    assert load_profile(tmp_path / "missing.json") is None


def test_the_reference_that_is_shipped_can_be_read_and_has_rates_for_every_kind():
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text()
    reference = HardwareProfile.from_json(json.loads(text))
    assert reference.device == "cpu"
    assert {rate.kind for rate in reference.rates} == {
        "convolution",
        "fused convolution",
        "matrix product",
        "orthogonalisation",
        "pooling",
        "normalisation",
        "elementwise",
        "optimizer",
        "input",
    }
    assert all(rate.per_s > 0 and rate.spread >= 1 for rate in reference.rates)
    assert all(math.isfinite(rate.per_s) and min(rate.size) > 0 for rate in reference.rates)


def test_small_networks_take_longer_than_their_operations_one_by_one():
    assert PROFILE.context("matrix product", "fp32", 1e-4) == 2.0
    assert PROFILE.context("matrix product", "fp32", 1e-2) == pytest.approx(2**0.5)
    assert PROFILE.context("matrix product", "fp32", 1.0) == 1.0
    assert PROFILE.context("convolution", "fp32", 1e-3) == 1.0
