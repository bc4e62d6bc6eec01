"""Certified solutions in latent coordinates: rules get finer until the answers stop moving."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.model import Producer, producer_of
from spikedrf.inputs.latent_layer import LatentLayer, latent_layers
from spikedrf.inputs.population import Population
from spikedrf.parameters import broadcast_shape
from spikedrf.running.workers import for_each
from spikedrf.theory.latents.equations import Answer, Equations
from spikedrf.theory.latents.frame import Frame, frame_of
from spikedrf.theory.latents.tables import Tables, make_tables

Floats = NDArray[np.float64]

# Doubles of a chunk of points, and where Newton's method has failed.
_CHUNK, _FAILED = 2_000_000, 1e-8
# Rounding does not let errors be told apart below this, relative.
_ROUNDING = 1e-13

_SCALARS = ("test", "train", "norm")
_PER_CLASS = ("by_class", "wrong")
_PER_GROUP = ("m", "q2", "V2", "lengths")
_MATRICES = ("q1", "V1")


@dataclass(frozen=True, eq=False)
class Solved:
    """What the points of a call have come to; the points are flat, groups as given.

    Attributes
    ----------
    values : dict of ndarray
        ``test, train, norm, residual, error`` (P,), ``status, nit`` and ``nodes`` (P,),
        ``by_class, wrong`` (P, C), ``m, q2, V2, lengths`` (P, K), ``q1, V1`` (P, K, K) and
        ``columns`` (P, K, L').
    frames : list of Frame
        Of the distinct first layers.
    which : ndarray of int64, shape (P,)
        The layer of each point.
    shape : tuple of int
        Shape of the call.
    """

    values: dict[str, NDArray[Any]]
    frames: list[Frame]
    which: NDArray[np.int64]
    shape: tuple[int, ...]

    def arrange(self, name: str) -> Any:
        """Give an array the shape of the call."""
        value = self.values[name]
        return value.reshape(self.shape + value.shape[1:])[()]


def solve_points(
    values: dict[str, Floats],
    sigma: Activation,
    population: Population,
    step: Producer | None,
    init: str,
    rtol: float,
    threads: int | None,
) -> Solved:
    """Solve every point of the broadcast parameters ``alpha, beta, lam, noise`` and the step's.

    Raises
    ------
    TypeError, ValueError
        If the step is of the wrong kind, shapes do not broadcast, or ``lam = 0`` or ``alpha = inf``
        where there is no formula for the limit.
    """
    layers, which = latent_layers(step, sigma, population, values["noise"], init)
    shape = broadcast_shape(
        {name: value.shape for name, value in values.items()} | {"the step": which.shape}
    )
    flat = {name: np.broadcast_to(value, shape).ravel() for name, value in values.items()}
    which = np.broadcast_to(which, shape).ravel()
    _refuse_limits(flat, sigma)
    groups = layers[0].r.size
    frames = [frame_of(population, layer) for layer in layers]
    size = max((frame.size for frame in frames), default=1)
    classes, count = population.classes, which.size
    out: dict[str, NDArray[Any]] = {
        **{name: np.full(count, np.nan) for name in (*_SCALARS, "residual", "error")},
        **{name: np.zeros(count, dtype=np.int32) for name in ("status", "nit")},
        "nodes": np.zeros(count, dtype=np.int64),
        **{name: np.full((count, classes), np.nan) for name in _PER_CLASS},
        **{name: np.zeros((count, groups)) for name in _PER_GROUP},
        **{name: np.zeros((count, groups, groups)) for name in _MATRICES},
        "columns": np.zeros((count, groups, size)),
    }
    tasks = []
    for index, layer in enumerate(layers):
        points = np.flatnonzero(which == index)
        if not points.size:
            continue
        live = layer.pi > 0.0
        alive = frames[index] if live.all() else frame_of(population, _only(layer, live))
        tasks.append((_Ladder(alive, sigma, np.flatnonzero(live)), points))

    def run(task: tuple[_Ladder, NDArray[np.int64]]) -> None:
        ladder, points = task
        ladder.climb(flat, points, rtol, out)

    for_each(run, tasks, threads)
    missed = population.moments[1] if producer_of(step).sees_labels else 0.0
    if missed > 0.0:
        out["error"] = np.maximum(out["error"], missed)
        out["status"] = np.where((out["status"] == 0) & (out["error"] > rtol), 1, out["status"])
    return Solved(out, frames, which, shape)


def _only(layer: LatentLayer, live: NDArray[np.bool_]) -> LatentLayer:
    """Leave out groups without neurons."""
    return replace(
        layer, r=layer.r[live], pi=layer.pi[live], sigma=layer.sigma[live], c=layer.c[live],
        ve=layer.ve[live],
    )  # fmt: skip


def _refuse_limits(flat: dict[str, Floats], sigma: Activation) -> None:
    alpha, beta, lam = flat["alpha"], flat["beta"], flat["lam"]
    ridgeless = (lam == 0.0) & np.isfinite(alpha)
    bad = ridgeless & ((alpha <= beta) | sigma.linear)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"lam = 0 is for alpha > beta and activations that are not linear with these inputs, "
            f"got alpha = {alpha[i]:g}, beta = {beta[i]:g}: lam must be > 0 there"
        )
    if sigma.linear and np.isinf(alpha).any():
        raise ValueError(
            f"alpha = inf with the linear activation {sigma.name!r} is not known for these "
            f"inputs: alpha must be finite"
        )


class _Ladder:
    """The rules of one first layer, coarse to fine; those of several points are shared."""

    def __init__(self, frame: Frame, sigma: Activation, live: NDArray[np.int64]) -> None:
        self.frame, self.sigma, self.live = frame, sigma, live
        self._tables: list[Tables | None] = []

    def tables(self, level: int) -> Tables | None:
        while len(self._tables) <= level:
            self._tables.append(make_tables(self.frame, self.sigma, len(self._tables)))
        return self._tables[level]

    def climb(
        self,
        flat: dict[str, Floats],
        points: NDArray[np.int64],
        rtol: float,
        out: dict[str, NDArray[Any]],
    ) -> None:
        first = self.tables(0)
        assert first is not None
        rows = first.kappa.size * (len(self.frame.means) + self.frame.size)
        each = 4 * rows * (2 * self.live.size + self.frame.size * self.live.size)
        chunk = max(1, _CHUNK // each)
        for start in range(0, points.size, chunk):
            self._climb(flat, points[start : start + chunk], rtol, out)

    def _climb(
        self,
        flat: dict[str, Floats],
        points: NDArray[np.int64],
        rtol: float,
        out: dict[str, NDArray[Any]],
    ) -> None:
        answer = self._solve(flat, points, 0, None)
        assert answer is not None
        self._put(answer, points, out)
        out["error"][points] = np.inf
        at, level = points, 0
        while at.size:
            level += 1
            before = answer
            answer = self._solve(flat, at, level, (before.B, before.g))
            if answer is None:
                out["status"][at] = 1
                break
            self._put(answer, at, out)
            moved = np.zeros(at.size)
            for name in _SCALARS:
                new, old = getattr(answer, name), getattr(before, name)
                with np.errstate(invalid="ignore", divide="ignore"):
                    change = np.abs(new - old) / np.abs(new)
                moved = np.fmax(moved, np.where(new == old, 0.0, change))
                if name == "test":
                    out["error"][at] = np.maximum(moved, _ROUNDING)
            failed = ~(answer.residual < _FAILED)
            out["status"][at] = np.where(failed, 2, 0)
            going = ~failed & ~(moved <= rtol)
            at = at[going]
            answer = _rows(answer, going)
        failed = points[out["status"][points] == 2]
        for name in (*_SCALARS, *_PER_CLASS, *_PER_GROUP, *_MATRICES, "columns"):
            out[name][failed] = np.nan

    def _solve(
        self,
        flat: dict[str, Floats],
        at: NDArray[np.int64],
        level: int,
        start: tuple[Floats, Floats] | None,
    ) -> Answer | None:
        tables = self.tables(level)
        if tables is None:
            return None
        alpha, beta, lam, noise = (flat[name][at] for name in ("alpha", "beta", "lam", "noise"))
        return Equations(self.frame, tables).solve(alpha, beta, lam, noise, start)

    def _put(self, answer: Answer, at: NDArray[np.int64], out: dict[str, NDArray[Any]]) -> None:
        live, which = self.live, self.frame.population.which
        for name in (*_SCALARS, "residual"):
            out[name][at] = getattr(answer, name)
        for name in _PER_CLASS:
            out[name][np.ix_(at, which)] = getattr(answer, name)
        for name in _PER_GROUP:
            out[name][np.ix_(at, live)] = getattr(answer, name)
        for name in _MATRICES:
            out[name][np.ix_(at, live, live)] = getattr(answer, name)
        out["columns"][np.ix_(at, live, np.arange(self.frame.size))] = answer.columns
        out["nit"][at] += answer.iterations
        out["nodes"][at] = answer.nodes


def _rows(answer: Answer, keep: NDArray[np.bool_]) -> Answer:
    """Return the answers of some points."""
    return Answer(**{name: value[keep] for name, value in vars(answer).items()})
