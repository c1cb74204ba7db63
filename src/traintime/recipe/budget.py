"""How long a run may take: `10m`, `1h30m`, or until `17:30`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from traintime.errors import InputError
from traintime.units import format_duration

UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
LONGEST_S = 366 * 86_400.0
EXAMPLES = "type for example budget=10m, budget=1h30m or, as a time of day, budget=17:30"


@dataclass(frozen=True)
class Budget:
    """A length of time, or a moment.

    Exactly one of the two is given.

    Args:
        seconds: Of running, all processes on the run together.
        until: When the result has to be there, with its time zone.
    """

    seconds: float | None = None
    until: datetime | None = None

    def left_s(self, elapsed_s: float, now: datetime) -> float:
        """Return the seconds that are left; negative once it is over.

        Args:
            elapsed_s: What the run has taken so far.
            now: With its time zone.
        """
        if self.until is not None:
            return (self.until - now).total_seconds()
        assert self.seconds is not None
        return self.seconds - elapsed_s

    def __str__(self) -> str:
        if self.until is not None:
            return self.until.isoformat(timespec="seconds")
        assert self.seconds is not None
        return f"{self.seconds:.15g}s"

    def in_words(self) -> str:
        """Return it for people: 'in 10 m 00 s', 'by 17:30', 'by 2026-11-21 17:30'."""
        if self.until is None:
            return f"in {format_duration(self.seconds or 0.0)}"
        local = self.until.astimezone()
        is_today = local.date() == datetime.now().astimezone().date()
        return f"by {local:%H:%M}" if is_today else f"by {local:%Y-%m-%d %H:%M}"


def parse_budget(text: str, now: datetime | None = None) -> Budget:
    """Read '10m', '1h30m', '90s', '17:30' (today) or '2026-11-21T17:30'.

    Args:
        text: As typed. A moment without a time zone is one here.
        now: With its time zone; the present if it is not given.

    Raises:
        InputError: It says something else, or nothing is left of it.
    """
    now = now or datetime.now().astimezone()
    plain = text.strip().casefold()
    until = _moment(plain, now)
    if until is not None:
        return Budget(until=until)
    plain = plain.replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)([dhms])", plain)
    if not parts or "".join(number + unit for number, unit in parts) != plain:
        if re.fullmatch(r"\d+\.?\d*|\.\d+", plain) and float(plain):
            raise InputError(
                f"budget={text} has no unit; type for example budget={plain}s or budget={plain}m"
            )
        if not re.fullmatch(r"0+\.?0*", plain):
            raise InputError(
                f"budget={text} is neither a length of time nor a time of day; {EXAMPLES}"
            )
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= LONGEST_S:
        raise InputError(f"A budget is more than 0 s and at most a year, not {text}; {EXAMPLES}")
    return Budget(seconds=seconds)


def refuse_past(budget: Budget, now: datetime | None = None) -> None:
    """Refuse a moment that is over, before a run begins.

    Raises:
        InputError: Says what time it is, and how to mean tomorrow.
    """
    now = now or datetime.now().astimezone()
    if budget.until is None or budget.until > now:
        return
    tomorrow = budget.until
    while tomorrow <= now:
        tomorrow += timedelta(days=1)
    raise InputError(
        f"The deadline {budget.until.astimezone():%Y-%m-%d %H:%M} is past: it is {now:%H:%M}. "
        f"Type a later one, a length of time such as budget=10m, or "
        f"budget={tomorrow.astimezone():%Y-%m-%dT%H:%M}"
    )


def _local(moment: datetime, now: datetime) -> datetime:
    """Return a moment by the clocks here, which may change till then; other zones stay."""
    is_here = now.utcoffset() == now.astimezone().utcoffset()
    return moment.replace(tzinfo=None).astimezone() if is_here else moment


def _moment(text: str, now: datetime) -> datetime | None:
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    try:
        if clock:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            return _local(now.replace(hour=hour, minute=minute, second=second, microsecond=0), now)
        if re.match(r"\d{4}-\d{2}-\d{2}", text):
            return datetime.fromisoformat(text.upper()).astimezone()
    except ValueError as error:
        raise InputError(f"budget={text} is no time of day ({error}); {EXAMPLES}") from None
    return None
