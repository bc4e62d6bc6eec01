"""From the cells of a table to what a network takes, and what a model remembers of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli.columns import Kind, Unfit, convert, decimal_mark, recognise, stripped
from spikedrf.cli.table import Table

if TYPE_CHECKING:
    import pandas
    from sklearn.pipeline import Pipeline

#: Levels that fewer rows have are pooled: a rare one would be a huge number once scaled.
RARE = 0.01
#: Of fewer rows any whole numbers may follow one another by chance.
_FEWEST = 20


def read_columns(
    table: Table, forced: Sequence[str] = (), decimal: str | None = None
) -> tuple[dict[str, Kind], pandas.DataFrame]:
    """Tell what every column holds and return its values, NaN where they are missing.

    Parameters
    ----------
    table : Table
    forced : sequence of str
        Columns of categories, whatever they look like.
    decimal : {".", ","}, optional
        By default what the cells prove, or a file with semicolons suggests.

    Raises
    ------
    ValueError
        If a column cannot be used; the message says which, where and why.
    """
    import pandas

    cells = {name: stripped(table.frame[name]) for name in table.names}
    decimal = decimal or decimal_of(table)
    kinds: dict[str, Kind] = {}
    values: dict[str, pandas.Series] = {}
    for name, column in cells.items():
        try:
            if name in forced:
                kinds[name] = Kind("category")
                values[name] = convert(column, kinds[name])
            else:
                kinds[name], values[name] = recognise(column, decimal)
        except Unfit as error:
            raise ValueError(f"column {name!r} of {table.source!r} {told(table, error)}") from None
    return kinds, pandas.DataFrame(values)


def decimal_of(table: Table) -> str:
    """Return the decimal mark that a file proves, or that its separator suggests."""
    cells = [stripped(table.frame[name]) for name in table.names]
    # In a file with semicolons 1,234 is one and more; elsewhere it is a thousand and more.
    return decimal_mark(cells) or ("," if table.separator == ";" else ".")


def read_as(
    table: Table, kinds: Mapping[str, Kind], decimal: str | None = None
) -> pandas.DataFrame:
    """Return the values of columns that are to be of these kinds.

    Raises
    ------
    ValueError
        If one is not.
    """
    import pandas

    cells = {name: stripped(table.frame[name]) for name in kinds}
    mark = decimal or decimal_mark(cells.values())
    values = {}
    for name, kind in kinds.items():
        if kind.name == "number":
            kind = Kind("number", decimal or decimal_mark([cells[name]]) or mark or kind.how)
        try:
            values[name] = convert(cells[name], kind)
        except Unfit as error:
            raise ValueError(f"column {name!r} of {table.source!r} {told(table, error)}") from None
    return pandas.DataFrame(values)


def told(table: Table, error: Unfit) -> str:
    """Say what is wrong, and where."""
    return f"{error} ({table.where(error.row)})" if error.row is not None else str(error)


def gaps(table: Table, values: pandas.DataFrame) -> dict[str, str]:
    """Say for every column with missing cells how many there are and where the first is."""
    found = {}
    for name in values:
        rows = np.flatnonzero(values[name].isna().to_numpy())
        if rows.size:
            more = f" and {rows.size - 1} more" if rows.size > 1 else ""
            found[str(name)] = f"{name} ({table.where(rows[0])}{more})"
    return found


def pipeline(kinds: Mapping[str, Kind], named: bool, model: Any) -> Pipeline:
    """Return a pipeline that fills in missing cells, makes numbers of categories, scales and fits.

    Parameters
    ----------
    kinds : mapping
        What the columns hold, in their order.
    named : bool
        Whether the columns have names; otherwise they are found by their positions.
    model : estimator
        What takes the numbers.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    where = {name: name if named else at for at, name in enumerate(kinds)}
    numbers = [where[name] for name, kind in kinds.items() if kind.name != "category"]
    words = [where[name] for name, kind in kinds.items() if kind.name == "category"]
    levels = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(
            min_frequency=RARE, handle_unknown="infrequent_if_exist", sparse_output=False
        ),
    )
    fill = SimpleImputer(strategy="median")
    parts = [("numbers", fill, numbers), ("categories", levels, words)]
    prepare = fill
    if words:
        prepare = ColumnTransformer(
            [part for part in parts if part[-1]], verbose_feature_names_out=False
        )
    return Pipeline([("prepare", prepare), ("scale", StandardScaler()), ("model", model)])


def inputs(model: Pipeline, names: Sequence[str]) -> list[str]:
    """Return the names of what the network of a fitted pipeline takes."""
    prepare = model[0]
    if not hasattr(prepare, "get_feature_names_out"):  # a network alone
        return list(names)
    given = None if hasattr(prepare, "feature_names_in_") else list(names)
    return [str(name) for name in prepare.get_feature_names_out(given)]


def _parts(model: Pipeline, names: Sequence[str]) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield what prepares numbers and what prepares categories, and the columns that it takes."""
    if not hasattr(model[0], "transformers_"):
        if hasattr(model[0], "statistics_"):  # otherwise the pipeline is not one of `pipeline`
            yield "numbers", model[0], list(names)
        return
    for part, transformer, columns in model[0].transformers_:
        if part in ("numbers", "categories"):
            yield part, transformer, [names[c] if isinstance(c, int) else c for c in columns]


def filled(model: Pipeline, names: Sequence[str]) -> dict[str, Any]:
    """Return what stands in for a missing cell of each column."""
    found: dict[str, Any] = {}
    for part, transformer, columns in _parts(model, names):
        imputer = transformer if part == "numbers" else transformer[0]
        found.update(zip(columns, imputer.statistics_, strict=True))
    return {name: found[name] for name in names if name in found}


def levels(model: Pipeline, names: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Return for each column of categories those that have an input, and those pooled in one."""
    found = {}
    for part, transformer, columns in _parts(model, names):
        if part == "categories":
            encoder = transformer[-1]
            pooled = encoder.infrequent_categories_
            for column, words, rare in zip(columns, encoder.categories_, pooled, strict=True):
                rare = [] if rare is None else [str(word) for word in rare]
                own = [str(word) for word in words if str(word) not in rare]
                found[column] = (own, rare)
    return found


def unseen(model: Pipeline, names: Sequence[str], values: pandas.DataFrame) -> dict[str, list[str]]:
    """Return the categories of a table that the fit has not seen, by column."""
    found = {}
    for name, (own, rare) in levels(model, names).items():
        new = [str(word) for word in values[name].dropna().unique() if word not in {*own, *rare}]
        if new:
            found[name] = new
    return found


def unused(kinds: Mapping[str, Kind], values: pandas.DataFrame) -> list[str]:
    """Return the columns without any value."""
    return [name for name in kinds if values[name].isna().all()]


def numbering(kinds: Mapping[str, Kind], values: pandas.DataFrame) -> list[str]:
    """Return the columns of numbers that may only name the rows: 1, 2, 3 in any order, or an id."""
    found = []
    for name, kind in kinds.items():
        column = values[name].to_numpy()
        if kind.name != "number" or len(column) < _FEWEST or not np.isfinite(column).all():
            continue
        if not (column == np.floor(column)).all() or np.unique(column).size != column.size:
            continue
        word = name.lower().replace("_", " ").replace("-", " ").split()[-1:]
        if column.max() - column.min() == column.size - 1 or word in (["id"], ["index"]):
            found.append(name)
    return found
