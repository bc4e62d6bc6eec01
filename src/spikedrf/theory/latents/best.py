"""What first layers can express of a target in latent coordinates, from infinitely many samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.population import Population, Rows
from spikedrf.inputs.tables import Tables, make_tables
from spikedrf.theory.latents.solve import Solved, solve_points

Floats = NDArray[Any]

# Functions that differ by less than this part of themselves from what others span are those others.
_DEPENDENT = 1e-12


@dataclass(frozen=True, eq=False)
class Best:
    """The best readouts; arrays of the shape of the call.

    Attributes
    ----------
    solved : Solved
        With the readouts ``m``, ``columns`` and ``lengths``.
    variance : float
        ``Var y`` without noise.
    along, across, fluctuation : ndarray
        What the function of kappa (and of classes) explains, what is linear in the other latents
        explains, and the variance that the finite number of neurons adds.
    error : ndarray
        Change from the last rule but one, relative to the variance.
    status : ndarray of int
    """

    solved: Solved
    variance: float
    along: Floats
    across: Floats
    fluctuation: Floats
    error: Floats
    status: NDArray[np.int32]


def best_readouts(
    beta: Floats,
    noise: Floats,
    sigma: Activation,
    population: Population,
    step: StepLike,
    rows: Rows,
    rtol: float,
) -> Best:
    """Find the readouts of infinitely many samples, of infinitely many neurons where beta is."""
    wide = np.isinf(beta)
    values = {
        "alpha": np.array(np.inf), "beta": np.where(wide, 1.0, beta), "lam": np.array(1.0),
        "noise": noise,
    }  # fmt: skip
    solved = solve_points(values, sigma, population, step, rows, rtol, 1)
    count = solved.which.size
    wide = np.broadcast_to(wide, solved.shape).ravel()
    along, across, misfit = np.zeros((3, count))
    error = np.full(count, np.inf)
    variance = 0.0
    ladders: list[list[Tables | None]] = [[] for _ in solved.frames]
    for point in range(count):
        index = int(solved.which[point])
        frame, tables = solved.frames[index], ladders[index]
        before: Floats | None = None
        for level in range(12):
            if len(tables) <= level:
                tables.append(make_tables(frame, sigma, level))
            rule = tables[level]
            if rule is None:
                break
            readout = _fit(frame, rule) if wide[point] else _of(solved, point)
            found = _explained(frame, rule, readout)
            variance = found[3]
            if before is not None:
                moved = np.abs(found[:3] - before[:3]).max() / max(variance, 1e-300)
                error[point] = max(moved, 1e-15)
                if moved <= rtol:
                    break
            before = found
        along[point], across[point], misfit[point] = found[:3]
        if wide[point]:
            for name, value in zip(("m", "columns", "lengths"), readout, strict=True):
                solved.values[name][point] = value
    excess = solved.values["excess"]
    status = np.where(wide, 0, solved.values["status"])
    status = np.where((status == 0) & ~(error <= rtol), 1, status).astype(np.int32)
    fluctuation = np.where(wide, 0.0, np.maximum(excess - misfit, 0.0))
    return Best(
        solved,
        float(variance),
        along.reshape(solved.shape),
        across.reshape(solved.shape),
        fluctuation.reshape(solved.shape),
        error.reshape(solved.shape),
        status.reshape(solved.shape),
    )


def _of(solved: Solved, point: int) -> tuple[Floats, Floats, Floats]:
    """``m`` (K,), the columns' coefficients (K, L') and those of lengths (K,)."""
    values = solved.values
    size = solved.frames[int(solved.which[point])].size
    return values["m"][point], values["columns"][point][:, :size], values["lengths"][point]


def design(frame: Frame, tables: Tables) -> tuple[Floats, Floats]:
    """Columns at kappa and the class, (N, K, 2 + L'), and their slopes, (N, K, 2 + L', L' - R)."""
    K, size, R = frame.layer.pi.size, frame.size, frame.spikes
    nodes = tables.weight.size
    fixed = np.zeros((nodes, K, 2 + size))
    slopes = np.zeros((nodes, K, 2 + size, size - R))
    fixed[:, :, 0] = tables.mu0.T
    fixed[:, :, 1] = tables.length.T * (frame.spread > 0.0)
    for i in range(len(frame.means)):
        part = slice(tables.begin[i], tables.begin[i + 1])
        at = np.broadcast_to(frame.means[i], (part.stop - part.start, size)).copy()
        if R:
            at[:, :R] = tables.kappa[:, part].T
        fixed[part, :, 2:] = tables.mu1.T[part, :, None] * at[:, None, :]
    fixed[:, :, 2:] += tables.length.T[:, :, None] * frame.tilt
    for a in range(R, size):
        slopes[:, :, 2 + a, a - R] = tables.mu1.T
    alive = (frame.layer.pi > 0.0)[:, None]  # a group without neurons has no functions
    return fixed * alive, slopes * alive[..., None]


def _fit(frame: Frame, tables: Tables) -> tuple[Floats, Floats, Floats]:
    """Least squares without any penalty, of the shortest coefficients where they are not unique."""
    fixed, slopes = design(frame, tables)
    nodes, K, width = fixed.shape
    root = np.sqrt(tables.weight)
    blocks = [fixed.reshape(nodes, -1)]
    blocks += [slopes[..., a].reshape(nodes, -1) for a in range(slopes.shape[3])]
    wanted = [tables.y, *tables.slope.T]
    matrix = np.concatenate([root[:, None] * block for block in blocks])
    right = np.concatenate([root * y for y in wanted])
    scale = np.linalg.norm(matrix, axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    found = np.linalg.lstsq(matrix / scale, right, rcond=_DEPENDENT)[0] / scale
    found = found.reshape(K, width)
    return found[:, 0], found[:, 2:], found[:, 1]


def _explained(frame: Frame, tables: Tables, readout: tuple[Floats, Floats, Floats]) -> Floats:
    """Return what is explained along and across, what is left, and the variance."""
    m, columns, lengths = readout
    fixed, slopes = design(frame, tables)
    coefficients = np.concatenate([m[:, None], lengths[:, None], columns], axis=1)
    mean = np.einsum("nkc,kc->n", fixed, coefficients)
    slope = np.einsum("nkca,kc->na", slopes, coefficients)
    w, y = tables.weight, tables.y
    level = w @ y
    along = w @ y**2 - level**2
    across = np.sum(w @ tables.slope**2)
    left = w @ (y - mean) ** 2
    left_across = np.sum(w @ (tables.slope - slope) ** 2)
    rest = w @ tables.rest
    variance = along + across + rest
    return np.array([along - left, across - left_across, left + left_across + rest, variance])
