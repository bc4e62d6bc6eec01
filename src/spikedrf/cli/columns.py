"""What the cells of a column are: numbers, dates, yes or no, or categories."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

#: What stands for a missing value, in lower case.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "#na", "nan", "<na>", "null", "none", "nil", "?", "-", "--", "."}
)

_YES, _NO = frozenset({"true", "yes", "t", "y"}), frozenset({"false", "no", "f", "n"})
_TRUTHS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))

#: How dates are written, beside ISO 8601; where day and month may be either, the day is first.
_DATES = (
    "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y",
    "%m/%d/%y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %Y",
    "%B %Y", "%Y.%m.%d",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")
ISO = "ISO8601"

# So many words are categories, if there are rows enough for them.
_LEVELS = 20

_EXPONENT = r"(?:[eE][+-]?\d+)?"
_COMMA = re.compile(rf"[+-]?(?:\d{{1,3}}(?:\.\d{{3}})+|\d+)?,\d+{_EXPONENT}")
_POINT = re.compile(rf"[+-]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)?\.\d+{_EXPONENT}")
_POINTS_APART = re.compile(r"[+-]?\d{1,3}(?:\.\d{3}){2,}")
_COMMAS_APART = re.compile(r"[+-]?\d{1,3}(?:,\d{3}){2,}")
#: A thousand and more with a mark, or one and more with three decimals.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")

_SPACES = re.compile(r"(?<=\d)[ \u00a0\u202f'](?=\d{3}(?!\d))")
_SIGNS = re.compile(r"^([+-]?)[$€£¥]\s*|\s*[%€$£¥]$")


@dataclass(frozen=True)
class Kind:
    """What a column holds.

    Attributes
    ----------
    name : {"number", "date", "truth", "category"}
    how : str
        How a number's decimal mark or a date is written, as far as that is known.
    """

    name: str
    how: str = ""

    def __str__(self) -> str:
        """Say it in words."""
        words = {"number": "numbers", "truth": "yes or no", "category": "categories"}
        return words.get(self.name) or ("dates" if self.how == ISO else f"dates {self.how}")


class Unfit(ValueError):
    """A column is not usable as it is.

    Attributes
    ----------
    row : int or None
        Where.
    """

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.row = row


def stripped(column: pandas.Series) -> pandas.Series:
    """Return the cells as text without spaces around them; missing ones are None."""
    text = column.astype(object).map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    missing = text.map(lambda cell: isinstance(cell, str) and cell.lower() in MISSING)
    return text.where(~(missing | text.isna()), None)


def decimal_mark(columns: Iterable[pandas.Series]) -> str | None:
    """Return the decimal mark that the cells prove; None if they prove none, or both."""
    commas = points = 0
    for column in columns:
        for cell in column.head(2000):
            if not isinstance(cell, str):
                continue
            bare = _SPACES.sub("", cell)
            if _EITHER.fullmatch(bare):
                continue
            commas += bool(_COMMA.fullmatch(bare) or _POINTS_APART.fullmatch(bare))
            points += bool(_POINT.fullmatch(bare) or _COMMAS_APART.fullmatch(bare))
    return None if bool(commas) == bool(points) else "," if commas else "."


def recognise(cells: pandas.Series, decimal: str) -> tuple[Kind, pandas.Series]:
    """Tell what stripped cells are, and return their values.

    Parameters
    ----------
    cells : Series
        Of text, numbers, dates, booleans; missing ones are None.
    decimal : {".", ","}
        The decimal mark of the file; a column that proves the other one has that.

    Returns
    -------
    kind : Kind
    values : Series
        Numbers (dates in days since 1970, yes 1 and no 0), or words. Missing ones are NaN.

    Raises
    ------
    Unfit
        If the cells are neither; the message says which.
    """
    there = cells.dropna()
    if typed := _typed(there):
        return typed, convert(cells, typed)
    text = there.astype(str)
    number = Kind("number", decimal_mark([text]) or decimal)
    good = _numbers(text, number.how).notna()
    if good.all():
        return number, convert(cells, number)
    words = {word.lower() for word in text.unique()[:10]}
    if any(words <= set(pair) for pair in _TRUTHS):
        return Kind("truth"), convert(cells, Kind("truth"))
    if date := _date_format(text):
        return Kind("date", date), convert(cells, Kind("date", date))
    distinct = text.nunique()
    if good.mean() > 0.5 and distinct > _LEVELS:
        row = int(np.flatnonzero(~good.to_numpy())[0])
        raise Unfit(f"holds numbers, but {text.iloc[row]!r}", cells.index.get_loc(text.index[row]))
    if distinct > _LEVELS and distinct > 0.5 * len(text):
        raise Unfit(
            f"holds {distinct} different words in {len(text)} rows, which are no categories"
        )
    return Kind("category"), convert(cells, Kind("category"))


def convert(cells: pandas.Series, kind: Kind) -> pandas.Series:
    """Return the values of stripped cells that are to be of a kind.

    Raises
    ------
    Unfit
        If one is not.
    """
    import pandas

    there = cells.dropna()
    if kind.name == "category":
        words = there.map(_word)
        return words.reindex(cells.index).astype(object).where(cells.notna(), np.nan)
    if kind.name == "date":
        values = _days(there, kind.how)
    elif kind.name == "truth":
        lower = there.astype(str).str.lower()
        values = lower.map(lambda word: 1.0 if word in _YES else 0.0 if word in _NO else np.nan)
        values = values.where(values.notna(), pandas.to_numeric(lower, errors="coerce"))
    else:
        values = _numbers(there, kind.how or ".")
    values = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values.to_numpy()))
    if bad.size:
        row = cells.index.get_loc(there.index[bad[0]])
        raise Unfit(f"holds {kind}, but {str(there.iloc[bad[0]])!r}", row)
    return values.reindex(cells.index)


# --------------------------------------------------------------------------------------------------
# Cells


def _word(cell: Any) -> str:
    """Write a category alike wherever it comes from: 3 and 3.0 are one."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _typed(there: pandas.Series) -> Kind | None:
    """Return the kind of cells that are no text, as those of Parquet."""
    from pandas.api import types

    inferred = there.infer_objects()
    if not len(there):
        return Kind("number", ".")
    if types.is_bool_dtype(inferred.dtype):
        return Kind("truth")
    if types.is_numeric_dtype(inferred.dtype):
        return Kind("number", ".")
    if types.is_datetime64_any_dtype(inferred.dtype):
        return Kind("date", ISO)
    return None


def _numbers(there: pandas.Series, decimal: str) -> pandas.Series:
    """Return numbers, NaN where there is none."""
    if (plain := _exact(there)) is not None and decimal != ",":
        return plain
    text = there.astype(str)
    text = text.str.replace("\u2212", "-", regex=False).str.replace(_SIGNS, r"\1", regex=True)
    text = text.str.replace(_SPACES, "", regex=True)
    # "1.234" is a number as it is, and another one where points set thousands apart.
    apart = "." if decimal == "," else ","
    groups = rf"^[+-]?\d{{1,3}}(?:{re.escape(apart)}\d{{3}})+(?:{re.escape(decimal)}\d*)?$"
    grouped = text.str.match(groups)
    text = text.where(~grouped, text.str.replace(apart, "", regex=False))
    if decimal == ",":
        # A point that sets no thousands apart is no number of this file.
        text = text.where(~text.str.contains(".", regex=False), "")
        text = text.str.replace(",", ".", regex=False)
    found = _exact(text)
    return text.map(_number) if found is None else found


def _exact(there: pandas.Series) -> pandas.Series | None:
    """Return the numbers nearest to what is written, as pandas' own reading is not always."""
    import pandas

    cells = there.tolist()
    if any(isinstance(cell, str) and ("_" in cell or "n" in cell.lower()) for cell in cells):
        return None
    try:
        return pandas.Series(np.array(cells, dtype=np.float64), index=there.index)
    except (TypeError, ValueError):
        return None


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _date_format(text: pandas.Series) -> str | None:
    some = text.drop_duplicates()
    few = some.head(100)
    if not few.str.contains(r"\d").all() or not few.str.contains(r"[-/.: ]").all():
        return None
    for form in (ISO, *(date + time for date in _DATES for time in _TIMES)):
        if _days(few, form).notna().all() and _days(some, form).notna().all():
            return form
    return None


def _days(there: pandas.Series, form: str) -> pandas.Series:
    """Return days since 1970, NaN where there is no date."""
    import pandas

    utc = {"utc": True} if form == ISO else {}
    dates = pandas.to_datetime(there.astype(str), format=form, errors="coerce", **utc)
    first = pandas.Timestamp(0, tz="UTC" if form == ISO else None)
    return (dates - first) / pandas.Timedelta(days=1)
