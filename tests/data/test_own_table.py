from pathlib import Path
from typing import Any

import numpy as np
import pytest

from traintime.data import own_table
from traintime.data.kept_copies import place_of
from traintime.data.own_table import facts_of_prepared, prepared_table
from traintime.data.prepare import TableSamples, prepare
from traintime.data.table_cache import KEPT, PreparedTable, read_table
from traintime.data.table_facts import TableFacts
from traintime.errors import InputError, StorageError
from traintime.recipe import Recipe, read_recipe

from .tables import edit, loans, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return loans(tmp_path / "loans.csv")


def recipe_for(path: Path, **fields: Any) -> Recipe:
    return read_recipe(**{"data": str(path), "label": "Status", "model": "mlp", **fields})


def prepared(path: Path, **fields: Any) -> PreparedTable:
    return prepared_table(recipe_for(path, **{"batch_size": 8, **fields}), pytest.fail)


def forget(table: PreparedTable) -> None:
    (place_of(table.facts.key) / "table.npz").unlink()


def test_a_table_is_divided_by_class_and_its_columns_are_understood(path: Path):
    table = prepared(path)
    assert [len(table.parts.train), len(table.parts.test)] == [42, 9]
    assert np.bincount(table.labels[table.parts.test]).tolist() == [3, 6]
    assert table.facts.classes == ("bad", "good")
    assert table.facts.left_out == {
        "id": "has another value in nearly every row",
        "When": "holds dates",
    }
    assert set(table.facts.features) == {
        *("Age", "Income", "Home = own", "Home = parents", "Home = rent")
    }
    assert table.features.shape == (60, 5)
    assert table.features.dtype == np.float32


def test_the_same_table_is_prepared_to_the_same_bits(path: Path):
    first = prepared(path)
    forget(first)
    again = prepared(path)
    assert again.facts == first.facts
    assert (again.features == first.features).all()


def test_what_is_prepared_is_kept_and_taken_from_there(path: Path, monkeypatch: Any):
    first = prepared(path)
    monkeypatch.setattr(own_table, "parse_table", lambda *given: pytest.fail("read again"))
    kept = prepared(path)
    assert kept.facts == first.facts
    assert kept.shown == first.shown
    assert (kept.features == first.features).all()


@pytest.mark.parametrize("fields", [{"seed": 1}, {"split": (0.5, 0.25, 0.25)}])
def test_another_division_has_another_copy(path: Path, fields: dict[str, Any]):
    ours, theirs = prepared(path), prepared(path, **fields)
    assert ours.facts.key != theirs.facts.key
    assert ours.facts.prepared_sha256 != theirs.facts.prepared_sha256


def test_a_copy_in_which_any_byte_was_changed_is_as_good_as_none(path: Path):
    table = prepared(path)
    content = place_of(table.facts.key) / "table.npz"
    whole = content.read_bytes()
    for place in (0, 200, len(whole) // 2, len(whole) - 1):
        content.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_table(table.facts.key) is None
    content.write_bytes(whole[:-5])
    assert read_table(table.facts.key) is None
    content.write_bytes(whole)
    assert read_table(table.facts.key) is not None


def test_of_one_table_the_copies_that_were_used_last_are_kept(path: Path):
    tables = [prepared(path, seed=seed) for seed in range(KEPT + 2)]
    assert sum(read_table(table.facts.key) is not None for table in tables) == KEPT


def test_a_disk_that_refuses_the_copy_does_not_end_it(path: Path, monkeypatch: Any):
    def refuse(*given: object) -> None:
        raise StorageError("The disk is full")

    monkeypatch.setattr(own_table, "keep_table", refuse)
    heard: list[str] = []
    table = prepared_table(recipe_for(path, batch_size=8), heard.append)
    assert len(table.labels) == 60
    assert heard == ["The table as it was prepared is not kept: The disk is full"]


def test_damage_is_counted_named_and_bounded(path: Path):
    edit(
        path,
        {
            (5, "Status"): "",
            (9, "Income"): "n/a",
            (11, "Income"): "inf",
            (13, "Age"): "forty",
            (20, "Home"): "",
        },
    )
    table = prepared(path)
    assert table.facts.skipped == {"line 5": "has no Status"}
    assert table.facts.repaired["Income"].startswith("1 missing and 1 no number, such as 'inf': ")
    assert table.facts.repaired["Age"].startswith("1 no number, such as 'forty': ")
    assert table.facts.repaired["Home"] == "1 missing: a value of its own"
    assert len(table.labels) == 59


def test_too_much_damage_is_refused_with_what_to_type(path: Path):
    edit(path, {(line, "Status"): "" for line in (5, 9, 12, 40, 41)})
    with pytest.raises(InputError) as raised:
        prepared(path)
    said = str(raised.value)
    assert "5 of 60 rows of" in said
    assert "line 5 (has no Status), line 9 (has no Status), line 12 (has no Status) and 2" in said
    assert "At most 1 may be (max_damaged=0.01)" in said
    assert len(prepared(path, max_damaged=float(said.rpartition("=")[2])).labels) == 55


def test_no_row_may_be_damaged_if_none_may(path: Path):
    edit(path, {(5, "Status"): ""})
    with pytest.raises(InputError, match="At most 0 may be"):
        prepared(path, max_damaged=0)


def test_a_table_that_does_not_fit_into_memory_is_refused(path: Path):
    with pytest.raises(InputError, match=r"of memory, and .* are left. Type data="):
        prepared_table(recipe_for(path), pytest.fail, room_bytes=1000)


def test_a_table_without_a_column_that_tells_anything_is_refused(tmp_path: Path):
    rows = [[f"u{i}", "same", "ab"[i % 2]] for i in range(60)]
    path = write(tmp_path / "t.csv", ("id", "one", "Status"), rows)
    with pytest.raises(InputError, match=r"No column .* id \(?has another value"):
        prepared(path)


def test_fewer_training_rows_are_tested_on_the_same(path: Path):
    every, few = prepared(path), prepared(path, train_samples=12)
    assert few.parts.test.tolist() == every.parts.test.tolist()
    assert len(few.parts.train) == 12


def test_the_parts_are_what_a_network_takes(path: Path):
    table = prepared(path)
    facts = facts_of_prepared(path, table.facts)
    assert facts.shape == (5,)
    assert facts.sample_bytes == 20
    parts = prepare(own_table.RawTable(table, ""), recipe_for(path), facts)
    assert isinstance(parts.test, TableSamples)
    assert parts.test.features.shape == (9, 5)
    assert parts.test.shown[0].row.startswith("line ")
    assert list(parts.test.shown[0].cells) == ["Age", "Income", "Home"]
    train = parts.train
    assert isinstance(train, TableSamples)
    assert train.features[:, 1].mean().item() == pytest.approx(0, abs=1e-6)
    assert train.features[:, 1].std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_what_is_watched_can_be_the_test_part(path: Path):
    table = prepared(path, validate_on="test")
    assert table.parts.validation is None
    parts = prepare(
        own_table.RawTable(table, ""), recipe_for(path), facts_of_prepared(path, table.facts)
    )
    assert parts.validation is parts.test
    assert read_table(table.facts.key) is not None


def test_facts_survive_being_written(path: Path):
    facts = prepared(path).facts
    assert TableFacts.from_json(facts.to_json()) == facts
