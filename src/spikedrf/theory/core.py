"""Parts of a batch as the core takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.running.workers import for_each
from spikedrf.theory.batch import Part

Results = TypeVar("Results", _core.Solutions, _core.Gradients, _core.Transforms)


def core_problem(
    part: Part, sigma: Activation, g: Activation, rtol: float, max_nodes: int, **readout: Any
) -> _core.Problem:
    """Return the problem that a part poses; ``loss`` and ``signs`` may follow."""
    return _core.Problem(
        sigma.core,
        g.core,
        part.r,
        part.c,
        part.pi,
        part.gamma,
        bulk=None if part.bulk is None else part.bulk.core(),
        seen=None if part.seen is None else part.seen.core(),
        rtol=rtol,
        max_nodes=g.most_nodes(sigma.most_nodes(max_nodes)),
        **readout,
    )


def plane_problem(part: Part, index: int, sigma: Activation, rtol: float) -> _core.Problem:
    """Return the problem of a spectrum that one of the spikes poses, which spans a plane."""
    assert part.seen is not None
    of = np.arange(part.c.shape[0]) == index
    every = np.ones(part.c.shape[1], dtype=bool)
    return _core.Problem(
        sigma.core,
        None,
        np.zeros((1, part.c.shape[1])),  # the tables know the spikes
        np.ascontiguousarray(part.c[of]),
        np.ascontiguousarray(part.pi[of]),
        None,
        bulk=None if part.bulk is None else part.bulk.part(of, every).core(),
        seen=part.seen.core(),
        rtol=rtol,
        latents=(part.seen.spans, part.seen.means.shape[1], 0, part.seen.spread is not None, 0),
        tables_at=part.planes[index].tables,
    )


def core_points(
    part: Part, order: NDArray[np.int64] | None = None, z: NDArray[np.complex128] | None = None
) -> _core.Points:
    """Return its points, in another order if one is given."""
    names = [name for name in ("lam", "noise", "flip") if name in part.values and z is None]
    arrays = [part.which, part.values["alpha"], part.values["beta"]]
    arrays += [part.values[name] for name in names]
    if order is not None:
        arrays = [np.ascontiguousarray(array[order]) for array in arrays]
        z = None if z is None else np.ascontiguousarray(z[order])
    return _core.Points(*arrays[:3], **dict(zip(names, arrays[3:], strict=True)), z=z)


def run(
    problem: _core.Problem,
    points: _core.Points,
    wanted: Results,
    chunks: Iterable[slice],
    threads: int | None,
) -> Results:
    """Fill ``wanted``, chunk by chunk, on several threads."""

    def chunk(part: slice) -> None:
        _core.run(problem, points, wanted, part.start, part.stop)

    for_each(chunk, list(chunks), threads)
    return wanted
