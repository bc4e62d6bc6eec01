"""Reading a table: what is accepted, what is told, and what is said of the rest."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile

import numpy as np
import pytest

from spikedrf.cli.columns import Kind, Unfit, recognise, stripped
from spikedrf.cli.preparation import read_columns
from spikedrf.cli.table import column, listed, read_table

pandas = pytest.importorskip("pandas")

ROWS = [[1.5, -2.0, 3e-5], [4.0, 5.0, 6.0]]


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("t.csv", content)
    return file.getvalue()


PACKED = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
PACKED[".zip"] = zipped


def file(tmp_path, text, name="t.csv", encoding="utf-8", suffix=""):
    path = tmp_path / (name + suffix)
    path.write_bytes(PACKED[suffix](text.encode(encoding)))
    return str(path)


def values(table):
    return read_columns(table)[1].to_numpy(dtype=float)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.5,-2,3e-5\n4,5,6\n", ["x0", "x1", "x2"]),
        ("a,b,c\n1.5,-2,3e-5\n4,5,6", ["a", "b", "c"]),
        ("a;b;c\r\n1.5;-2;3e-5\r\n4;5;6\r\n", ["a", "b", "c"]),
        ("a\tb\tc\n1.5\t-2\t3e-5\n\n4\t5\t6\n", ["a", "b", "c"]),
        ("a|b|c\n1.5|-2|3e-5\n4|5|6\n", ["a", "b", "c"]),
        ("  a   b c\n  1.5 -2   3e-5\n4 5 6\n", ["a", "b", "c"]),
        ('a, "b, too",\n1.5, -2, 3e-5\n4,"5", 6\n', ["a", "b, too", "x2"]),
        ("\ufeff#a,1,2\n1.5,-2,3e-5\n4,5,6\n", ["#a", "1", "2"]),
        ("# a,b,c\n1.5,-2,3e-5\n4,5,6\n", ["a", "b", "c"]),
        ("# made by hand\n#\na,b,c\n1.5,-2,3e-5\n# pause\n4,5,6\n", ["a", "b", "c"]),
        ("2020,2021,2022\n1.5,-2,3e-5\n4,5,6\n", ["2020", "2021", "2022"]),
        ('"10","20","40"\n1.5,-2,3e-5\n4,5,6\n', ["10", "20", "40"]),
        ("a;b;c\n1,5;-2;0,00003\n4,0;5;6,0\n", ["a", "b", "c"]),
        ('a,b,c\n"1,5",-2,"0,00003"\n"4,0",5,6\n', ["a", "b", "c"]),
        ("a,a,a.1\n1.5,-2,3e-5\n4,5,6\n", ["a", "a.2", "a.1"]),
    ],
    ids=[
        "no header", "header", "semicolons", "tabs", "bars", "spaces", "quotes", "byte order mark",
        "NumPy's header", "comments", "years", "quoted header", "decimal commas",
        "quoted decimal commas", "the same name",
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_read(tmp_path, text, names, suffix):
    table = read_table(file(tmp_path, text, suffix=suffix))
    assert table.names == names
    assert table.header == (names != ["x0", "x1", "x2"])
    np.testing.assert_array_equal(values(table), ROWS)


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_how_it_is_packed(tmp_path, suffix, encoding):
    table = read_table(file(tmp_path, "ä,b\n1,2\n3,4\n", suffix=suffix, encoding=encoding))
    assert table.names == ["ä", "b"]
    np.testing.assert_array_equal(values(table), [[1, 2], [3, 4]])
    assert table.notes == []


def test_latin_1_is_told(tmp_path):
    path = file(tmp_path, "größe,b\n1,2\n", encoding="latin-1")
    table = read_table(path)
    assert table.names == ["größe", "b"]
    assert table.notes == [
        f"{path!r} is not UTF-8 and was read as cp1252; --encoding NAME for another"
    ]
    assert read_table(path, encoding="latin-1").notes == []
    with pytest.raises(ValueError, match="is not ascii"):
        read_table(path, encoding="ascii")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {
            "a": [1, 2, None],
            "b": [True, False, True],
            "c": pandas.to_datetime(["1970-01-02", "1970-01-03", None]),
            "d": ["x", None, "y"],
            "e": ["1.5", "2", "3"],
            "f": pandas.Categorical([3, 4, 3]),
        }
    )
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    kinds, read = read_columns(read_table(str(path)))
    assert [kind.name for kind in kinds.values()] == [
        "number", "truth", "date", "category", "number", "number",
    ]  # fmt: skip
    np.testing.assert_array_equal(read["a"], [1, 2, np.nan])
    np.testing.assert_array_equal(read["b"], [1, 0, 1])
    np.testing.assert_array_equal(read["c"], [1, 2, np.nan])
    assert read["d"].tolist()[::2] == ["x", "y"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_table(str(path))


def test_packages_are_named(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'spikedrf\[parquet\]'"):
        read_table(str(path))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'spikedrf\[files\]'"):
        read_table(str(path))


def test_headers_are_as_told(tmp_path):
    path = file(tmp_path, "2020,2021,2022\n1,2,3\n4,5,9\n")
    table = read_table(path)
    assert table.notes == [
        "the first line (2020, 2021, 2022) was taken for names; --no-header if it is a row"
    ]
    assert read_table(path, header=True).notes == []
    assert len(read_table(path, header=False).frame) == 3
    assert read_table(file(tmp_path, "7,3\n1,2\n"), header=True).names == ["7", "3"]
    # Rows that are themselves equally spaced tell nothing of the first.
    assert not read_table(file(tmp_path, "1,2,3\n4,5,6\n")).header


def test_rows_that_have_names(tmp_path):
    for text in (",a,b\n0,1,2\n1,3,4\n", "a b\nr1 1 2\nr2 3 4\n"):
        table = read_table(file(tmp_path, text))
        assert (table.names, table.index) == (["x0", "a", "b"], "x0")
        assert "the first column has no name and tells rows apart" in table.notes[0]
        np.testing.assert_array_equal(values(table.without(["x0"])), [[1, 2], [3, 4]])
    table = read_table(file(tmp_path, ",a\n1.5,2\n1.5,4\n"))
    assert table.index is None
    assert table.notes == ["column 0 has no name and is called x0"]


def test_long_cells(tmp_path):
    """Python's own reader stops at 131,072 characters."""
    text = f"a,b\n{'x' * 200_000},1\ny,2\n"
    table = read_table(file(tmp_path, text))
    assert len(table.frame["a"][0]) == 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty, or its first line is"),
        ("a,b\n", "has a header but no rows"),
        ("a,b\n1,2\n3\n", r"line 3 of '.*' has 1 columns where the first has 2"),
        # A comma too many would move the columns behind it.
        ("a,b,c\n1,x,2\n3,y,z,4\n", r"line 3 of '.*' has 4 columns where the first has 3"),
        ('a,b\n"1\n",2\n3\n', r"line 4 of '.*' has 1 columns where the first has 2"),
        ("a,b\n1,\x002\n", "is not a text file"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(file(tmp_path, text))


def test_damaged_archives(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"is not what its name says: \.gz"):
        read_table(str(path))
    text = "a,b\n" + "".join(f"{i},{i * i}\n" for i in range(1000))
    for suffix in (".gz", ".xz", ".bz2", ".zip"):
        path = file(tmp_path, text, suffix=suffix)
        with open(path, "rb") as whole:
            content = bytearray(whole.read())
        middle = len(content) // 2
        damaged = (content[:middle], content[:middle] + b"\xff\x00" * 4 + content[middle + 8 :])
        for some in damaged:
            with open(path, "wb") as other:
                other.write(some)
            with pytest.raises(ValueError, match=r"is damaged, or cut off|cannot be unpacked"):
                read_table(path)


def test_archives_of_others(tmp_path):
    for names, message in (
        (["a.csv", "b.csv"], "holds 2 files: a.csv, b.csv"),
        (["xl/workbook.xml"], "is a workbook of a spreadsheet: save it as CSV"),
    ):
        path = tmp_path / "t.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "a,b\n1,2\n")
        with pytest.raises(ValueError, match=message):
            read_table(str(path))


# --------------------------------------------------------------------------------------------------
# Columns


def told(cells, decimal="."):
    kind, found = recognise(stripped(pandas.Series(cells, dtype=object)), decimal)
    return kind, found.tolist()


@pytest.mark.parametrize(
    ("cells", "decimal", "expected"),
    [
        (["1", "-2.5", "3e5"], ".", [1, -2.5, 3e5]),
        (["1,5", "2,25"], ".", [1.5, 2.25]),
        (["1.5", "2.5"], ",", [1.5, 2.5]),
        (["1,234", "5,678,901"], ".", [1234, 5678901]),
        (["1.234", "5"], ",", [1234, 5]),
        (["1,234", "5"], ",", [1.234, 5]),
        (["1.234", "5"], ".", [1.234, 5]),
        (["1.234,5", "5.678"], ".", [1234.5, 5678]),
        (["1 234,5", "12 345 678"], ".", [1234.5, 12345678]),
        (["1'234.5", "7"], ".", [1234.5, 7]),
        (["$1,200", "-$3", "€4"], ".", [1200, -3, 4]),
        (["12%", "3.5 %"], ".", [12, 3.5]),
        (["\u22123", "4"], ".", [-3, 4]),
    ],
)
def test_numbers(cells, decimal, expected):
    kind, found = told(cells, decimal)
    assert kind.name == "number"
    assert found == expected


@pytest.mark.parametrize("word", ["", " ", "NA", "n/a", "NaN", "null", "None", "?", "-", "."])
def test_missing_cells(word):
    kind, found = told(["1.5", word, "2"])
    assert kind == Kind("number", ".")
    assert found[::2] == [1.5, 2]
    assert np.isnan(found[1])
    kind, found = told(["yes", word, "No"])
    assert (kind.name, found[::2]) == ("truth", [1, 0])
    kind, found = told(["red", word, "blue"])
    assert (kind.name, found[::2]) == ("category", ["red", "blue"])
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["1970-01-02", "2020-02-29"], [1, 18321]),
        (["1970-01-02T12:00:00Z", "1970-01-02 18:00:00+06:00"], [1.5, 1.5]),
        (["2.1.1970", "29.2.2020"], [1, 18321]),
        (["13/01/1970", "02/01/1970"], [12, 1]),
        (["01/13/1970", "01/02/1970"], [12, 1]),
        (["2.1.1970 06:00", "3.1.1970 00:00"], [1.25, 2]),
        (["2 Jan 1970", "29 Feb 2020"], [1, 18321]),
        (["Jan 1970", "Feb 1970"], [0, 31]),
    ],
)
def test_dates(cells, days):
    kind, found = told(cells)
    assert kind.name == "date"
    assert found == days


@pytest.mark.parametrize(
    ("cells", "message", "row"),
    [
        (["1", "inf"], "holds numbers, but 'inf'", 1),
        ([*map(str, range(30)), "", "x"], "holds numbers, but 'x'", 31),
        ([f"name {i}" for i in range(30)], "holds 30 different words in 30 rows", None),
    ],
)
def test_columns_that_are_neither(cells, message, row):
    with pytest.raises(Unfit, match=message) as caught:
        told(cells)
    assert caught.value.row == row


def test_a_column_that_does_not_fit_is_named(tmp_path):
    text = "a,b\n" + "".join(f"{i},{i}\n" for i in range(30)) + "30,thirty\n"
    with pytest.raises(ValueError, match=r"column 'b' of .* but 'thirty' \(line 32\)"):
        read_columns(read_table(file(tmp_path, text)))


def test_columns_by_name_before_position():
    assert column(["a", "0"], "0") == 1
    assert column(["a", "b"], "0") == 0
    assert column(["a", "b"], "-1") == 1
    with pytest.raises(LookupError, match="no column '2'"):
        column(["a", "b"], "2")


def test_many_names_are_shortened():
    names = [f"x{i}" for i in range(30)]
    assert listed(names) == "x0, x1, x2, x3, x4, x5, x6, ... x29 (30 in all)"
