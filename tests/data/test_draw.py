import numpy as np
import pytest

from traintime.data.catalogue import SplitSizes
from traintime.data.draw import PartRows, divide, with_every_class
from traintime.recipe import read_recipe


def drawn(counts: list[int], sizes: SplitSizes, **fields: object) -> tuple[PartRows, np.ndarray]:
    labels = np.repeat(np.arange(len(counts)), counts)
    recipe = read_recipe(data="digits", model="mlp", **fields)
    return divide(labels, recipe, sizes, np.arange(len(labels))), labels


def lengths(parts: PartRows) -> list[int]:
    return [len(rows) for rows in (parts.train, parts.validation, parts.test) if rows is not None]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rare", [3, 4, 7])
def test_a_class_of_few_rows_is_in_every_part(seed: int, rare: int):
    parts, labels = drawn([500, rare, 300], SplitSizes(403 + rare, 200, 200), seed=seed)
    held = with_every_class(parts, labels)
    assert lengths(held) == lengths(parts)
    for rows in (held.train, held.validation, held.test):
        assert rows is not None
        assert set(labels[rows]) == {0, 1, 2}
        assert (np.diff(rows) > 0).all()
    assert held.validation is not None
    together = np.concatenate([held.train, held.validation, held.test])
    assert len(set(together)) == len(together) == 800 + rare


def test_parts_that_have_every_class_stay_as_they_are():
    parts, labels = drawn([50, 50], SplitSizes(60, 20, 20))
    held = with_every_class(parts, labels)
    assert held.train.tolist() == parts.train.tolist()
    assert held.test.tolist() == parts.test.tolist()


def test_a_row_that_no_part_has_is_taken_first():
    parts, labels = drawn([600, 30], SplitSizes(5, 90, 90))
    held = with_every_class(parts, labels)
    assert set(labels[held.train]) == {0, 1}
    assert held.test.tolist() == parts.test.tolist()


def test_without_a_validation_part_two_rows_are_enough():
    parts, labels = drawn([300, 2], SplitSizes(260, 42, 42), validate_on="test")
    held = with_every_class(parts, labels)
    assert held.validation is None
    assert set(labels[held.train]) == set(labels[held.test]) == {0, 1}


def test_a_class_with_fewer_rows_than_parts_stays_where_it_is():
    parts, labels = drawn([300, 1], SplitSizes(200, 50, 51))
    assert lengths(with_every_class(parts, labels)) == [200, 50, 51]
