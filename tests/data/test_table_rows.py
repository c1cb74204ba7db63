from pathlib import Path

import pytest

from traintime.data.table_file import parse_table
from traintime.data.table_rows import UsableTable, usable_rows
from traintime.errors import InputError

HERE = Path("t.csv")


def usable(lines: list[str], label: str | None = "y") -> UsableTable:
    return usable_rows(HERE, parse_table(HERE, "\n".join(lines).encode()), label)


def refused(lines: list[str], label: str | None = "y") -> str:
    with pytest.raises(InputError) as raised:
        usable(lines, label)
    return str(raised.value)


def numbered(classes: str, header: str = "x,y") -> list[str]:
    """Return a table with a row for each letter, all of them different."""
    return [header, *(f"{i * i}.5,{name}" for i, name in enumerate(classes))]


def test_classes_are_in_the_order_of_letters_or_of_numbers():
    assert usable(numbered("bababa")).classes == ("a", "b")
    assert usable([*numbered("22"), *(f"7{i}.5,{10 - i % 2 * 8}" for i in range(6))]).classes == (
        "2",
        "10",
    )


def test_labels_are_the_places_of_the_classes():
    table = usable(numbered("abbaba"))
    assert table.labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert table.numbers.tolist() == [2, 3, 4, 5, 6, 7]


def test_a_row_without_a_class_or_without_all_else_is_skipped_and_named():
    table = usable([*numbered("abab"), "9.5,NA", ",a", "1.25,a", "2.25,b", "1,2,3"])
    assert table.skipped == {
        "line 6": "has no y",
        "line 7": "has nothing but y",
        "line 10": "has 3 fields, not 2",
    }
    assert 7 not in table.numbers


def test_a_row_of_a_class_with_too_few_is_skipped_and_named():
    table = usable(numbered("ababatb"))
    assert table.classes == ("a", "b")
    assert table.skipped == {"line 7": "is of class 't', which 1 row has, and 3 are needed"}


def test_rows_that_repeat_another_are_left_out_once_that_is_no_chance():
    lines = ["x,z,y", *(f"{i}.5,{i * i}.25,{'ab'[i % 2]}" for i in range(10))]
    table = usable([*lines, lines[3], lines[3], lines[4]])
    assert table.repeats == 3
    assert table.numbers.tolist() == list(range(2, 12))


def test_rows_that_have_to_repeat_another_are_kept_and_that_is_said():
    table = usable(["x,y", *["m,a", "f,b", "f,a", "m,b"] * 5])
    assert (len(table.labels), table.repeats) == (20, 0)
    assert "that repeat another one are kept (16 of 20)" in table.notes[0]


def test_without_a_label_the_columns_are_listed():
    assert refused(numbered("abab", "the age,y"), None).endswith(
        "Type label= and one of: 'the age', y"
    )


def test_a_column_that_is_not_there_is_refused_with_the_nearest():
    assert "no column 'Statsu'. Did you mean 'Status'?" in refused(
        numbered("abab", "x,Status"), "Statsu"
    )


def test_spaces_around_and_in_names_do_not_matter():
    assert usable(numbered("ababab", "x, Loan  Status "), " Loan Status").classes == ("a", "b")


def test_a_label_that_is_the_only_column_is_refused():
    assert "holds no column but 'y'" in refused(["y", "a", "b", "a"])


def test_a_single_class_is_refused():
    assert "has the same y, 'a'" in refused(numbered("aaaa"))


def test_too_few_rows_of_every_class_are_refused():
    assert "none of them in 3 rows or more" in refused(numbered("aab"))
    assert "'a' (3), 'b' (2)" in refused(numbered("aabab"))


def test_a_label_that_no_row_has_is_refused():
    assert "No row of 't.csv' has both a y and something" in refused(["x,y", "1,", "2,", "3,"])


def test_amounts_are_no_classes():
    said = refused(["x,y", *(f"{i % 4},{i * 1.5}" for i in range(60))])
    assert "label=y holds 60 different numbers from 0 to 88.5" in said
    assert "not to estimate an amount" in said
    assert len(usable(["x,y", *(f"{i}.5,{i % 12}" for i in range(120))]).classes) == 12
