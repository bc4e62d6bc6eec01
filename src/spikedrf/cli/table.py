"""A file as a table of cells under names, or what is wrong with it."""

from __future__ import annotations

import collections
import csv
import importlib.util
import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from spikedrf.cli import files

if TYPE_CHECKING:
    import pandas

# So many columns are named in a message.
_NAMED = 8

# So many lines tell what separates the cells.
_SAMPLE = 200

#: What may separate cells, the least likely to be inside one first.
_SEPARATORS = ("\t", ";", "|", ",", " ")

_PARQUET = b"PAR1"

# The first line by which a spreadsheet is told what separates cells.
_TOLD_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?\r?\n', re.IGNORECASE)


@dataclass(eq=False)
class Table:
    """The cells of a file.

    Attributes
    ----------
    source : str
        The file.
    names : list of str
        Of the columns, no two the same: those of the header, or ``x0, x1, ...``.
    frame : DataFrame
        The cells under these names: text, of Parquet whatever they are.
    header : bool
        Whether the file had names.
    lines : list of int
        On which line each row ends; empty where a file has no lines.
    separator : str
        What is between cells; empty where nothing is.
    notes : list of str
        What a user should know of how it was read.
    index : str, optional
        The column that has no name and numbers or names the rows.
    """

    source: str
    names: list[str]
    frame: pandas.DataFrame
    header: bool
    lines: list[int]
    separator: str = ""
    notes: list[str] = field(default_factory=list)
    index: str | None = None

    def where(self, row: int) -> str:
        """Say where a row is."""
        return f"line {self.lines[row]}" if self.lines else f"row {row}"

    def without(self, names: Sequence[str]) -> Table:
        """Return the table without some columns."""
        kept = [name for name in self.names if name not in names]
        if not kept:
            raise ValueError(f"no column of {self.source!r} is left")
        return replace(self, names=kept, frame=self.frame[kept])

    def rows(self, kept: Sequence[int]) -> Table:
        """Return the table of some rows."""
        lines = [self.lines[row] for row in kept] if self.lines else []
        return replace(self, frame=self.frame.iloc[kept].reset_index(drop=True), lines=lines)


def require_pandas() -> None:
    """Raise ImportError, with what to do, where there is no pandas."""
    if importlib.util.find_spec("pandas") is None:
        raise ImportError("tables are read with pandas: pip install 'spikedrf[files]'")


def read_table(
    source: str,
    *,
    header: bool | None = None,
    separator: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Read a file of cells: text in which something separates them, or Parquet.

    Parameters
    ----------
    source : str
        The file, also a pipe, also compressed (gzip, xz, bzip2, zip); ``-`` is standard input.
    header : bool, optional
        Whether the first line holds names. By default it does unless all of it are numbers that
        could be a row: neither alone in quotes nor alone equally spaced, like years.
    separator : str, optional
        By default tab, semicolon, bar, comma or spaces, whichever cuts all lines alike.
    encoding : str, optional
        See `files.decode`.

    Returns
    -------
    Table
        Lines that begin with ``#`` are left out unless they have as many cells as the others.

    Raises
    ------
    OSError
        If the file cannot be read.
    ImportError
        If a package is missing that reads it.
    ValueError
        If it is no table; the message says where.
    """
    require_pandas()
    data = files.read(source)
    if data.startswith(_PARQUET):
        return _parquet(source, data)
    text, used = files.decode(source, data, encoding)
    notes = []
    if encoding is None and used in ("cp1252", "latin-1"):
        notes.append(f"{source!r} is not UTF-8 and was read as {used}; --encoding NAME for another")
    skipped = 0
    if told := _TOLD_SEPARATOR.match(text):  # as spreadsheets are told it
        separator = separator or told[1]
        text, skipped = text[told.end() :], 1
    separator = _separator(text) if separator is None else separator
    return _table(source, text, separator, header, notes, skipped)


def _table(
    source: str, text: str, separator: str, header: bool | None, notes: list[str], skipped: int
) -> Table:
    import pandas

    rows, lines, comments = _without_comments(_rows(text, separator))
    if not rows or not any(rows[0]):
        raise ValueError(f"{source!r} is empty, or its first line is")
    if comments:
        notes.append(f"{comments} lines that begin with # were left out")
    if header is None:
        quoted = _quotes_alone(text, lines)
        header = _is_header(rows, quoted)
        if header and all(map(_is_number, rows[0])):
            notes.append(
                f"the first line ({listed(rows[0])}) was taken for names; --no-header if it is a "
                f"row"
            )
    lines = [line + skipped for line in lines]
    names = [cell.strip() for cell in rows[0]]
    if header:
        names[0] = names[0].removeprefix("# ")
        rows, lines = rows[1:], lines[1:]
        if not rows:
            raise ValueError(f"{source!r} has a header but no rows")
        if all(len(row) == len(names) + 1 for row in rows):  # names of rows, as R writes them
            names.insert(0, "")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(
                f"line {line} of {source!r} has {len(row)} columns where the first has {len(names)}"
            )
    frame = pandas.DataFrame(rows, dtype=object)
    return _named(source, names if header else None, frame, lines, separator, notes)


def _parquet(source: str, data: bytes) -> Table:
    import pandas

    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"{source!r} is Parquet: pip install 'spikedrf[parquet]'")
    try:
        frame = pandas.read_parquet(io.BytesIO(data), engine="pyarrow")
    except Exception as error:  # pyarrow has many
        raise ValueError(f"{source!r} cannot be read as Parquet: {error}") from None
    names = [str(name) for name in frame.columns]
    return _named(source, names, frame, [], "", [])


def _named(
    source: str,
    given: list[str] | None,
    frame: pandas.DataFrame,
    lines: list[int],
    separator: str,
    notes: list[str],
) -> Table:
    """Give every column a name of its own."""
    names = [name or f"x{i}" for i, name in enumerate(given or [""] * frame.shape[1])]
    index = given is not None and not given[0] and len(names) > 1 and _counts(frame.iloc[:, 0])
    if index:
        notes.append(
            f"the first column has no name and tells rows apart: it is called {names[0]} and no "
            f"input; give it a name to make it one"
        )
    for i, name in enumerate(names):
        if given and not given[i] and not (index and i == 0):
            notes.append(f"column {i} has no name and is called {name}")
        if name in names[:i]:
            number = 1
            while f"{name}.{number}" in names:
                number += 1
            names[i] = f"{name}.{number}"
            notes.append(f"two columns are called {name!r}: the second is called {names[i]!r} here")
    frame.columns = names
    return Table(
        source,
        names,
        frame,
        given is not None,
        lines,
        separator,
        notes,
        names[0] if index else None,
    )


def _counts(column: pandas.Series) -> bool:
    """Whether a column numbers or names the rows."""
    cells = column.astype(str).str.strip()
    return bool(cells.is_unique and not cells.str.contains(r"\.\d*[1-9]").any())


def column(names: Sequence[str], which: str) -> int:
    """Return the position of a column given by its name, or by its position.

    Raises
    ------
    LookupError
        If there is no such column.
    """
    if which in names:
        return names.index(which)
    try:
        at = int(which)
    except ValueError:
        at = len(names)
    if -len(names) <= at < len(names):
        return at % len(names)
    raise LookupError(f"there is no column {which!r} among {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Join names, of many only the first and the last."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED - 1])}, ... {names[-1]} ({len(names)} in all)"


# --------------------------------------------------------------------------------------------------
# Lines


def _rows(text: str, separator: str) -> Iterator[tuple[list[str], int]]:
    """Yield the cells of every line that has some, and its number."""
    csv.field_size_limit(sys.maxsize if sys.maxsize < 1 << 31 else (1 << 31) - 1)
    # Spaces separate also when there are several of them, and begin no line.
    lines: Iterator[str] = io.StringIO(text, newline="")
    if separator == " ":
        lines = (line.strip() + "\n" for line in lines)
    reader = csv.reader(lines, delimiter=separator or ",", skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield row, reader.line_num
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no row of a table: {error}") from None


def _without_comments(
    rows: Iterator[tuple[list[str], int]],
) -> tuple[list[list[str]], list[int], int]:
    every = list(rows)
    plain = [len(row) for row, _ in every[:_SAMPLE] if not row[0].startswith("#")]
    width = collections.Counter(plain).most_common(1)[0][0] if plain else None
    kept = [(row, line) for row, line in every if row[0][:1] != "#" or len(row) == width]
    return [row for row, _ in kept], [line for _, line in kept], len(every) - len(kept)


def _separator(text: str) -> str:
    """Return what cuts the first lines into equally many cells, more than one."""
    start = text[: text.find("\n", 1 << 16) + 1] or text
    best = (0.0, 0, "")
    for separator in _SEPARATORS:
        rows = []
        for (row, _), _ in zip(_rows(start, separator), range(_SAMPLE), strict=False):
            if not row[0].startswith("#"):
                rows.append(len(row))
        # A header may have a cell less: names of rows have no name.
        body = rows[1:] or rows
        if not body:
            continue
        count, times = collections.Counter(body).most_common(1)[0]
        if count < 2:
            continue
        alike = rows[0] in (count, count - 1) and rows[0] > 1
        if alike and times == len(body):
            return separator
        best = max(best, (times / len(body) * (1.0 if alike else 0.5), count, separator))
    return best[2] or ","


def _is_header(rows: list[list[str]], quoted: bool) -> bool:
    first = [cell.strip() for cell in rows[0]]
    numbers = [cell for cell in first if _is_number(cell)]
    if len(numbers) < sum(map(bool, first)):
        return not all(_is_number(cell) or _is_missing(cell) for cell in first)
    if quoted:
        return True
    # Years, days, wavelengths: equally spaced, as few rows beneath are.
    beneath = rows[1:20]
    return _equally_spaced(first) and sum(map(_equally_spaced, beneath)) <= len(beneath) / 2


def _equally_spaced(cells: Sequence[str]) -> bool:
    try:
        values = [int(cell) for cell in cells]
    except ValueError:
        return False
    steps = {b - a for a, b in itertools.pairwise(values)}
    return len(values) > 2 and len(steps) == 1 and steps != {0}


def _quotes_alone(text: str, lines: list[int]) -> bool:
    """Whether the first line has quotes and the second has none."""
    every = text.splitlines()[: lines[1] if len(lines) > 1 else 0]
    return bool(every) and '"' in every[lines[0] - 1] and '"' not in every[lines[1] - 1]


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", ".", 1))
    except ValueError:
        return False
    return True


def _is_missing(cell: str) -> bool:
    from spikedrf.cli.columns import MISSING

    return cell.strip().lower() in MISSING
