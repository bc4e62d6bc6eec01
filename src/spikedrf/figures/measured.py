"""What trained networks of finite size put out along a direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import resolve
from spikedrf.features import feature_map
from spikedrf.figures.plan import Plan
from spikedrf.gradient_step import gradient_step
from spikedrf.plotting.error_curves import with_step
from spikedrf.readout.ridge import ridge_readout
from spikedrf.step import GradientStep

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats, Floats]

#: Test samples of a network, in blocks.
_BLOCKS, _BLOCK = 10, 2000

#: Edges of the bins in which outputs are averaged, in units of the standard deviation.
_EDGES = np.linspace(-3.0, 3.0, 13)


def mean_outputs(
    plan: Plan, networks: Mapping[str, Mapping[str, Any]], *, along: str, **shared: Any
) -> dict[str, Points]:
    """Train networks and average their output over inputs with about the same projection.

    Parameters
    ----------
    plan : Plan
        Says how many of what size; without ``d`` there are none.
    networks : mapping of str to mapping
        What is special about each: ``alpha``, ``lam``, ``beta``, ``activation``, ``target``, and
        ``eta``, ``alpha0`` and ``u`` for one that takes a step.
    along : {"target", "spike"}
        The direction projected on. Without a step there is no spike: then along a random one.
    **shared
        What they have in common.

    Returns
    -------
    dict of str to (projection, output, standard error over the networks)
    """
    if plan.d is None:
        return {}
    streams = np.random.default_rng(plan.seed).spawn(plan.replicates)
    points = {}
    for label, special in networks.items():
        runs = [_run(plan.d, with_step({**shared, **special}), along, rng) for rng in streams]
        x, y = np.mean(runs, axis=0)
        sem = np.std([run[1] for run in runs], axis=0, ddof=1) / np.sqrt(len(runs))
        points[label] = (x, y, sem)
    return points


def _run(d: int, model: Mapping[str, Any], along: str, rng: np.random.Generator) -> Floats:
    """Train one network; the mean projection and the mean output of each bin."""
    p, n = round(model["beta"] * d), round(model["alpha"] * d)
    g = resolve(model["target"], "target")
    theta, v = _unit(rng, d), _unit(rng, d)
    W = rng.standard_normal((p, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    step: GradientStep | None = model.get("step")
    if step is not None:
        u = np.resize(np.atleast_1d(step.u), p)
        X = rng.standard_normal((round(step.alpha0 * d), d))
        trained = gradient_step(X, g(X @ theta), W, u, model["activation"], step.eta)
        W, v = trained.W, trained.v
    X = rng.standard_normal((n, d))
    features = feature_map(X, W, model["activation"])
    readout = ridge_readout(features, g(X @ theta), model["lam"]) / np.sqrt(p)
    along_x, output = np.empty(_BLOCKS * _BLOCK), np.empty(_BLOCKS * _BLOCK)
    for block in range(_BLOCKS):
        rows = slice(block * _BLOCK, (block + 1) * _BLOCK)
        X = rng.standard_normal((_BLOCK, d))
        along_x[rows] = X @ (theta if along == "target" else v)
        output[rows] = feature_map(X, W, model["activation"]) @ readout
    which = np.digitize(along_x, _EDGES)
    inside = [which == i for i in range(1, len(_EDGES))]
    return np.array([[values[part].mean() for part in inside] for values in (along_x, output)])


def _unit(rng: np.random.Generator, d: int) -> Floats:
    v = rng.standard_normal(d)
    return v / np.linalg.norm(v)
