"""Finding separator, title lines and column names in the first lines of a table."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.datasets.dialect import clean_names, detect_dialect
from jobs.datasets.errors import UnreadableDataset

plain_words = st.text("abcdefgh XYZ", min_size=1, max_size=8).filter(lambda s: s.strip() != "")
any_name = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_found(separator: str) -> None:
    sample = f"name{separator}price{separator}day\nx y, z;{separator}1{separator}2\n"
    sample = sample.replace("x y, z;", "plain")
    assert detect_dialect(sample).separator == separator
    assert detect_dialect(sample).names == ("name", "price", "day")


def test_commas_in_text_do_not_beat_the_semicolons_between() -> None:
    sample = "name;price\n" + "".join(f"a, b, c;{i},5\n" for i in range(9))
    assert detect_dialect(sample).separator == ";"


def test_lines_of_title_are_left_out_and_noted() -> None:
    found = detect_dialect("Report for 2024\n\nname,price\na,1\nb,2\n")
    assert found.names == ("name", "price")
    assert found.lines_before_rows == 3
    assert "2 line(s) above" in found.notes[0]


@pytest.mark.parametrize(
    ("sample", "names"),
    [
        ("1,2\n3,4\n", ("", "")),
        ("1,foo\n2,bar\n", ("", "")),
        ("2024-01-01,foo\n2024-01-02,bar\n", ("", "")),
        ("country,2019,2020\nA,1,2\nB,3,4\n", ("country", "2019", "2020")),
        ("2019,2020\n1,2\n", ("2019", "2020")),
        ("a,b\nx,y\n", ("a", "b")),
        ("a,1st\nx,5\n", ("a", "1st")),
        ("a,b\n", ("a", "b")),
    ],
)
def test_column_names_are_told_from_data(sample: str, names: tuple[str, ...]) -> None:
    assert detect_dialect(sample).names == names


def test_row_numbers_without_a_name_get_a_column() -> None:
    assert detect_dialect("a,b\n1,x,5\n2,y,6\n").names == ("", "a", "b")


def test_a_name_may_span_lines() -> None:
    found = detect_dialect('"a\nb",c\n1,2\n')
    assert found.names == ("a\nb", "c")
    assert found.lines_before_rows == 2


def test_blank_text_is_no_table() -> None:
    with pytest.raises(UnreadableDataset, match="blank lines"):
        detect_dialect("\n \n\n")


@given(
    names=st.lists(plain_words, min_size=2, max_size=6),
    rows=st.integers(1, 20),
    separator=st.sampled_from([",", "\t", ";", "|"]),
)
def test_what_a_csv_writer_writes_is_read(names: list[str], rows: int, separator: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([["x"] * len(names)] * rows)
    found = detect_dialect(out.getvalue())
    assert (found.separator, found.names, found.lines_before_rows) == (separator, tuple(names), 1)


@given(st.lists(any_name, min_size=1, max_size=30))
def test_cleaned_names_are_kept_but_never_blank_or_twice(names: list[str]) -> None:
    cleaned = clean_names(names)
    assert len(cleaned) == len(names)
    assert len({name.lower() for name in cleaned}) == len(cleaned)
    assert all(cleaned)
    for before, after in zip(names, cleaned, strict=True):
        if before.strip():
            assert after.startswith(before.strip().removeprefix("\ufeff"))


def test_names_that_differ_in_case_only_are_told_apart() -> None:
    assert clean_names(["a", "A", "", "a_2", "", "column_3"]) == (
        "a", "A_2", "column_3", "a_2_2", "column_5", "column_3_2",
    )  # fmt: skip
