"""Rows in the blocks of a Dask array: sums over rows are made where the blocks are.

Features never leave the process that has the block of the row. What comes to the caller is a label,
a weight, a random number and, with a loss other than the square, an output of each row, sums over
rows (a gradient, a Gram matrix), and the inputs of the bounded part of the rows on which step and
ridge are chosen.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from spikedrf.arrays import Array
from spikedrf.estimators.rows import Rows, Units
from spikedrf.parameters import Floats

T = TypeVar("T")

#: Sums that are added up by one task.
_FAN = 4


def is_dask(X: Any) -> bool:
    """Whether it is a Dask array; Dask is not imported to find out."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(X, module.Array)


def lazy(X: Any) -> Any:
    """Return the Dask array of a Dask DataFrame or Series, in its blocks; all else as it is."""
    return X.to_dask_array(lengths=True) if hasattr(X, "to_dask_array") else X


def require_whole_rows(X: Any) -> None:
    """Raise ValueError unless the blocks of a Dask array are rows with all their columns."""
    if X.ndim != 2:
        raise ValueError(f"X must have 2 axes, got shape {X.shape}")
    if len(X.chunks[1]) > 1:
        raise ValueError(
            f"X must have all columns in one block, got blocks of {X.chunks[1]} columns: "
            f"X.rechunk({{1: -1}})"
        )


def aligned(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return targets and weights (or None) as Dask arrays in the blocks of the rows of ``X``.

    Raises
    ------
    ValueError
        If columns are split, sizes of blocks are not known, or lengths differ.
    """
    import dask.array as da

    require_whole_rows(X)
    found: list[Any] = []
    for name, array in (("y", y), ("sample_weight", sample_weight)):
        if array is None and name == "sample_weight":
            found.append(None)
            continue
        array = array if is_dask(array) else np.asarray(array)
        for label, a in (("X", X), (name, array)):
            if np.isnan(np.asarray(a.shape, dtype=float)).any():
                raise ValueError(
                    f"the sizes of the blocks of {label} must be known: call "
                    f"{label}.compute_chunk_sizes()"
                )
        if array.ndim == 0 or array.ndim > 2 or len(array) != len(X):
            raise ValueError(f"{name} must have {len(X)} rows, as X, got shape {array.shape}")
        blocks = {0: X.chunks[0]} | ({1: -1} if array.ndim == 2 else {})
        found.append(da.asarray(array).rechunk(blocks))
    return found[0], found[1]


@dataclass(frozen=True, eq=False)
class DistributedRows(Rows):
    """Samples of positive weight, their inputs in blocks elsewhere.

    Attributes
    ----------
    X : dask.array.Array
        As given; for its dtype and columns.
    parts : list of Delayed
        The `Rows` of each block; none is empty.
    sizes : tuple of int
        How many each holds.
    """

    parts: Sequence[Any] = ()
    sizes: tuple[int, ...] = ()

    @property
    def _ends(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def take(self, index: NDArray[Any]) -> DistributedRows:
        """Return the rows of a mask, where they are."""
        import dask

        parts, sizes = [], []
        for part, begin, end in zip(self.parts, self._ends, self._ends[1:], strict=False):
            ours = index[begin:end]
            size = int(np.count_nonzero(ours))
            if size:
                parts.append(part if size == ours.size else dask.delayed(Rows.take)(part, ours))
                sizes.append(size)
        return DistributedRows(
            self.X,
            self.y[index],
            self.weight[index],
            self.bias,
            self.number[index],
            self.given,
            None if self.within is None else self.within[index],
            self.scaling,
            {salt: keys[index] for salt, keys in self.numbers.items()},
            parts,
            tuple(sizes),
        )

    def labelled(self, y: Floats) -> DistributedRows:
        """Return the rows with other targets."""
        return self.standing_for(y, self.weight, None)

    def standing_for(self, y: Floats, weight: Floats, within: Floats | None) -> DistributedRows:
        """Return the rows with other targets, weights and variances within them."""
        import dask

        make = dask.delayed(Rows.standing_for)
        parts = [
            make(part, y[a:b], weight[a:b], None if within is None else within[a:b])
            for part, a, b in zip(self.parts, self._ends, self._ends[1:], strict=False)
        ]
        return replace(self, y=y, weight=weight, within=within, parts=parts)

    def in_units(self, units: Units) -> DistributedRows:
        """Return the rows with targets and weights in other units."""
        import dask

        if units == (1.0, 1.0):
            return self
        make = dask.delayed(Rows.in_units)
        within = None if self.within is None else self.within / units.y / units.y
        return replace(
            self,
            y=self.y / units.y,
            weight=self.weight / units.weight,
            within=within,
            parts=[make(part, units) for part in self.parts],
        )

    def scaled(self, scaling: Callable[[Any], Any] | None) -> DistributedRows:
        """Return the rows with what is to be done to their inputs."""
        import dask

        if scaling is self.scaling:
            return self
        shared = dask.delayed(scaling, pure=False, traverse=False)
        parts = [dask.delayed(Rows.scaled)(part, shared) for part in self.parts]
        return replace(self, scaling=scaling, parts=parts, numbers={})

    def here(self, index: NDArray[Any] | None = None) -> Rows:
        """Return some of the rows, a mask or their numbers, or all in this process."""
        import dask

        if index is None:
            index = np.arange(len(self))
        elif index.dtype == bool:
            index = np.flatnonzero(index)
        order = np.argsort(index, kind="stable")
        wanted, inputs = index[order], []
        edges = np.searchsorted(wanted, self._ends)
        for part, begin, a, b in zip(self.parts, self._ends, edges, edges[1:], strict=False):
            if b > a:
                inputs.append(dask.delayed(_inputs)(part, wanted[a:b] - begin))
        X = np.concatenate(_computed(inputs))[np.argsort(order)]
        return Rows(
            X,
            self.y[index],
            self.weight[index],
            self.bias,
            self.number[index],
            self.given,
            None if self.within is None else self.within[index],
            self.scaling,
        )

    def sum(self, measure: Callable[..., T], *columns: Floats) -> T:
        """Return what is measured, added up as a tree on the cluster."""
        import dask

        sums = self._measured(measure, *columns)
        while len(sums) > 1:
            sums = [
                dask.delayed(_added)(sums[i : i + _FAN]) if i + 1 < len(sums) else sums[i]
                for i in range(0, len(sums), _FAN)
            ]
        (total,) = _computed(sums)
        return total  # type: ignore[no-any-return]

    def each(self, measure: Callable[[Rows], Array]) -> Array:
        """Return what is measured of each row, from where the rows are."""
        return np.concatenate(_computed(self._measured(measure)))

    def _measured(self, measure: Callable[..., Any], *columns: Floats) -> list[Any]:
        import dask

        # One object of the graph, and not one for each block.
        shared = dask.delayed(measure, pure=False, traverse=False)
        return [
            dask.delayed(_apply)(shared, part, *(column[a:b] for column in columns))
            for part, a, b in zip(self.parts, self._ends, self._ends[1:], strict=False)
        ]

    def keys(self, salt: int) -> NDArray[np.uint64]:
        """Return a random number for each row, see `Rows.keys`."""
        import dask

        if salt not in self.numbers:
            keys = _computed([dask.delayed(Rows.keys)(part, salt) for part in self.parts])
            self.numbers[salt] = np.concatenate(keys)
        return self.numbers[salt]


def distributed_rows(
    X: Any, y: Any, weight: Any, targets: Floats, rows: Floats, bias: bool
) -> DistributedRows:
    """Return the rows of positive weight.

    Parameters
    ----------
    X, y, weight : dask.array.Array
        In the same blocks; ``weight`` may be None.
    targets, rows : ndarray, shape (n, targets) and (n,)
        Their labels and weights, here.
    bias : bool
    """
    import dask

    ends = np.concatenate([[0], np.cumsum(X.chunks[0])])
    blocks = X.to_delayed().ravel()
    labels = y.to_delayed().ravel()
    weights = [None] * len(blocks) if weight is None else weight.to_delayed().ravel()
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    make = dask.delayed(_part)
    parts = [
        make(*block, dtype, bias, int(begin), len(X))
        for *block, begin in zip(blocks, labels, weights, ends, strict=False)
    ]
    n = len(X)
    whole = DistributedRows(
        X.astype(dtype),
        targets,
        rows,
        bias,
        np.arange(n),
        n,
        parts=parts,
        sizes=tuple(X.chunks[0]),
    )
    present = rows > 0
    return whole.take(present)


def in_memory(y: Any, weight: Any) -> tuple[Any, Any]:
    """Compute targets and weights (or None)."""
    if weight is None:
        return *_computed([y]), None
    y, weight = _computed([y, weight])
    return y, weight


def map_rows(model: Any, method: str, X: Any, columns: tuple[int, ...], dtype: Any = None) -> Any:
    """Return what a method makes of each block of rows, not computed yet.

    Parameters
    ----------
    model : estimator
    method : str
    X : dask.array.Array
        Rows with all their columns.
    columns : tuple of int
        The shape of what it makes of a row: () or (size,).
    dtype : optional
        By default that of the layer.
    """
    nothing = np.empty((0, *columns), model.layer_.dtype if dtype is None else dtype)
    chunks = (X.chunks[0], *((size,) for size in columns))
    shape: dict[str, Any] = {"chunks": chunks} if columns else {"drop_axis": 1}
    return X.map_blocks(_mapped, model, method, nothing, dtype=nothing.dtype, meta=nothing, **shape)


def _mapped(x: Any, model: Any, method: str, nothing: Any) -> Any:
    return getattr(model, method)(x) if len(x) else nothing


def _part(X: Any, y: Any, weight: Any, dtype: Any, bias: bool, begin: int, given: int) -> Rows:
    """Return the rows of one block; the inputs are checked where they are."""
    X = check_array(X, dtype=dtype, ensure_min_samples=0, input_name="X")
    n = len(X)
    targets = np.asarray(y, np.float64).reshape(n, -1)
    weight = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    return Rows(X, targets, weight, bias, np.arange(begin, begin + n), given)


def _inputs(rows: Rows, index: NDArray[np.int64]) -> Any:
    return rows.X[index]


def _apply(measure: Callable[..., T], rows: Rows, *columns: Floats) -> T:
    return measure(rows, *columns)


def _added(sums: Sequence[Any]) -> Any:
    """Add up sums. The first is copied: what a lost worker has done is done again from them."""
    first = sums[0]
    if hasattr(first, "merge"):
        total = copy.deepcopy(first)
        for other in sums[1:]:
            total.merge(other)
        return total
    if isinstance(first, tuple):
        return type(first)._make(sum(entries) for entries in zip(*sums, strict=True))  # type: ignore[attr-defined]
    return sum(sums)


def _computed(delayed: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values, from the scheduler that the user has chosen."""
    import dask

    with warnings.catch_warnings():
        # The weights of a first layer, which every block needs, may be some megabytes.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return tuple(dask.compute(*delayed))
