"""How a forecast for a device is said, on the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Sequence

from traintime.forecast.device_forecast import DeviceForecast
from traintime.units import Interval, format_bytes, format_count, format_percent, plural

LIMITS = {
    "arithmetic": "more FLOP/s or fewer bits would make it faster, faster memory would not",
    "memory traffic": "arithmetic waits for bytes; faster memory or fewer bytes would make it "
    "faster",
    "dispatch": "the device waits for the host; a larger batch or captured launches would fill it",
    "communication": "devices wait for each other's gradients; a larger batch each or a faster "
    "link would make it faster",
}
TIERS = {
    "run on this machine": "ran",
    "measured on this machine": "here",
    "device known from measurements": "known",
    "specs only": "specs",
    "specs only, nothing like it measured": "specs",
    "specs and whole trainings": "runs",
}
SHORTAGES = ("It does not fit", "It may not fit")
"""How an assumption begins that is about too little memory, and says what would help."""
UNKNOWN = "-"
MANY_TIMES = 9.995
"""A share from which it is told as a multiple."""

_TIME_UNITS = (  # with the seconds from which they are used
    ("y", 365 * 86_400.0, 730 * 86_400.0),
    ("d", 86_400.0, 172_800.0),
    ("h", 3_600.0, 3_570.0),
    ("m", 60.0, 99.5),
    ("s", 1.0, 0.9995),
    ("ms", 1e-3, 0.9995e-3),
    ("µs", 1e-6, 0.0),
)


def device_label(forecast: DeviceForecast) -> str:
    """Return the device as it is typed: "rtx-3090", "h100-sxm5-80gbx8"."""
    key = forecast.device
    count = f"x{forecast.num_devices}"
    return key if forecast.num_devices == 1 or key.endswith(count) else key + count


def device_title(forecast: DeviceForecast) -> str:
    """Return the device as it is called: "GeForce RTX 3090", "8 × H100 SXM5 80GB"."""
    several = f"{forecast.num_devices} × " if forecast.num_devices > 1 else ""
    return several + forecast.device_name


def job_title(*forecasts: DeviceForecast) -> str:
    """Return what was asked for, without the devices; each of them may choose a precision."""
    forecast = forecasts[0]
    precision = " or ".join(dict.fromkeys(each.precision for each in forecasts))
    passes = plural(forecast.epochs, "epoch")
    steps = plural(forecast.steps_per_epoch, "step")
    length = f"{passes} of {steps}" if forecast.steps_per_epoch else "a step alone"
    shape = "×".join(f"{side:,}" for side in forecast.input_shape)
    divided = f"sharding {forecast.sharding}, " if forecast.sharding != "none" else ""
    again = "recompute, " if forecast.recompute else ""
    return f"batch {forecast.batch_size:,}, {precision}, {divided}{again}input {shape}, {length}"


def how_to_have_the_end(forecast: DeviceForecast) -> str:
    """Return what to type where a step alone was asked about."""
    sides = len(forecast.input_shape)
    looks_up = any(share.kind == "lookup" for share in forecast.step_by_kind)
    size = "samples=50000"
    if sides == 1 and looks_up:
        size += ", or tokens=300e9 of text"
    elif sides == 3:
        size = f"data=imagenet, or {size}"
    return f"For epochs and the end, type {size}"


def limit_sentence(forecast: DeviceForecast) -> str:
    """Return what a step waits for, and what would help."""
    meaning = LIMITS.get(forecast.limited_by)
    return f"{forecast.limited_by}: {meaning}" if meaning else forecast.limited_by


def fitting_first(forecasts: Sequence[DeviceForecast]) -> list[DeviceForecast]:
    """Return forecasts in their order, those that do not fit behind all others."""
    return sorted(forecasts, key=lambda forecast: not forecast.fits)


def format_chance(chance: float | None) -> str:
    """Return a probability that never claims to be sure: "> 99 %", "63 %", "< 1 %"."""
    if chance is None:
        return UNKNOWN
    if chance > 0.99:
        return "> 99 %"
    return "< 1 %" if chance < 0.01 else format_percent(chance, 0)


def format_share(share: float) -> str:
    """Return a share of a whole; small ones as such."""
    if share >= MANY_TIMES:
        return f"{share:,.0f} ×"
    return format_percent(share, 0) if share >= 0.01 else "< 1 %"


def memory_sentence(forecast: DeviceForecast) -> str:
    """Return the peak, what there is, and whether that suffices."""
    peak = format_bytes_interval(forecast.peak_memory_bytes)
    if not forecast.capacity_bytes:
        return f"{peak}, out of the machine's own memory"
    each = " each" if forecast.num_devices > 1 else ""
    parts = [f"{peak} of {format_bytes(forecast.capacity_bytes)}{each}"]
    if forecast.chance_it_fits is not None:
        parts.append(f"fits with chance {format_chance(forecast.chance_it_fits)}")
    if forecast.largest_batch_size is not None:
        parts.append(_largest_batch(forecast.largest_batch_size))
    return " · ".join(parts)


def shortages(forecast: DeviceForecast) -> list[str]:
    """Return the assumptions about too little memory, which stand where the memory is shown."""
    return [line for line in forecast.assumptions if line.startswith(SHORTAGES)]


def other_assumptions(forecast: DeviceForecast) -> list[str]:
    """Return all assumptions but those about too little memory."""
    return [line for line in forecast.assumptions if not line.startswith(SHORTAGES)]


def _largest_batch(size: int) -> str:
    return f"largest batch that does: {size:,}" if size else "not even one sample does surely"


def format_bytes_interval(interval: Interval) -> str:
    """Return '14.2 GiB (12.1-16.3 GiB)'."""
    median, low, high = map(format_bytes, (interval.median, interval.low, interval.high))
    if low == high:
        return median
    number, _, unit = low.partition(" ")
    return f"{median} ({number if high.endswith(f' {unit}') else low}-{high})"


def format_throughput(samples_per_s: float) -> str:
    """Return samples per second; a slow device's with two digits."""
    return f"{samples_per_s:.2g}" if samples_per_s < 10 else format_count(samples_per_s)


def short_time(seconds: float) -> str:
    """Return a time in one unit, for a narrow column: '185 ms', '12.1 m', '2.17 h'.

    Three digits tell 59.9 m from 1 h, so no time is shown as a part of one unit.
    """
    whole = (one for one in _TIME_UNITS if seconds >= max(one[2], 0.9995 * one[1]))
    unit, size, _ = next(whole, _TIME_UNITS[-1])
    number = seconds / size
    return f"{number:.3g} {unit}" if number < 999.5 else f"{number:,.0f} {unit}"


def short_interval(interval: Interval) -> str:
    """Return a time and its interval in one unit: '2.2 h (1.8-2.6)'."""
    unit, size = _time_unit(interval.median)
    digits = 1 if interval.median < 9.95 * size else 0
    median, low, high = (
        f"{seconds / size:,.{digits}f}"
        for seconds in (interval.median, interval.low, interval.high)
    )
    return f"{median} {unit}" if low == high else f"{median} {unit} ({low}-{high})"


def _time_unit(seconds: float) -> tuple[str, float]:
    return next((unit, size) for unit, size, start in _TIME_UNITS if seconds >= start)
