"""Errors of the spiked model and of the trained network at finite size, with error bars."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf import losses
from spikedrf.activations import FunctionLike
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.population import Inputs, numbers_of
from spikedrf.losses import Loss, LossLike
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import ConvergenceWarning, broadcast_shape, real_array
from spikedrf.running.progress import Progress
from spikedrf.running.workers import worker_count
from spikedrf.simulation import convex
from spikedrf.simulation.classes import ClassErrors
from spikedrf.simulation.network import (
    DrawnLayer,
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
from spikedrf.simulation.result import ERRORS, LOSSES, MARGINS, Simulation

_OF_POINTS = ERRORS + LOSSES + MARGINS
_OF_CLASSES = ("class_error", "class_error_rate")
_OF_LAYERS = ("r", "c", "gamma")
# The number of fits that are not accurate enough.
_UNFINISHED = "unfinished"

_RIDGE = losses.Square()

# From so many penalties at one n on, one eigendecomposition is cheaper than Cholesky for each.
_PATH = 24


def simulate(
    alpha: ArrayLike,
    *,
    d: int,
    lam: ArrayLike,
    beta: float = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: float = 0.0,
    inputs: Inputs = None,
    init: str = "sphere",
    model: str = "srf",
    loss: LossLike = "square",
    labels: str = "real",
    flip: float = 0.0,
    replicates: int = 8,
    n_test: int | None = None,
    rng: Any = None,
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = None,
) -> Simulation:
    r"""Train networks of finite size and measure their errors.

    Inputs ``x ~ N(0, I_d)``, labels ``y = g(<theta, x>) + noise N(0, 1)``. Every replicate draws a
    first layer of ``p = round(beta d)`` neurons, ``n = round(alpha d)`` training samples and
    ``n_test`` test samples afresh and finds the readout that minimises
    ``sum_mu (y_mu - Phi_mu . a / sqrt p)^2 + lam |a|^2`` with ``Phi = sigma(X W^T)``, or
    ``sum_mu loss(y_mu, Phi_mu . a / sqrt p) + (lam/2) |a|^2`` with another loss.

    Parameters
    ----------
    alpha : float or array_like
        Samples over dimension, ``n/d``, > 0 and finite. Within a replicate the points of an array
        share the first layer, the test samples and the training samples: those of a smaller
        ``alpha`` are the first of a larger one's. Their errors are therefore correlated; each
        point is what a run of it alone with the same ``rng`` gives, to rounding.
    d : int
        Input dimension, >= 2.
    lam : float or array_like
        Ridge, >= 0; broadcasts against ``alpha``.
    beta : float
        Width over dimension, ``p/d``, > 0.
    activation : str, callable or (callable, derivative)
        Activation ``sigma``: a name (`spikedrf.activations.NAMES`) or a vectorised function.
    target : str, callable or MultiIndex
        Teacher function ``g``, of one direction or of several.
    step : GradientStep, Spike or None
        How the first layer was trained; None is no step, a list several steps, each on fresh
        samples. A `Spike` is for ``model="srf"`` only.
    noise : float
        Standard deviation of the label noise, >= 0.
    inputs : Covariance, Mixture or None
        Inputs with a covariance or of several classes; None is ``N(0, I_d)``. A power law has its
        d eigenvalues; nodes have the nearest numbers of dimensions.
    init : {"sphere", "gaussian", "sphere+gain", "gaussian+gain"}
        Rows of the first layer before the step: on the unit sphere, or ``N(0, I/d)``. The gain that
        `theory.solve` may be asked for is what a network does by itself, so that with
        ``model="network"`` the name with it means the same rows; ``model="srf"`` has none.
    model : {"srf", "network"}
        ``"srf"`` draws spiked random features, ``w_i = r_k v + sqrt(c_k) w~_i``: what the theory
        solves. ``"network"`` takes the gradient step, on ``n0 = round(alpha0 d)`` further samples.
    loss : str or Loss
        Loss of the readout, as for `theory.solve`; fitted by `spikedrf.readout.convex` to a
        relative accuracy of 1e-9 of the objective.
    labels : {"real", "sign"}
        Whether the readout learns ``y`` or its sign. The gradient step is of the squared loss on
        real labels in any case.
    flip : float
        Share of sign labels that are turned around, in [0, 0.5].
    replicates : int
        Independent repetitions, >= 1; standard errors need two.
    n_test : int, optional
        Test samples of each replicate; by default the larger of ``4 d`` and 2000.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the replicates' independent streams, as in `numpy.random.default_rng`. The same
        seed gives the same result whatever ``workers`` is, and more replicates repeat the first.
    workers : int, optional
        Replicates run at a time, as far as memory allows; by default what `joblib.parallel_config`
        says, or one for each core. They run on threads, unless that names another backend, such as
        ``"loky"`` for processes or ``"dask"`` for a cluster.
    checkpoint : str or path, optional
        A file that keeps the finished replicates (`spikedrf.running.checkpoint`); needs a seed.
        The same call with the same file goes on where another was interrupted or killed, and gives
        the same result bit for bit; with more ``replicates`` it adds to them.
    progress : callable or bool, optional
        Called as ``progress(finished, replicates)`` after each replicate, which with a checkpoint
        is on the disk by then; True shows a bar, which needs tqdm.

    Returns
    -------
    Simulation
        Means over the replicates with their standard errors. Scalars in, scalars out.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, if ``model="network"`` is asked for
        the limit ``alpha0 = inf`` or for a `Spike`, or if ``d`` is too small to realise the
        parameters; the message names the argument.
    MemoryError
        If a replicate needs more memory than there is; the message gives the bytes. Nothing has
        been allocated then.
    SimulationFailed
        If a replicate or ``progress`` fails; its ``partial`` holds the replicates that had
        finished. An error before any has finished is raised as it is.
    SimulationInterrupted
        On Ctrl-C; a `KeyboardInterrupt` whose ``partial`` holds the replicates that had finished.
    CheckpointMismatch
        If the checkpoint is that of another simulation; the message says what changed.
    OSError
        If the checkpoint cannot be read or written.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if fits of the readout did not reach their accuracy.

    Notes
    -----
    Source: theory.md, sections 1, 2, 8 and 11. Memory of one replicate is ``O(p^2 + p d)``, and
    ``O(n0 d)`` for the step: features are made in blocks; with ``n < p`` the readout comes from
    the ``n x n`` kernel matrix. With another loss or sign labels it is ``O(n p + p d)``.

    Examples
    --------
    >>> from spikedrf import GradientStep, simulate, theory
    >>> model = {"lam": 0.1, "target": "sin", "step": GradientStep(eta=3.0, alpha0=20.0)}
    >>> simulation = simulate([0.5, 2.0], d=100, replicates=4, rng=0, **model)
    >>> simulation.z(theory.solve([0.5, 2.0], **model))["test_error"].shape
    (2,)
    """
    kind = losses.resolve(loss)
    labels = losses.check_labels(labels, kind, numbers_of(inputs))
    plan, parameters, shape = _plan(
        alpha=alpha, d=d, lam=lam, beta=beta, activation=activation, target=target, step=step,
        noise=noise, model=model, n_test=n_test, loss=kind, labels=labels, flip=flip, inputs=inputs,
        init=init,
    )  # fmt: skip
    count = integer("replicates", replicates)
    at_a_time = min(worker_count(workers), count)
    streams = streams_of(rng, count)
    at_a_time = fit_memory(plan.bytes, at_a_time, plan.needs)
    collect = partial(_collect, plan, parameters=parameters | {"model": model}, shape=shape)
    about = partial(plan.specification, parameters, step, streams[0])
    with kept(checkpoint, rng, about) as file:
        return replicate(partial(_replicate, plan), streams, at_a_time, progress, collect, file)


# --------------------------------------------------------------------------------------------------
# What is to be done


@dataclass(frozen=True)
class _Plan:
    """One replicate; the points are flat."""

    network: Network
    n: Integers
    lam: Floats
    n_test: int
    loss: Loss

    @property
    def ridge(self) -> bool:
        """Whether the readout is ridge regression of real labels."""
        return self.network.labels == "real" and self.loss == _RIDGE

    @property
    def kernel_size(self) -> int:
        """Largest ``n`` that is solved through the kernel matrix, 0 if none."""
        return int(np.max(self.n, where=self.n < self.network.p, initial=0))

    @property
    def primal(self) -> bool:
        """Whether any point is solved through the Gram matrix of the features."""
        return bool(np.any(self.n >= self.network.p))

    @property
    def bytes(self) -> int:
        """Peak memory of a replicate: matrices of doubles, generously counted."""
        network = self.network
        layer = network.p * network.d
        blocks = network.block * 2 * (network.d + network.p)
        if not self.ridge:
            n = int(self.n.max())
            rank = min(n, network.p)
            fit = 4 * n * network.p + 4 * rank**2 + rank * network.p
            return max(8 * (layer + blocks + fit), network.layer_bytes)
        head = self.kernel_size * network.p * (3 if (self.lam == 0).any() else 1)
        gram = network.p**2 if self.primal else 0
        by_rows, by_features = 3 * self.kernel_size**2, 3 * gram
        if np.unique(self.n, return_counts=True)[1].max() >= _PATH:
            by_rows, by_features = 2 * by_rows, 2 * by_features
        # The Gram matrix of the features is there while kernel matrices are solved.
        readout = layer + blocks + head + max(by_features, by_rows + gram)
        return max(8 * readout, network.layer_bytes)

    @property
    def needs(self) -> str:
        """What needs these bytes."""
        network = self.network
        step = f", n0 = {network.n0}" if network.n0 else ""
        return f"d = {network.d}, p = {network.p}, n up to {int(self.n.max())}{step}"

    def specification(
        self,
        parameters: dict[str, Any],
        step: StepLike,
        stream: np.random.Generator,
    ) -> dict[str, Any]:
        """Everything that a replicate depends on; ``stream`` is that of the first."""
        return {
            "command": "simulate",
            **parameters,
            **specification(self.network, step, stream),
            "loss": self.loss.name,
            "n_test": self.n_test,
        }


def _plan(
    *,
    alpha: ArrayLike,
    d: Any,
    lam: ArrayLike,
    beta: Any = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: Any = 0.0,
    model: str = "srf",
    n_test: Any = None,
    loss: Loss = _RIDGE,
    labels: str = "real",
    flip: Any = 0.0,
    inputs: Inputs = None,
    init: str = "sphere",
) -> tuple[_Plan, dict[str, Any], tuple[int, ...]]:
    """Hold the arguments against their ranges and turn ratios into sizes."""
    points = {
        "alpha": real_array("alpha", alpha, minimum=0.0, exclusive=True),
        "lam": real_array("lam", lam, minimum=0.0),
    }
    for name, value in points.items():
        if value.size == 0:
            raise ValueError(f"{name} is empty: there is nothing to simulate")
    network = make_network(
        model, d, beta, activation, target, step, noise, labels, flip, inputs, init
    )
    tests = max(4 * network.d, 2000) if n_test is None else integer("n_test", n_test)
    shape = broadcast_shape({name: value.shape for name, value in points.items()})
    flat = {name: np.broadcast_to(value, shape).ravel() for name, value in points.items()}
    plan = _Plan(network, sample_sizes(flat["alpha"], network.d), flat["lam"], tests, loss)
    if not plan.ridge and (plan.lam == 0).any():
        raise ValueError(f"lam must be > 0 with loss {loss.name!r} and labels={labels!r}")
    return plan, points | network.parameters(step) | vars(loss), shape


# --------------------------------------------------------------------------------------------------
# One replicate


def _replicate(plan: _Plan, rng: np.random.Generator, stop: Stop) -> Measured:
    """Return the errors of every point, shape (points,), and what the first layer shows."""
    for_layer, for_training, for_test = rng.spawn(3)
    network = plan.network
    layer = first_layer(network, for_layer)
    unfinished = 0
    if plan.ridge:
        readouts, train_error = _train(plan, layer, for_training, stop)
        measured = {"train_error": train_error, "train_loss": 0.5 * train_error}
    else:
        readouts, measured, success = convex.train(
            network, layer, plan.loss, plan.n, plan.lam, for_training, stop
        )
        unfinished = int(np.count_nonzero(~success))
    measured |= _test(plan, layer, readouts, for_test, stop)
    measured["norm"] = np.sum(readouts**2, axis=0) / network.p
    return measured | layer.measured | {_UNFINISHED: np.array(unfinished)}


def _train(
    plan: _Plan, layer: DrawnLayer, rng: np.random.Generator, stop: Stop
) -> tuple[Floats, Floats]:
    """Return the readouts as columns, and the training error, of every point.

    Samples stream by once. What has ``n < p`` is solved from the features of the first samples,
    which are kept; from ``n = p`` on only their Gram matrix is.
    """
    from spikedrf.features import feature_map
    from spikedrf.readout.ridge import RidgeStatistics, ridge_readout

    readouts = np.empty((plan.network.p, plan.n.size))
    train_error = np.empty(plan.n.size)
    head = np.empty((plan.kernel_size, plan.network.p))
    labels = np.empty(plan.kernel_size)
    statistics = RidgeStatistics(plan.network.p, np.float64) if plan.primal else None
    # With weights of the classes the fit is of weighted rows, the training error of all alike.
    weight = plan.network.class_weights
    root = np.ones(plan.kernel_size)
    even = statistics
    if statistics is not None and weight is not None:
        even = RidgeStatistics(plan.network.p, np.float64)
    samples = Samples(plan.network, layer, rng, plan.network.block)
    features = np.empty((plan.network.block, plan.network.p)) if plan.primal else head
    seen = 0
    for n in np.unique(plan.n).tolist():
        while seen < n:
            stop.check()
            rows = min(plan.network.block, n - seen)
            x, y = samples.draw(rows)
            kept = seen < plan.kernel_size
            phi = head[seen : seen + rows] if kept else features[:rows]
            feature_map(x, layer.W, plan.network.sigma, out=phi)
            if even is not None and even is not statistics:
                even.update(phi, y)
            if weight is not None:
                scale = np.sqrt(weight[samples.classes])
                phi *= scale[:, None]
                y = y * scale
                if kept:
                    root[seen : seen + rows] = scale
            if kept:
                labels[seen : seen + rows] = y
            if statistics is not None:
                statistics.update(phi, y)
            seen += rows
        here = np.flatnonzero(plan.n == n)
        solve: Callable[[Any], Any]
        if n < plan.network.p:
            solve = partial(ridge_readout, head[:n], labels[:n])
        else:
            assert statistics is not None
            solve = statistics.solve
        if here.size >= _PATH:
            readouts[:, here] = solve(plan.lam[here]).T
        else:
            for i in here:
                stop.check()
                readouts[:, i] = solve(float(plan.lam[i]))
        if n < plan.network.p:
            residual = labels[:n, None] - head[:n] @ readouts[:, here] / np.sqrt(plan.network.p)
            train_error[here] = np.mean((residual / root[:n, None]) ** 2, axis=0)
        else:
            assert even is not None
            train_error[here] = even.train_error(readouts[:, here].T)
    return readouts, train_error


def _test(
    plan: _Plan, layer: DrawnLayer, readouts: Floats, rng: np.random.Generator, stop: Stop
) -> dict[str, Floats]:
    from spikedrf.features import feature_map

    samples = Samples(plan.network, layer, rng, plan.network.block)
    features = np.empty((plan.network.block, plan.network.p))
    scaled = readouts / np.sqrt(plan.network.p)
    total: dict[str, Floats] = {}
    by_class = ClassErrors(plan.network, plan.n.size)
    for start in range(0, plan.n_test, plan.network.block):
        stop.check()
        rows = min(plan.network.block, plan.n_test - start)
        x, y = samples.draw(rows)
        phi = feature_map(x, layer.W, plan.network.sigma, out=features[:rows])
        h = phi @ scaled
        means = convex.measure(plan.network.labels, plan.loss, y, h)
        for name, mean in means.items():
            total[name] = total.get(name, np.zeros(plan.n.size)) + rows * mean
        by_class.add(samples.classes, y, h)
    measured = {convex.TEST[name]: value / plan.n_test for name, value in total.items()}
    return measured | by_class.means()


# --------------------------------------------------------------------------------------------------
# All replicates


def _collect(
    plan: _Plan, finished: dict[int, Measured], parameters: dict[str, Any], shape: tuple[int, ...]
) -> Simulation:
    completed = sorted(finished)
    results = [finished[i] for i in completed]
    samples = {
        name: np.stack([result[name] for result in results])
        for name in _OF_POINTS + _OF_CLASSES + _OF_LAYERS
        if name in results[0]
    }
    samples |= {
        name: sample.reshape(len(results), *shape, *sample.shape[2:])
        for name, sample in samples.items()
        if name in _OF_POINTS + _OF_CLASSES
    }
    unfinished = sum(int(result[_UNFINISHED]) for result in results)
    if unfinished:
        warnings.warn(
            f"{unfinished} of {len(results) * plan.n.size} fits of the readout did not reach their "
            f"accuracy: raise lam",
            ConvergenceWarning,
            stacklevel=4,
        )
    values: dict[str, Any] = {}
    for name, sample in samples.items():
        values[name] = sample.mean(axis=0)[()]
        spread = np.full(sample.shape[1:], np.nan)
        if len(results) > 1:
            spread = sample.std(axis=0, ddof=1) / np.sqrt(len(results))
        values[f"{name}_sem"] = spread[()]
    return Simulation(
        **values,
        samples=samples,
        completed=np.array(completed, dtype=np.int64),
        model=plan.network.model,
        d=plan.network.d,
        p=plan.network.p,
        n=plan.n.reshape(shape) if shape else int(plan.n[0]),
        n_test=plan.n_test,
        n0=plan.network.n0 or None,
        loss=plan.loss.name,
        labels=plan.network.labels,
        parameters=parameters,
    )
