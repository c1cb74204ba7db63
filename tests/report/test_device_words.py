import pytest

from tests.report.synthetic_device_forecast import device_forecast, on
from traintime.forecast.kind_share import KindShare
from traintime.report.device_words import (
    LIMITS,
    device_label,
    device_title,
    fitting_first,
    format_bytes_interval,
    format_chance,
    format_share,
    format_throughput,
    how_to_have_the_end,
    job_title,
    limit_sentence,
    memory_sentence,
    short_interval,
    short_time,
)
from traintime.units import GIB, MIB, Interval


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (2.5e-6, "2.5 µs"),
        (0.185, "185 ms"),
        (0.9996, "1 s"),
        (99.4, "99.4 s"),
        (99.6, "1.66 m"),
        (3_569, "59.5 m"),
        (3_593, "59.9 m"),
        (3_599, "1 h"),
        (3_600, "1 h"),
        (172_799, "48 h"),
        (172_800, "2 d"),
        (1_000 * 365 * 86_400, "1,000 y"),
    ],
)
def test_a_short_time_has_one_unit_and_no_exponent(seconds: float, text: str):
    assert short_time(seconds) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ((2.17, 1.83, 2.58), "2.2 h (1.8-2.6)"),
        ((13.1, 9.94, 15.2), "13 h (10-15)"),
        ((2.0, 2.0, 2.0), "2.0 h"),
        ((72.0, 36.0, 96.0), "3.0 d (1.5-4.0)"),
        ((24_000.0, 8_760.0, 43_800.0), "2.7 y (1.0-5.0)"),
    ],
)
def test_a_short_interval_has_the_unit_and_the_digits_of_its_median(
    hours: tuple[float, float, float], text: str
):
    assert short_interval(Interval(*(3_600 * end for end in hours))) == text


def test_devices_are_labelled_as_they_are_typed():
    eight = device_forecast(device="h100-sxm5-80gb", device_name="H100 SXM5 80GB", num_devices=8)
    assert device_label(eight) == "h100-sxm5-80gbx8"
    assert device_title(eight) == "8 × H100 SXM5 80GB"
    assert device_label(device_forecast(device="mi250xx2", num_devices=2)) == "mi250xx2"
    assert device_label(device_forecast(device="mi250x")) == "mi250x"


def test_the_job_is_said_without_the_device():
    assert job_title(device_forecast()) == (
        "batch 256, amp, input 3×224×224, 90 epochs of 5,004 steps"
    )
    one = device_forecast(epochs=1, steps_per_epoch=1, input_shape=(128,))
    assert job_title(one) == "batch 256, amp, input 128, 1 epoch of 1 step"
    assert job_title(one, device_forecast(precision="fp32"), one).startswith(
        "batch 256, amp or fp32, "
    )


def test_a_job_is_said_to_be_divided_and_computed_again():
    text = device_forecast(input_shape=(4096,), sharding="full", recompute=True)
    assert job_title(text).startswith("batch 256, amp, sharding full, recompute, input 4,096, ")


def test_text_has_an_end_in_tokens():
    images, values = device_forecast(), device_forecast(input_shape=(4096,))
    lookup = KindShare("lookup", 1e-4, 0.01)
    text = device_forecast(input_shape=(4096,), step_by_kind=(*values.step_by_kind, lookup))
    assert how_to_have_the_end(images).endswith("type data=imagenet, or samples=50000")
    assert how_to_have_the_end(text).endswith("type samples=50000, or tokens=300e9 of text")
    assert how_to_have_the_end(values).endswith("type samples=50000")


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_is_a_sentence(limit: str):
    assert limit_sentence(device_forecast(limited_by=limit)).startswith(f"{limit}: ")


def test_a_limit_that_is_new_is_still_said():
    assert limit_sentence(device_forecast(limited_by="patience")) == "patience"


@pytest.mark.parametrize(
    ("chance", "text"),
    [
        (None, "-"),
        (0.0, "< 1 %"),
        (0.63, "63 %"),
        (0.99, "99 %"),
        (0.996, "> 99 %"),
        (1.0, "> 99 %"),
    ],
)
def test_a_chance_is_never_certain(chance: float | None, text: str):
    assert format_chance(chance) == text


def test_what_does_not_fit_comes_last_and_the_rest_stays_in_order():
    small = on("small", "Small", 1.0, chance_it_fits=0.3)
    own = on("own", "Own", 2.0, capacity_bytes=None, chance_it_fits=None)
    likely = on("likely", "Likely", 3.0, chance_it_fits=0.5)
    assert fitting_first([small, likely, own]) == [likely, own, small]
    assert [each.fits for each in (small, own, likely)] == [False, True, True]


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(2 * GIB, 1.5 * GIB, 2.5 * GIB), "2 GiB (1.5-2.5 GiB)"),
        (Interval(GIB, 900 * MIB, 2 * GIB), "1 GiB (900 MiB-2 GiB)"),
        (Interval(GIB, GIB, GIB), "1 GiB"),
    ],
)
def test_a_range_of_bytes_says_its_unit_once_where_it_can(interval: Interval, text: str):
    assert format_bytes_interval(interval) == text


def test_memory_is_said_with_what_there_is_and_whether_it_suffices():
    assert memory_sentence(device_forecast()) == (
        "20 GiB (18-22.2 GiB) of 24 GiB · fits with chance 97 % · largest batch that does: 288"
    )
    too_small = device_forecast(num_devices=2, chance_it_fits=0.0, largest_batch_size=0)
    assert memory_sentence(too_small).endswith(
        "of 24 GiB each · fits with chance < 1 % · not even one sample does surely"
    )
    shared = device_forecast(capacity_bytes=None, chance_it_fits=None, largest_batch_size=None)
    assert memory_sentence(shared) == "20 GiB (18-22.2 GiB), out of the machine's own memory"


def test_a_slow_device_keeps_two_digits_of_its_throughput():
    assert [format_throughput(per_s) for per_s in (0.123, 9.94, 412.4, 1_380)] == [
        *("0.12", "9.9", "412", "1.38 k"),
    ]


def test_a_share_of_many_times_is_a_multiple():
    assert [format_share(share) for share in (0.004, 0.5, 1.2, 71.3)] == [
        "< 1 %",
        "50 %",
        "120 %",
        "71 ×",
    ]
