"""Readouts under any convex loss at finite size, and what is measured of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikedrf.losses import Loss
from spikedrf.simulation.network import DrawnLayer, Floats, Integers, Network, Samples
from spikedrf.simulation.replicates import Stop

#: What is measured of a readout on training and on fresh samples, and its name there.
TRAIN = {"error": "train_error", "loss": "train_loss", "margin": "train_margin"}
TEST = {"error": "test_error", "loss": "test_loss", "margin": "margin"}


def measure(labels: str, loss: Loss, y: Floats, h: Floats) -> dict[str, Floats]:
    """Return means over the samples, the first axis of labels ``y`` and predictions ``h``."""
    y = y[:, None]
    means = {"loss": loss.value(y, h).mean(axis=0)}
    if labels == "sign":
        means["error"] = np.mean(y * h < 0.0, axis=0)
        means["margin"] = np.mean(y * h, axis=0)
    else:
        means["error"] = np.mean((y - h) ** 2, axis=0)
    return means


def train(
    network: Network,
    layer: DrawnLayer,
    loss: Loss,
    n: Integers,
    lam: Floats,
    rng: np.random.Generator,
    stop: Stop,
) -> tuple[Floats, dict[str, Floats], NDArray[np.bool_]]:
    """Fit the readout of every point, on the first ``n`` samples.

    Returns
    -------
    readouts : ndarray, shape (p, points)
    measured : dict of ndarray, shape (points,)
        On the training samples.
    success : ndarray of bool, shape (points,)
        Whether the fit is as close to its minimum as it should be.
    """
    from spikedrf.features import feature_map
    from spikedrf.readout.convex import ReadoutProblem

    rows = int(n.max())
    phi = np.empty((rows, network.p))
    y = np.empty(rows)
    weight = np.ones(rows)
    by_class = network.class_weights
    samples = Samples(network, layer, rng, network.block)
    for start in range(0, rows, network.block):
        part = slice(start, min(start + network.block, rows))
        x, y[part] = samples.draw(part.stop - part.start)
        feature_map(x, layer.W, network.sigma, out=phi[part])
        if by_class is not None:
            weight[part] = by_class[samples.classes]
    readouts = np.empty((network.p, n.size))
    success = np.empty(n.size, dtype=np.bool_)
    measured = {name: np.empty(n.size) for name in _names(network, TRAIN)}
    for size in np.unique(n).tolist():
        problem = ReadoutProblem(phi[:size], None if by_class is None else weight[:size])
        for i in np.flatnonzero(n == size):
            stop.check()
            fit = problem.fit(y[:size], loss, float(lam[i]))
            readouts[:, i], success[i] = fit.a, fit.success
            h = phi[:size] @ fit.a[:, None] / np.sqrt(network.p)
            for name, mean in measure(network.labels, loss, y[:size], h).items():
                measured[TRAIN[name]][i] = mean[0]
    return readouts, measured, success


def _names(network: Network, names: dict[str, str]) -> list[str]:
    return [name for key, name in names.items() if key != "margin" or network.labels == "sign"]
