import numpy as np
import pytest

from traintime.data.table_columns import Column, read_column


def column(*cells: str, decimal_comma: bool = False) -> Column:
    return read_column("x", list(cells), decimal_comma=decimal_comma)


def test_a_column_in_which_nearly_all_cells_are_numbers_is_one_of_numbers():
    found = column(*map(str, [5, 1, 4, 2.5, -3, 1e3, 7, 8, 1]), "abc")
    assert found.kind == "number"
    assert found.is_unusable.tolist() == [False] * 9 + [True]
    assert column("1", "2", "abc", "d").kind == "value"


@pytest.mark.parametrize("nothing", ["", "NA", "n/a", "NaN", "-nan", "null", "?", "#N/A"])
def test_what_stands_for_a_value_that_is_not_known_is_missing(nothing: str):
    found = column("5", nothing, "3")
    assert found.kind == "number"
    assert found.is_missing.tolist() == [False, True, False]
    assert not found.is_unusable.any()


@pytest.mark.parametrize("broken", ["inf", "-Infinity", "1e300", "12abc", "none"])
def test_numbers_that_cannot_be_reckoned_with_are_unusable(broken: str):
    found = column(*map(str, [5, 1, 4, 2, 3, 9, 7, 8, 1]), broken)
    assert found.is_unusable.tolist() == [False] * 9 + [True]
    assert np.isnan(found.numbers[-1])


def test_none_is_a_value_where_values_are_words():
    assert not column("none", "mild", "severe").is_missing.any()


def test_a_decimal_comma_is_read_where_it_can_be_one():
    assert column("1,5", "0,25", "3", decimal_comma=True).numbers.tolist() == [1.5, 0.25, 3.0]
    assert column("1,5", "0,25", "3").kind == "value"


@pytest.mark.parametrize(
    "days",
    [("2024-01-02", "2023-12-31"), ("31.12.2023", ""), ("1/2/24", "2024-01-02T10:00:00Z")],
)
def test_dates_are_known_as_such(days: tuple[str, str]):
    assert column(*days).kind == "date"


def test_a_running_number_counts_the_rows():
    assert column("0", "1", "2", "3").kind == "count"
    assert column("10", "11", "14", "15").kind == "count"
    assert column("1", "2", "2", "3").kind == "number", "twice the same counts nothing"
    assert column("1", "2", "40", "50").kind == "number", "too large gaps"
    assert column("3", "2", "1").kind == "number", "what falls counts no rows"
    assert column("1.5", "2.5", "3.5").kind == "number"


def test_a_column_without_a_value_holds_nothing():
    assert column("", "NA", "?").kind == "nothing"


def test_the_column_of_some_rows_is_the_same_column():
    found = column("5", "NA", "3").taken(np.array([2, 1]))
    assert found.cells == ["3", "NA"]
    assert found.is_known.tolist() == [True, False]
