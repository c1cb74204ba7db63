import numpy as np
import pytest

from traintime.data.table_columns import read_column
from traintime.data.table_encoding import FARTHEST, MOST_VALUES, Encoded, encode


def encoded(cells: list[str], train: int | None = None) -> Encoded:
    """Return a column encoded by its first rows."""
    return encode(read_column("x", cells), np.arange(train or len(cells)))


def values_of(found: Encoded) -> dict[str, list[float]]:
    return {n: v.tolist() for n, v in zip(found.names, found.values, strict=True)}


def test_numbers_are_deviations_from_the_mean_of_the_training_part():
    # Training: 3, 1, 5 and 3, with mean 3 and deviation √2; 103 is of another part.
    found = values_of(encoded(["3", "1", "5", "3", "7"], train=4))
    assert list(found) == ["x"]
    assert found["x"] == pytest.approx([0, -(2**0.5), 2**0.5, 0, 4 / 2**0.5])


def test_what_is_missing_is_the_median_of_the_training_part_and_said_to_be():
    found = encoded(["4", "NA", "1", "9", "8", "", "100"], train=5)
    values = values_of(found)
    median, mean = 6.0, 5.5  # of 4, 1, 9 and 8
    deviation = np.std([4, 1, 9, 8])
    assert values["x"][1] == values["x"][5] == pytest.approx((median - mean) / deviation)
    assert values["x is missing"] == [0, 1, 0, 0, 0, 1, 0]
    assert found.repaired == "2 missing: 6, the median"


def test_a_column_that_misses_nothing_while_training_needs_no_feature_for_that():
    assert encoded(["1", "5", "2", "NA"], train=3).names == ("x",)


def test_cells_that_are_no_numbers_are_counted_and_shown():
    cells = [*map(str, [4, 2, 9, 1, 5, 6, 3, 7, 1, 2, 3, 4, 8, 9, 3, 1, 4, 6]), "inf", "abc"]
    found = encoded(cells)
    assert found.repaired == "2 no number, such as 'inf': 4, the median"
    assert all(np.isfinite(values).all() for values in found.values)


def test_a_number_far_outside_counts_as_far_and_no_farther():
    found = values_of(encoded(["1", "2", "1", "2", "1e9"], train=4))
    assert found["x"][4] == FARTHEST


def test_words_have_a_feature_for_each_value_of_the_training_part():
    found = values_of(encoded(["a", "b"] * 4 + ["c", "a"], train=8))
    assert found["x = a"] == [1, 0] * 4 + [0, 1]
    assert found["x = b"] == [0, 1] * 4 + [0, 0]
    assert list(found) == ["x = a", "x = b"], "c was never learned of"


def test_rare_and_unseen_values_share_one_feature():
    cells = ["a"] * 5 + ["b"] * 5 + ["rare", "odd", "unseen"]
    found = values_of(encoded(cells, train=12))
    assert found["x is another"] == [0] * 10 + [1, 1, 1]
    assert "x = rare" not in found


def test_of_many_values_the_most_frequent_have_their_own_feature():
    cells = [f"v{i}" for i in range(MOST_VALUES + 5) for _ in range(3)] + ["v70"] * 3
    names = encoded(cells).names
    assert len(names) == MOST_VALUES + 1
    assert names[-1] == "x is another"


def test_a_missing_word_is_a_value_of_its_own():
    found = encoded(["a", "", "b"] * 4)
    assert values_of(found)["x is missing"] == [0, 1, 0] * 4
    assert found.repaired == "4 missing: a value of its own"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["5"] * 9, "has one value"),
        (["a"] * 9, "has one value"),
        ([f"u{i}" for i in range(20)], "has another value in nearly every row"),
        ([str(i) for i in range(20)], "counts the rows"),
        (["2024-01-02", "2024-01-03"] * 4, "holds dates"),
        ([""] * 9, "is empty"),
        (["a", "b", "c", "d"] * 2, "has no frequent value"),
    ],
)
def test_columns_that_tell_nothing_are_left_out_and_it_is_said_why(cells: list[str], why: str):
    found = encoded(cells)
    assert found.left_out == why
    assert not found.names


def test_what_varies_outside_of_the_training_part_alone_is_left_out():
    assert encoded(["1"] * 5 + ["2", "3"], train=5).left_out == "has one value"
    assert encoded(["", "", "", "a", "b"], train=3).left_out == "is empty in the training part"


def test_a_number_that_is_there_or_not_is_known_by_that():
    assert encoded(["1", "", "1", "", "1"]).names == ("x is missing",)


def test_nothing_outside_of_the_training_part_changes_a_feature():
    head = ["3", "1", "", "8", "5"]
    ours, theirs = (encoded([*head, *tail], train=5) for tail in (["4", "4"], ["1e9", "-7"]))
    assert ours.names == theirs.names
    for a, b in zip(ours.values, theirs.values, strict=True):
        assert a[:5].tolist() == b[:5].tolist()
