"""Reading a CSV file: what is accepted, and what is said of the rest."""

import gzip

import numpy as np
import pytest

from spikedrf.cli.table import column, listed, read_table

ROWS = [[1.5, -2.0, 3e-5], [4.0, 5.0, 6.0]]


def file(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.5,-2,3e-5\n4,5,6\n", ["x0", "x1", "x2"]),
        ("a,b,c\n1.5,-2,3e-5\n4,5,6", ["a", "b", "c"]),
        ("a;b;c\r\n1.5;-2;3e-5\r\n4;5;6\r\n", ["a", "b", "c"]),
        ("a\tb\tc\n1.5\t-2\t3e-5\n\n4\t5\t6\n", ["a", "b", "c"]),
        ('a, "b, too",\n1.5, -2, 3e-5\n4,"5", 6\n', ["a", "b, too", "x2"]),
        ("\ufeff#a,1,2\n1.5,-2,3e-5\n4,5,6\n", ["#a", "1", "2"]),
    ],
    ids=["no header", "header", "semicolons", "tabs", "quotes", "byte order mark"],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_what_is_read(tmp_path, text, names, suffix):
    table = read_table(file(tmp_path, text, "t" + suffix))
    assert table.names == names
    assert table.header == (names != ["x0", "x1", "x2"])
    np.testing.assert_array_equal(table.values, ROWS)


def test_dropped_columns_may_hold_anything(tmp_path):
    path = file(tmp_path, 'who,a,b,when\n"x, y",1,2,\nz,3,4,today\n')
    table = read_table(path, drop=["who", "-1"])
    assert table.names == ["a", "b"]
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "drop", "message"),
    [
        ("", [], "is empty, or its first line is"),
        ("a,b\n", [], "has a header but no rows"),
        ("a,b\n1,2\n3\n", [], "line 3 of '.*' has 1 columns where the first has 2"),
        # A comma too many would move the columns behind it.
        ("a,b,c\n1,x,2\n3,y,z,4\n", ["b"], "line 3 of '.*' has 4 columns where the first has 3"),
        (
            "a,city,b\n1,Paris,2\n2,Rome,two\n",
            [],
            r"not all finite numbers: city \(line 2: 'Paris'\), b \(line 3: 'two'\); encode them "
            r"as numbers, or leave them out: --drop city b",
        ),
        ("a,b\n1,2\n2,inf\n", [], r"not all finite numbers: b \(line 3: 'inf'\)"),
        (
            "a,b,c\n1,,2\n1,NA,2\n5,3,nan\n",
            [],
            r"missing values in b \(line 2 and 1 more\), c \(line 4\); fill them in",
        ),
        ("a,b\n1,2\n", ["z"], "there is no column 'z' among a, b"),
        ("a,b\n1,2\n", ["0", "b"], "no column of '.*' is left"),
        ("a,a\n1,2\n", ["a"], "2 columns are called 'a': give its position"),
    ],
)
def test_what_is_refused(tmp_path, text, drop, message):
    with pytest.raises((ValueError, LookupError), match=message):
        read_table(file(tmp_path, text), drop=drop)


def test_what_is_no_text(tmp_path):
    with pytest.raises(ValueError, match="is not a text file"):
        read_table(file(tmp_path, "aä,b\n1,2\n", encoding="latin-1"))
    path = tmp_path / "t.csv.gz"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is not a text file"):
        read_table(path)


def test_columns_by_name_before_position():
    assert column(["a", "0"], "0") == 1
    assert column(["a", "b"], "0") == 0
    assert column(["a", "b"], "-1") == 1
    with pytest.raises(LookupError, match="no column '2'"):
        column(["a", "b"], "2")


def test_many_names_are_shortened():
    names = [f"x{i}" for i in range(30)]
    assert listed(names) == "x0, x1, x2, x3, x4, x5, x6, ... x29 (30 in all)"
