import random
from pathlib import Path

import pytest

from traintime.data.table_file import TableFile, check_is_there, parse_table
from traintime.errors import InputError

HERE = Path("t.csv")


def parsed(text: str | bytes, path: Path = HERE) -> TableFile:
    return parse_table(path, text if isinstance(text, bytes) else text.encode())


def refused(text: str | bytes) -> str:
    with pytest.raises(InputError) as raised:
        parsed(text)
    return str(raised.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_separates_the_cells_is_found(delimiter: str):
    text = "a b,c,d\n1,2,3\n4,5,6\n".replace(",", delimiter)
    table = parsed(text)
    assert table.header == ("a b", "c", "d")
    assert table.rows == [["1", "2", "3"], ["4", "5", "6"]]


def test_a_comma_in_numbers_does_not_separate_where_semicolons_do():
    table = parsed("a;b\n1,5;x\n2,5;y\n")
    assert table.rows[0] == ["1,5", "x"]
    assert table.decimal_comma


def test_rows_are_numbered_by_their_lines():
    table = parsed("a,b\n\n1,2\n\n3,4\n")
    assert table.numbers == [3, 5]


def test_a_line_with_another_number_of_fields_is_named_and_takes_no_other_with_it():
    table = parsed("a,b\n1,2\n1,2,3\n4\n5,6\n")
    assert table.rows == [["1", "2"], ["5", "6"]]
    assert table.broken == {3: "has 3 fields, not 2", 4: "has 1 field, not 2"}


def test_cells_in_quotation_marks_hold_separators_marks_and_lines():
    table = parsed('a,"the ""b"""\n"x, y","1\n2"\n"""q""",3\n')
    assert table.header == ("a", 'the "b"')
    assert table.rows == [["x, y", "1\n2"], ['"q"', "3"]]
    assert table.numbers == [2, 4]


def test_a_mark_that_is_not_closed_costs_its_own_line_alone():
    table = parsed('a,b\n1,2\n"3,4\n5,6\n7,8\n')
    assert table.rows == [["1", "2"], ["5", "6"], ["7", "8"]]
    assert table.broken == {3: "has a quotation mark that is not closed"}


def test_a_mark_inside_of_a_cell_is_a_letter():
    assert parsed('a,b\n3.5" disk,1\nx,2\n').rows == [['3.5" disk', "1"], ["x", "2"]]


def test_the_last_line_of_a_file_that_was_cut_is_named():
    assert parsed("a,b,c\n1,2,3\n4,5").broken == {3: "has 2 fields, not 3"}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_system_ends_them(ends: str):
    assert parsed("a,b\n1,2\n".replace("\n", ends)).rows == [["1", "2"]]


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_letters_of_any_language_are_read(coding: str):
    table = parsed("straße,ü\n東京,1\n".encode(coding))
    assert table.header == ("straße", "ü")
    assert table.rows == [["東京", "1"]]
    assert not table.notes


def test_what_is_not_in_utf_8_is_read_as_windows_writes_it_and_that_is_said():
    table = parsed("straße,b\n1,2\n".encode("cp1252"))
    assert table.header[0] == "straße"
    assert "not in UTF-8" in table.notes[0]


def test_names_that_are_left_empty_are_made_up():
    assert parsed(",b\n1,2\n").header == ("column 1", "b")


def test_a_first_line_of_numbers_is_doubted():
    assert "looks like a row" in parsed("5.1,3.5,setosa\n4.9,3.0,setosa\n").notes[0]


def test_names_that_most_rows_do_not_fit_to_are_refused():
    said = refused("a,b\n" + "1,2,3\n" * 5)
    assert "names 2 columns, and most lines have 3 fields: a, b. Mend the line of names" in said


def test_two_columns_of_one_name_are_refused():
    assert "more than one column named b" in refused("a,b,b\n1,2,3\n")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_refused(text: str):
    assert "'t.csv' is empty" in refused(text)


def test_names_without_rows_are_refused():
    assert "holds no row." in refused("a,b\n")
    assert "holds no row that can be read" in refused("a,b\n1\n")


def test_what_is_no_text_is_refused():
    assert "is no text" in refused(b"PK\x03\x04 \x00\x01" * 20)
    assert "is no text" in refused(bytes(range(1, 255)))


def test_a_table_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path):
    (tmp_path / "credit.csv").write_text("a\n")
    (tmp_path / "credits.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"no table .*Did you mean '.*/credit\.csv'"):
        check_is_there(tmp_path / "kredit.csv")
    with pytest.raises(InputError, match="Check the path with: ls"):
        check_is_there(tmp_path / "none" / "kredit.csv")


def test_a_byte_that_rotted_costs_its_cell_and_not_the_file():
    text = bytearray("a,b\n" + "1,2\n" * 200, "ascii")
    text[4] ^= 0x20  # a 1 that became a control character
    table = parsed(bytes(text))
    assert table.rows[0] == ["\x11", "2"]
    assert len(table.rows) == 200


@pytest.mark.parametrize("seed", range(40))
def test_a_file_that_rots_anywhere_is_read_or_refused(seed: int):
    chance = random.Random(seed)
    rows = "".join(f'{i},"name {i % 5}",{i * 0.37:.2f},{"ab"[i % 2]}\n' for i in range(200))
    content = bytearray(f"n,name,value,y\n{rows}", "ascii")
    for _ in range(chance.randrange(1, 60)):
        content[chance.randrange(15, len(content))] = chance.choice(b'\0\x07"",,\n\r;\xe4z')
    del content[chance.randrange(200, 2 * len(content)) :]
    try:
        table = parsed(bytes(content))
    except InputError:
        return
    assert all(len(row) == len(table.header) for row in table.rows)
    assert set(table.numbers).isdisjoint(table.broken)
    assert len(table.rows) > 0.5 * content.count(b"\n")
