"""A CSV file as named columns of numbers, or what is wrong with it."""

from __future__ import annotations

import csv
import gzip
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What stands for a missing value, in lower case.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})

# So many columns are named in a message.
_NAMED = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a file.

    Attributes
    ----------
    names : list of str
        Those of the header, or ``x0, x1, ...``.
    values : ndarray of float64, shape (rows, columns)
        All finite.
    header : bool
        Whether the file had one.
    """

    names: list[str]
    values: Floats
    header: bool


def read_table(path: Path, *, drop: Sequence[str] = ()) -> Table:
    """Read a CSV file, compressed if its name ends in ``.gz``.

    The columns are separated by commas, semicolons or tabs, whichever the first line has most of.
    That line is a header unless all of it are numbers.

    Parameters
    ----------
    path : Path
        The file.
    drop : sequence of str
        Columns that are left out, which may hold anything: names, or positions from 0, negative
        ones from the end.

    Returns
    -------
    Table

    Raises
    ------
    OSError
        If the file cannot be read.
    LookupError
        If there is no column that is to be left out, or there are several.
    ValueError
        If it is no table, or cells are missing or no numbers; the message says where.
    """
    with _opened(path) as file:
        first = file.readline()
        if not first.strip():
            raise ValueError(f"{str(path)!r} is empty, or its first line is")
        delimiter = max(",;\t", key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True))
        header = any(_number(cell) is None and not _missing(cell) for cell in cells)
        names = [
            name.strip() if header and name.strip() else f"x{i}" for i, name in enumerate(cells)
        ]
        left_out = {column(names, which) for which in drop}
        kept = [i for i in range(len(names)) if i not in left_out]
        if not kept:
            raise ValueError(f"no column of {str(path)!r} is left")
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                values = np.loadtxt(
                    file,
                    delimiter=delimiter,
                    skiprows=int(header),
                    # Not `usecols`, which would accept rows with a cell too many.
                    converters=dict.fromkeys(left_out, _nothing),
                    quotechar='"',
                    comments=None,
                    ndmin=2,
                )
        except ValueError as error:
            values, why = None, str(error)
    if values is not None and values.size == 0:
        raise ValueError(f"{str(path)!r} has a header but no rows")
    if values is None or not np.isfinite(values).all():
        # The fast reader stops at the first bad cell; a message that names all of them needs
        # another look.
        raise ValueError(_what_is_wrong(path, delimiter, names, kept, header) or f"{path}: {why}")
    return Table([names[i] for i in kept], np.ascontiguousarray(values[:, kept]), header)


def column(names: Sequence[str], which: str) -> int:
    """Return the position of a column given by its name, or by its position.

    Raises
    ------
    LookupError
        If there is no such column, or there are several.
    """
    count = names.count(which)
    if count == 1:
        return names.index(which)
    if count > 1:
        raise LookupError(f"{count} columns are called {which!r}: give its position, from 0")
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


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{str(path)!r} is not a text file: {error}") from None


def _nothing(cell: str) -> float:
    return 0.0


def _missing(cell: str) -> bool:
    return cell.strip().lower() in _MISSING


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _what_is_wrong(
    path: Path, delimiter: str, names: list[str], kept: list[int], header: bool
) -> str | None:
    """Look at every cell: the reason why a file was refused."""
    words: dict[int, str] = {}
    gaps: dict[int, list[int]] = {}
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        for number, row in enumerate(reader):
            line = reader.line_num
            if not row or (header and number == 0):
                continue
            if len(row) != len(names):
                return (
                    f"line {line} of {str(path)!r} has {len(row)} columns where the first has "
                    f"{len(names)}"
                )
            for i in kept:
                value = _number(row[i])
                if _missing(row[i]):
                    gaps.setdefault(i, []).append(line)
                elif value is None or not math.isfinite(value):
                    words.setdefault(i, f"line {line}: {row[i]!r}")
    if words:
        which = [f"{names[i]} ({words[i]})" for i in sorted(words)]
        return (
            f"{str(path)!r} has columns that are not all finite numbers: {listed(which)}; encode "
            f"them as numbers, or leave them out: --drop "
            f"{' '.join(names[i] for i in sorted(words)[:_NAMED])}"
        )
    if gaps:
        which = [
            f"{names[i]} (line {lines[0]}"
            + (f" and {len(lines) - 1} more)" if len(lines) > 1 else ")")
            for i, lines in sorted(gaps.items())
        ]
        return (
            f"{str(path)!r} has missing values in {listed(which)}; fill them in, leave out these "
            f"rows, or leave out the columns with --drop"
        )
    return None
