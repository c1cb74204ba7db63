import pytest

from traintime.evaluate.metrics import ClassScore, classify

# Ten cats: 8 seen as cats, 2 as dogs; ten dogs: 5 right, 5 as cats; five birds: all right.
CONFUSION = [[8, 2, 0], [5, 5, 0], [0, 0, 5]]


def test_scores_are_those_worked_by_hand():
    result = classify(CONFUSION, 0.7, ["cat", "dog", "bird"])
    cat, dog, bird = result.per_class
    assert cat == ClassScore("cat", 8 / 13, 0.8, pytest.approx(16 / 23), 10)
    assert dog == ClassScore("dog", 5 / 7, 0.5, pytest.approx(10 / 17), 10)
    assert bird == ClassScore("bird", 1.0, 1.0, 1.0, 5)
    assert (result.accuracy, result.samples, result.loss) == (18 / 25, 25, 0.7)
    assert result.precision == pytest.approx((8 / 13 + 5 / 7 + 1) / 3)
    assert result.recall == pytest.approx((0.8 + 0.5 + 1) / 3)
    assert result.f1 == pytest.approx((16 / 23 + 10 / 17 + 1) / 3)
    assert result.confusion == ((8, 2, 0), (5, 5, 0), (0, 0, 5))


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    for score in classify(CONFUSION, 0, "abc").per_class:
        harmonic = 2 * score.precision * score.recall / (score.precision + score.recall)
        assert score.f1 == pytest.approx(harmonic)


def test_a_class_that_is_never_predicted_has_precision_0():
    result = classify([[3, 0], [2, 0]], 0, ["a", "b"])
    assert result.per_class[1] == ClassScore("b", 0, 0, 0, 2)
    assert result.precision == pytest.approx(0.3)


def test_a_class_that_never_occurs_has_recall_0_and_counts_in_the_mean():
    result = classify([[3, 1], [0, 0]], 0, ["a", "b"])
    assert result.per_class[1] == ClassScore("b", 0, 0, 0, 0)
    assert result.recall == pytest.approx(0.375)
    assert result.accuracy == 0.75


def test_no_samples_at_all_give_zeros():
    result = classify([[0, 0], [0, 0]], 0, ["a", "b"])
    assert (result.accuracy, result.precision, result.recall, result.f1) == (0, 0, 0, 0)


def test_macro_scores_count_a_rare_class_as_much_as_a_frequent_one():
    result = classify([[98, 0], [2, 0]], 0, ["common", "rare"])
    assert result.accuracy == 0.98
    assert result.recall == 0.5
