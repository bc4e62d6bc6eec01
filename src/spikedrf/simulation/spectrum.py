"""Eigenvalues of the features of networks of finite size."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from spikedrf import labelled
from spikedrf.activations import FunctionLike
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.population import Inputs
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import number
from spikedrf.running.progress import Progress
from spikedrf.running.workers import worker_count
from spikedrf.simulation.network import (
    Floats,
    Integers,
    Network,
    Samples,
    first_layer,
    integer,
    make_network,
    sample_sizes,
    specification,
)
from spikedrf.simulation.replicates import Measured, Stop, fit_memory, kept, replicate, streams_of
from spikedrf.theory.spectrum import Spectrum


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedSpectrum:
    r"""Eigenvalues of ``Phi^T Phi / p`` for networks of finite size.

    Attributes
    ----------
    eigenvalues : ndarray, shape (replicates, p)
        Of each finished replicate, ascending; with ``n < p`` the first ``p - n`` are 0.
    completed : ndarray of int
        Numbers of the finished replicates.
    model : str
        ``"srf"`` or ``"network"``.
    d, p, n : int
        Input dimension, width, samples.
    n0 : int or None
        Samples of the gradient step, None unless ``model="network"`` took one.
    parameters : dict
        The parameters as given, for labels.
    """

    eigenvalues: Floats
    completed: Integers
    model: str
    d: int
    p: int
    n: int
    n0: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def replicates(self) -> int:
        """Number of finished replicates."""
        return self.completed.size

    def distance(self, spectrum: Spectrum) -> Floats:
        """Return the Kolmogorov distance of each replicate from a theory, shape (replicates,).

        The largest difference between the share of the eigenvalues that are ``<= x`` and the
        theory's cumulative distribution, over all ``x``. Eigenvalues outside the bulk count: each
        adds ``1/p``.

        Parameters
        ----------
        spectrum : Spectrum
            Of the same parameters; its ``alpha`` and ``beta`` may be the realised ``n/d``, ``p/d``.

        Raises
        ------
        ValueError
            If its ``alpha``, ``beta`` or ``noise`` are others.
        """
        for name in ("alpha", "beta", "noise"):
            theirs, ours = (float(s.parameters[name]) for s in (spectrum, self))
            slack = 0.51 / self.d if name != "noise" else 0.0
            if not np.isclose(theirs, ours, rtol=1e-9, atol=slack):
                raise ValueError(f"the spectrum has another {name}: {theirs:g}, not {ours:g}")
        cumulative = np.reshape(spectrum.cdf(self.eigenvalues), self.eigenvalues.shape)
        steps = np.arange(self.p + 1) / self.p
        # Just left of an eigenvalue the empirical distribution has not jumped yet; at 0, where both
        # jump, the theory is on the left of it 0.
        before = np.where(self.eigenvalues > 0.0, cumulative, 0.0) - steps[:-1]
        before[:, 1:][self.eigenvalues[:, 1:] == self.eigenvalues[:, :-1]] = 0.0
        after = cumulative - steps[1:]
        after[:, :-1][self.eigenvalues[:, 1:] == self.eigenvalues[:, :-1]] = 0.0
        return np.asarray(np.abs([before, after]).max(axis=(0, 2)))

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset``: ``eigenvalue`` over ``replicate`` and ``index``.

        Attributes have all parameters, activation, target, step, ``u``, ``pi``.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        xarray = labelled.library("xarray", "to_xarray")
        variables = {"eigenvalue": (("replicate", "index"), self.eigenvalues)}
        coords = {"replicate": self.completed}
        return xarray.Dataset(variables, coords=coords, attrs=self._attributes())

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``: replicate, index and eigenvalue, one row for each.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        columns = {
            "replicate": np.broadcast_to(self.completed[:, None], self.eigenvalues.shape),
            "index": np.broadcast_to(np.arange(self.p), self.eigenvalues.shape),
            "eigenvalue": self.eigenvalues,
        }
        return labelled.frame(self.eigenvalues.shape, {}, columns, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        given = {**self.parameters}
        step = given.pop("step", None)
        about = labelled.description(given.pop("activation", ""), given.pop("target", ""), step)
        sizes = {name: getattr(self, name) for name in ("model", "d", "p", "n", "n0")}
        return labelled.attributes(about, given, sizes)

    def __repr__(self) -> str:
        return (
            f"SimulatedSpectrum(model={self.model!r}, d={self.d}, p={self.p}, n={self.n}, "
            f"replicates={self.replicates})"
        )


def simulate_spectrum(
    alpha: float,
    *,
    d: int,
    beta: float = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: float = 0.0,
    inputs: Inputs = None,
    init: str = "sphere",
    model: str = "srf",
    replicates: int = 1,
    rng: Any = None,
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = None,
) -> SimulatedSpectrum:
    r"""Draw networks of finite size and compute the eigenvalues of their features.

    Those of ``Phi^T Phi / p`` with ``Phi = sigma(X W^T)`` on ``n = round(alpha d)`` fresh samples,
    for first layers as in `simulate`: what `theory.spectrum` is the limit of.

    Parameters
    ----------
    alpha : float
        Samples over dimension, ``n/d``, > 0 and finite.
    d : int
        Input dimension, >= 2.
    beta, activation, target, step, noise, inputs, init, model
        As in `simulate`; the same ``rng`` draws the same first layers and samples.
    replicates : int
        Independent repetitions, >= 1.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the replicates' independent streams.
    workers : int, optional
        Replicates at a time, as in `simulate`. The result does not depend on it.
    checkpoint : str or path, optional
        A file that keeps the finished replicates, as in `simulate`.
    progress : callable or bool, optional
        Called as ``progress(finished, replicates)`` after each replicate; True shows a bar,
        which needs tqdm.

    Returns
    -------
    SimulatedSpectrum

    Raises
    ------
    TypeError, ValueError, MemoryError, OSError, SimulationFailed, SimulationInterrupted
        As `simulate`.

    Notes
    -----
    Source: theory.md, sections 1 and 7. The smaller of the matrices ``Phi^T Phi`` and ``Phi Phi^T``
    is diagonalised; what rounding makes negative is 0.

    Examples
    --------
    >>> from spikedrf import simulate_spectrum, theory
    >>> simulated = simulate_spectrum(2.0, d=200, rng=0)
    >>> simulated.eigenvalues.shape
    (1, 200)
    >>> bool(simulated.distance(theory.spectrum(alpha=2.0)) < 0.03)
    True
    """
    samples = number("alpha", alpha, minimum=0.0, exclusive=True)
    network = make_network(
        model, d, beta, activation, target, step, noise, inputs=inputs, init=init
    )
    n = int(sample_sizes(np.array(samples), network.d))
    count = integer("replicates", replicates)
    at_a_time = min(worker_count(workers), count)
    streams = streams_of(rng, count)
    # The features, the Gram matrix and what diagonalising it takes.
    small = min(n, network.p)
    needed = 8 * (network.p * network.d + n * network.p + 4 * small**2)
    at_a_time = fit_memory(
        max(needed, network.layer_bytes),
        at_a_time,
        f"d = {network.d}, p = {network.p}, n = {n}"
        + (f", n0 = {network.n0}" if network.n0 else ""),
    )

    def collect(finished: dict[int, Measured]) -> SimulatedSpectrum:
        completed = sorted(finished)
        return SimulatedSpectrum(
            eigenvalues=np.stack([finished[i]["eigenvalues"] for i in completed]),
            completed=np.array(completed, dtype=np.int64),
            model=network.model,
            d=network.d,
            p=network.p,
            n=n,
            n0=network.n0 or None,
            parameters={"alpha": samples} | network.parameters(step),
        )

    def about() -> dict[str, Any]:
        given = specification(network, step, streams[0])
        return {"command": "simulate_spectrum", "alpha": samples} | given

    with kept(checkpoint, rng, about) as file:
        task = partial(_eigenvalues, network, n)
        return replicate(task, streams, at_a_time, progress, collect, file)


def _eigenvalues(network: Network, n: int, rng: np.random.Generator, stop: Stop) -> Measured:
    from scipy.linalg import eigvalsh

    from spikedrf.features import feature_map

    # As in a simulation of errors, whose test samples are not needed here.
    for_layer, for_samples, _ = rng.spawn(3)
    layer = first_layer(network, for_layer)
    samples = Samples(network, layer, for_samples, network.block)
    phi = np.empty((n, network.p))
    for start in range(0, n, network.block):
        stop.check()
        rows = min(network.block, n - start)
        x, _ = samples.draw(rows)
        feature_map(x, layer.W, network.sigma, out=phi[start : start + rows])
    gram = phi @ phi.T if n < network.p else phi.T @ phi
    gram /= network.p
    values = np.zeros(network.p)
    values[-min(n, network.p) :] = np.maximum(eigvalsh(gram, overwrite_a=True), 0.0)
    return {"eigenvalues": values}
