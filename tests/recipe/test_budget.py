from datetime import UTC, datetime, timedelta, timezone

import pytest

from traintime.errors import InputError
from traintime.recipe.budget import Budget, parse_budget, refuse_past

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5_400),
        ("90s", 90),
        ("1.5h", 5_400),
        ("2d", 172_800),
        ("1H 5M", 3900),
    ],
)
def test_a_length_of_time(text: str, seconds: float):
    assert parse_budget(text, NOW) == Budget(seconds=seconds)


def test_a_time_of_day_is_today():
    budget = parse_budget("17:30", NOW)
    assert budget.until == NOW.replace(hour=17, minute=30)
    assert budget.left_s(1e9, NOW) == 5.5 * 3600


def test_a_moment_is_itself_again():
    budget = parse_budget("2026-03-05T09:15", NOW)
    assert budget.until is not None
    assert (budget.until.hour, budget.until.day) == (9, 5)
    assert parse_budget(str(budget), NOW) == budget
    for length in ("1h30m", "12d", "366d", "0.123456789s"):
        assert parse_budget(str(parse_budget(length))) == parse_budget(length)
    assert parse_budget("2026-03-05 09:15", NOW) == budget
    assert parse_budget(str(datetime(2026, 3, 5, 9, 15)), NOW) == budget


def test_time_spent_counts_against_a_length():
    assert parse_budget("10m").left_s(540.0, NOW) == 60
    assert parse_budget("10m").left_s(700.0, NOW) == -100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10", "budget=10s or budget=10m"),
        ("soon", "neither a length of time nor a time of day"),
        ("10m20", "neither"),
        ("0s", "more than 0 s"),
        ("400d", "at most a year"),
        ("25:00", "no time of day"),
        ("2026-13-01", "no time of day"),
        ("-5m", "neither"),
        ("", "neither"),
    ],
)
def test_nonsense_is_refused(text: str, said: str):
    with pytest.raises(InputError, match=said):
        parse_budget(text, NOW)


def test_a_past_moment_is_refused_with_the_next_day():
    with pytest.raises(InputError, match=r"is past: it is 12:00.*budget=\d{4}-03-05T"):
        refuse_past(parse_budget("11:00", NOW), NOW)
    refuse_past(parse_budget("12:01", NOW), NOW)
    refuse_past(Budget(seconds=1.0), NOW)


def test_it_is_said_in_words():
    assert Budget(seconds=600).in_words() == "in 10 m 00 s"
    assert "2026-03-05" in Budget(until=datetime(2026, 3, 5, 12, tzinfo=UTC)).in_words()
