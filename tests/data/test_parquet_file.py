import datetime as dt
import io
from pathlib import Path

import pytest

from traintime.data import parquet_file
from traintime.data.table_file import parse_table
from traintime.errors import InputError, MissingExtraError

polars = pytest.importorskip("polars")
HERE = Path("t.parquet")


def written(**columns: object) -> bytes:
    buffer = io.BytesIO()
    polars.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def test_values_of_any_kind_become_the_text_that_a_csv_would_hold():
    content = written(
        number=[0.1, None, float("nan")],
        whole=[1, 2, None],
        flag=[True, False, None],
        day=[dt.date(2024, 1, 2), None, dt.date(2024, 1, 3)],
        text=["a", " b ", None],
    )
    table = parse_table(HERE, content)
    assert table.header == ("number", "whole", "flag", "day", "text")
    assert table.rows[0] == ["0.1", "1", "true", "2024-01-02", "a"]
    assert table.rows[1] == ["", "2", "false", "", "b"]
    assert table.rows[2] == ["NaN", "", "", "2024-01-03", ""]
    assert (table.numbers, table.unit) == ([1, 2, 3], "row")


def test_numbers_keep_every_bit():
    value = 0.1 + 0.2
    assert float(parse_table(HERE, written(a=[value], b=["x"])).rows[0][0]) == value


def test_columns_of_lists_are_left_out_and_named():
    table = parse_table(HERE, written(a=[1, 2], pairs=[[1, 2], [3]]))
    assert table.header == ("a",)
    assert "hold no single values: pairs" in table.notes[0]


def test_what_is_no_parquet_is_refused():
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        parse_table(HERE, b"PAR1 and nothing more")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        parse_table(HERE, written(a=[1])[:-9])


def test_without_polars_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet_file, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'traintime\[tables\]'"):
        parse_table(HERE, written(a=[1]))
