"""Finite-size experiments: the spiked model and the trained network itself, with error bars."""

from __future__ import annotations

import operator
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.memory import available_memory
from spikedrf.parameters import real_array
from spikedrf.progress import Progress, reporting
from spikedrf.step import GradientStep, Spike
from spikedrf.theory.batch import broadcast_shape
from spikedrf.theory.solution import Solution
from spikedrf.workers import cores, thread_count

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ERRORS = ("test_error", "train_error", "norm")
_MEASURED = ("r", "c", "gamma")

# From so many penalties at one n on, one eigendecomposition is cheaper than Cholesky for each.
_PATH = 24


class SimulationFailed(RuntimeError):
    """A replicate failed; the exception is the ``__cause__``.

    Attributes
    ----------
    partial : Simulation
        The replicates that had finished.
    """

    def __init__(self, message: str, partial: Simulation) -> None:
        super().__init__(message)
        self.partial = partial


class SimulationInterrupted(KeyboardInterrupt):
    """A simulation was interrupted from the keyboard.

    Attributes
    ----------
    partial : Simulation or None
        The replicates that had finished, None if there were none.
    """

    def __init__(self, message: str, partial: Simulation | None) -> None:
        super().__init__(message)
        self.partial = partial


class _Stopped(Exception):
    """Another replicate failed, or the caller gave up: what this one has done is not needed."""


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    r"""Errors of networks of finite size, averaged over replicates.

    The quantities are those of `spikedrf.theory.Solution`. Each comes with its standard error
    over the replicates (``..._sem``), NaN for a single replicate. The points of a curve are
    correlated within a replicate: they share its first layer and its samples.

    Attributes
    ----------
    test_error, test_error_sem : float or ndarray, shape S
        Mean squared error on fresh samples, label noise included; ``S`` is the broadcast shape of
        ``alpha`` and ``lam``.
    train_error, train_error_sem : float or ndarray, shape S
        Mean squared training residual.
    norm, norm_sem : float or ndarray, shape S
        ``|a|^2 / p`` of the readout.
    r, r_sem, c, c_sem : ndarray, shape (K,), or None
        Spike strength and bulk variance of each readout group, measured on the trained first
        layers; None unless ``model="network"`` took a step.
    gamma, gamma_sem : float or None
        Alignment of the measured spike with the target direction; None like ``r``.
    samples : dict of ndarray, shape (replicates, ...)
        Every quantity above for each finished replicate.
    completed : ndarray of int
        Numbers of the finished replicates, in the order of ``samples``.
    model : str
        ``"srf"`` or ``"network"``.
    d, p, n_test : int
        Input dimension, width, and test samples of one replicate.
    n : int or ndarray, shape S
        Training samples.
    n0 : int or None
        Samples of the gradient step, None unless ``model="network"`` took one.
    parameters : dict
        The parameters as given, for labels.
    """

    test_error: Any
    test_error_sem: Any
    train_error: Any
    train_error_sem: Any
    norm: Any
    norm_sem: Any
    samples: dict[str, Floats]
    completed: Integers
    model: str
    d: int
    p: int
    n: Any
    n_test: int
    n0: int | None = None
    r: Floats | None = None
    r_sem: Floats | None = None
    c: Floats | None = None
    c_sem: Floats | None = None
    gamma: float | None = None
    gamma_sem: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of ``alpha`` and ``lam``."""
        return np.shape(self.test_error)

    @property
    def replicates(self) -> int:
        """Number of finished replicates."""
        return self.completed.size

    def z(self, solution: Solution) -> dict[str, Any]:
        r"""Return how many standard errors the simulation lies above a theory.

        ``(simulation - theory) / sem``. With few replicates the standard error is itself
        uncertain: ``z`` follows Student's distribution with ``replicates - 1`` degrees of freedom.

        Parameters
        ----------
        solution : Solution
            Theory of the same points. Its ``alpha`` and ``beta`` may be the realised ``n/d`` and
            ``p/d``.

        Returns
        -------
        dict of float or ndarray, shape S
            Keys ``test_error``, ``train_error``, ``norm``.

        Raises
        ------
        ValueError
            If the shapes differ, or ``alpha``, ``beta``, ``lam`` or ``noise`` are others.
        """
        if solution.shape != self.shape:
            raise ValueError(
                f"the solution has shape {solution.shape}, the simulation {self.shape}"
            )
        for name in ("alpha", "beta", "lam", "noise"):
            if name not in solution.parameters or name not in self.parameters:
                continue
            theirs = np.asarray(solution.parameters[name], dtype=np.float64)
            ours = np.asarray(self.parameters[name], dtype=np.float64)
            slack = 0.51 / self.d if name in ("alpha", "beta") else 0.0
            if not np.allclose(theirs, ours, rtol=1e-9, atol=slack):
                raise ValueError(f"the solution has another {name}: {theirs}, not {ours}")
        scores = {}
        for name in _ERRORS:
            with np.errstate(divide="ignore", invalid="ignore"):
                distance = np.subtract(getattr(self, name), getattr(solution, name))
                scores[name] = np.divide(distance, getattr(self, f"{name}_sem"))[()]
        return scores

    def __repr__(self) -> str:
        head = f"Simulation(model={self.model!r}, d={self.d}, replicates={self.replicates}"
        if self.shape:
            span = "no points"
            if np.size(self.test_error):
                span = f"test_error {np.min(self.test_error):.4g} to {np.max(self.test_error):.4g}"
            return f"{head}, shape={self.shape}, {span})"
        errors = (
            f"{name}={getattr(self, name):.5g}+-{getattr(self, f'{name}_sem'):.2g}"
            for name in _ERRORS
        )
        return f"{head}, {', '.join(errors)})"


def simulate(
    alpha: ArrayLike,
    *,
    d: int,
    lam: ArrayLike,
    beta: float = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike = "tanh",
    step: GradientStep | Spike | None = None,
    noise: float = 0.0,
    model: str = "srf",
    replicates: int = 8,
    n_test: int | None = None,
    rng: Any = None,
    workers: int | None = None,
    progress: Progress | bool | None = None,
) -> Simulation:
    r"""Train networks of finite size and measure their errors.

    Inputs ``x ~ N(0, I_d)``, labels ``y = g(<theta, x>) + noise N(0, 1)``. Every replicate draws a
    first layer of ``p = round(beta d)`` neurons, ``n = round(alpha d)`` training samples and
    ``n_test`` test samples afresh and finds the readout that minimises
    ``sum_mu (y_mu - Phi_mu . a / sqrt p)^2 + lam |a|^2`` with ``Phi = sigma(X W^T)``.

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
    target : str or callable
        Teacher function ``g``.
    step : GradientStep, Spike or None
        How the first layer was trained; None is no step. A `Spike` is for ``model="srf"`` only.
    noise : float
        Standard deviation of the label noise, >= 0.
    model : {"srf", "network"}
        ``"srf"`` draws spiked random features, ``w_i = r_k v + sqrt(c_k) w~_i``: what the theory
        solves. ``"network"`` takes the gradient step, on ``n0 = round(alpha0 d)`` further samples.
    replicates : int
        Independent repetitions, >= 1; standard errors need two.
    n_test : int, optional
        Test samples of each replicate; by default the larger of ``4 d`` and 2000.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the replicates' independent streams, as in `numpy.random.default_rng`. The same
        seed gives the same result whatever ``workers`` is, and more replicates repeat the first.
    workers : int, optional
        Replicates run at a time, each on one BLAS thread; by default one for each core, as
        far as memory allows.
    progress : callable or bool, optional
        Called as ``progress(finished, replicates)`` after each replicate; True shows a bar,
        which needs tqdm.

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

    Notes
    -----
    Source: theory.md, sections 1, 2 and 8. Memory of one replicate is ``O(p^2 + p d)``, and
    ``O(n0 d)`` for the step: features are made in blocks; with ``n < p`` the readout comes from
    the ``n x n`` kernel matrix.

    Examples
    --------
    >>> from spikedrf import GradientStep, simulate, theory
    >>> model = {"lam": 0.1, "target": "sin", "step": GradientStep(eta=3.0, alpha0=20.0)}
    >>> simulation = simulate([0.5, 2.0], d=100, replicates=4, rng=0, **model)
    >>> simulation.z(theory.solve([0.5, 2.0], **model))["test_error"].shape
    (2,)
    """
    plan, parameters, shape = _plan(
        alpha, d, lam, beta, activation, target, step, noise, model, n_test
    )
    count = _size("replicates", replicates)
    threads = min(thread_count(workers) or cores(), count)
    try:
        streams = np.random.default_rng(rng).spawn(count)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a seed or a numpy random generator, got {rng!r} ({error})"
        ) from None
    threads = _fit_memory(plan, threads)

    def collect(finished: dict[int, _Result]) -> Simulation:
        return _collect(plan, finished, parameters | {"model": model}, shape)

    with reporting(progress, count, "replicate") as report:
        finished, failure = _run(plan, streams, threads, report)
    if failure is None:
        return collect(finished)
    partial = collect(finished) if finished else None
    told = f"after {len(finished)} of {count} replicates"
    if isinstance(failure, KeyboardInterrupt):
        raise SimulationInterrupted(f"interrupted {told}", partial) from None
    if partial is None or not isinstance(failure, Exception):
        raise failure
    raise SimulationFailed(
        f"{type(failure).__name__} {told}, which are in .partial: {failure}", partial
    ) from failure


# --------------------------------------------------------------------------------------------------
# What is to be done


@dataclass(frozen=True)
class _Plan:
    """One replicate, in numbers; the points are flat."""

    model: str
    sigma: Activation
    g: Activation
    noise: float
    d: int
    p: int
    n: Integers
    lam: Floats
    n_test: int
    groups: Integers  # neurons in each
    spike: tuple[Floats, Floats, float] | None  # r, c, gamma of the srf
    eta: float = 0.0
    u: Floats = field(default_factory=lambda: np.ones(1))
    n0: int = 0

    @property
    def kernel_size(self) -> int:
        """Largest ``n`` that is solved through the kernel matrix, 0 if none."""
        return int(np.max(self.n, where=self.n < self.p, initial=0))

    @property
    def primal(self) -> bool:
        """Whether any point is solved through the Gram matrix of the features."""
        return bool(np.any(self.n >= self.p))

    @property
    def block(self) -> int:
        """Samples handled at a time."""
        return int(np.clip((1 << 20) // (self.d + self.p), 128, 1024))

    @property
    def bytes(self) -> int:
        """Peak memory of a replicate: matrices of doubles, generously counted."""
        layer = self.p * self.d
        blocks = self.block * 2 * (self.d + self.p)
        head = self.kernel_size * self.p * (3 if (self.lam == 0).any() else 1)
        dual, primal = 3 * self.kernel_size**2, 3 * self.p**2 if self.primal else 0
        if np.unique(self.n, return_counts=True)[1].max() >= _PATH:
            dual, primal = 2 * dual, 2 * primal
        # The Gram matrix of the features is there while kernel matrices are solved.
        readout = layer + blocks + head + max(primal, dual + (self.p**2 if self.primal else 0))
        step = (4 * layer if self.n0 else 2 * layer) + self.n0 * self.d + blocks
        return 8 * max(readout, step)


def _plan(
    alpha: ArrayLike,
    d: Any,
    lam: ArrayLike,
    beta: Any,
    activation: FunctionLike,
    target: FunctionLike,
    step: GradientStep | Spike | None,
    noise: Any,
    model: str,
    n_test: Any,
) -> tuple[_Plan, dict[str, Any], tuple[int, ...]]:
    """Hold the arguments against their ranges and turn ratios into sizes."""
    sigma = resolve(activation, "activation")
    g = resolve(target, "target")
    if model not in ("srf", "network"):
        raise ValueError(f"model must be 'srf' or 'network', got {model!r}")
    dimension = _size("d", d, minimum=2)
    tests = max(4 * dimension, 2000) if n_test is None else _size("n_test", n_test)
    points = {
        "alpha": real_array("alpha", alpha, minimum=0.0, exclusive=True),
        "lam": real_array("lam", lam, minimum=0.0),
    }
    for name, value in points.items():
        if value.size == 0:
            raise ValueError(f"{name} is empty: there is nothing to simulate")
    ratio = _scalar("beta", beta, minimum=0.0, exclusive=True)
    sd = _scalar("noise", noise, minimum=0.0)
    shape = broadcast_shape({name: value.shape for name, value in points.items()})
    flat = {name: np.broadcast_to(value, shape).ravel() for name, value in points.items()}
    n = np.rint(flat["alpha"] * dimension).astype(np.int64)
    if n.min() < 1:
        smallest = float(flat["alpha"].min())
        raise ValueError(
            f"d = {dimension} is too small for alpha = {smallest:g}: round(alpha d) is no sample"
        )
    p = round(ratio * dimension)
    if p < 1:
        raise ValueError(
            f"d = {dimension} is too small for beta = {ratio:g}: round(beta d) is no neuron"
        )
    common: dict[str, Any] = {
        "model": model, "sigma": sigma, "g": g, "noise": sd, "d": dimension, "p": p, "n": n,
        "lam": flat["lam"], "n_test": tests,
    }  # fmt: skip
    if model == "srf":
        r, c, gamma, pi = _spike(step, sigma, g, sd)
        plan = _Plan(**common, groups=_group_sizes(p, pi), spike=(r, c, gamma))
    else:
        plan = _Plan(**common, **_network(step, sigma, dimension, p), spike=None)
    parameters = {
        "alpha": points["alpha"], "lam": points["lam"], "beta": ratio, "noise": sd,
        "activation": sigma.name, "target": g.name, "step": step,
    }  # fmt: skip
    return plan, parameters, shape


def _size(name: str, value: Any, minimum: int = 1) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if size < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {size}")
    return size


def _scalar(name: str, value: Any, **limits: Any) -> float:
    array = real_array(name, value, **limits)
    if array.ndim:
        raise ValueError(
            f"{name} must be one number, got an array of shape {array.shape}: within one "
            f"simulation only alpha and lam may vary"
        )
    return float(array)


def _spike(
    step: GradientStep | Spike | None, sigma: Activation, g: Activation, noise: float
) -> tuple[Floats, Floats, float, Floats]:
    """Return ``r, c, gamma, pi`` of the one spiked model that is to be drawn."""
    if step is None:
        step = Spike(r=0.0, c=1.0, gamma=0.0)
    elif isinstance(step, GradientStep):
        step = step.spike(sigma, g, noise)
    elif not isinstance(step, Spike):
        raise TypeError(f"step must be a GradientStep, a Spike or None, got {step!r}")
    r, c, gamma, pi = step.arrays()
    for name, value, ndim in (("r", r, 1), ("c", c, 1), ("gamma", gamma, 0), ("pi", pi, 1)):
        if value.ndim > ndim:
            raise ValueError(
                f"step must be a single spike, but its {name} has shape {value.shape}: within one "
                f"simulation only alpha and lam may vary"
            )
    return r, c, float(gamma), pi


def _network(
    step: GradientStep | Spike | None, sigma: Activation, d: int, p: int
) -> dict[str, Any]:
    """Return groups and step of a first layer that is really trained."""
    if isinstance(step, Spike):
        raise ValueError("model='network' takes a GradientStep or no step, not a Spike")
    if step is None:
        return {"groups": _group_sizes(p, np.ones(1))}
    if not isinstance(step, GradientStep):
        raise TypeError(f"step must be a GradientStep or None, got {step!r}")
    u = np.atleast_1d(np.asarray(step.u, dtype=np.float64))
    groups = u.shape[-1] if step.pi is None else step.pi.shape[-1]
    pi = np.full(groups, 1.0 / groups) if step.pi is None else step.pi
    for name, ndim in (("eta", 0), ("alpha0", 0)):
        if np.ndim(getattr(step, name)) > ndim:
            raise ValueError(
                f"step must be a single step, but its {name} is an array: within one "
                f"simulation only alpha and lam may vary"
            )
    if u.ndim > 1 or pi.ndim > 1:
        raise ValueError("step must be a single step, but its u or pi has more than one axis")
    alpha0 = float(step.alpha0)
    if step.eta == 0 or alpha0 == 0:
        return {"groups": _group_sizes(p, np.ones(1))}
    if alpha0 == np.inf:
        raise ValueError(
            "alpha0 = inf cannot be simulated with model='network': the step would need "
            "infinitely many samples; use a finite alpha0, or model='srf'"
        )
    if not sigma.differentiable or (sigma.code is None and sigma.slope is None):
        raise ValueError(
            f"activation={sigma.name!r} has no derivative for model='network' to take a gradient "
            f"step with: use a differentiable one, and give a callable as (function, derivative)"
        )
    n0 = round(alpha0 * d)
    if n0 < 1:
        raise ValueError(f"d = {d} is too small for alpha0 = {alpha0:g}: round(alpha0 d) is 0")
    return {
        "groups": _group_sizes(p, pi),
        "u": np.broadcast_to(u, groups),
        "eta": float(step.eta),
        "n0": n0,
    }


def _group_sizes(p: int, pi: Floats) -> Integers:
    """Integers closest to ``p pi_k`` that sum to ``p`` (largest remainders)."""
    sizes = np.floor(p * pi).astype(np.int64)
    order = np.argsort(sizes - p * pi, kind="stable")
    sizes[order[: p - sizes.sum()]] += 1
    empty = (sizes == 0) & (pi > 0)
    if empty.any():
        raise ValueError(
            f"d is too small: of p = {p} neurons none is left for the readout group with "
            f"pi = {float(pi[empty][0]):g}"
        )
    return sizes


def _fit_memory(plan: _Plan, threads: int) -> int:
    """Return how many replicates fit at a time, at most ``threads``; refuse if none does."""
    available = available_memory()
    if available is None:
        return threads
    if plan.bytes > available:
        raise MemoryError(
            f"d = {plan.d}, p = {plan.p}, n up to {int(plan.n.max())}"
            + (f", n0 = {plan.n0}" if plan.n0 else "")
            + f" need about {plan.bytes} bytes, but only {available} are available; "
            f"d must be smaller"
        )
    return max(1, min(threads, available // plan.bytes))


# --------------------------------------------------------------------------------------------------
# One replicate


@dataclass(frozen=True)
class _Result:
    errors: Floats  # (3, points)
    measured: dict[str, Floats]


@dataclass(frozen=True)
class _Layer:
    """A first layer, and the target direction on the first two axes."""

    W: Floats
    theta: tuple[float, float]
    measured: dict[str, Floats] = field(default_factory=dict)


class _Samples:
    """A stream of samples; how it is cut into blocks does not change it."""

    def __init__(
        self, plan: _Plan, theta: tuple[float, float], rng: np.random.Generator, rows: int
    ) -> None:
        self._plan = plan
        self._theta = theta
        self._inputs, self._noise = rng.spawn(2)
        self._buffer = np.empty((rows, plan.d))

    def draw(self, rows: int) -> tuple[Floats, Floats]:
        """Return the next inputs, valid until the next call, and their labels."""
        x = self._inputs.standard_normal(out=self._buffer[:rows])
        y = self._plan.g(x[:, :2] @ np.array(self._theta))
        if self._plan.noise:
            y = y + self._plan.noise * self._noise.standard_normal(rows)
        return x, y


def _replicate(plan: _Plan, rng: np.random.Generator, stop: Event) -> _Result:
    for_layer, for_training, for_test = rng.spawn(3)
    layer = (_spiked_layer if plan.model == "srf" else _trained_layer)(plan, for_layer)
    readouts, train_error = _train(plan, layer, for_training, stop)
    test_error = _test(plan, layer, readouts, for_test, stop)
    norm = np.sum(readouts**2, axis=0) / plan.p
    return _Result(np.stack([test_error, train_error, norm]), layer.measured)


def _uniform_rows(plan: _Plan, rng: np.random.Generator) -> Floats:
    W = rng.standard_normal((plan.p, plan.d))
    W /= np.sqrt(np.einsum("ij,ij->i", W, W))[:, None]
    return W


def _spiked_layer(plan: _Plan, rng: np.random.Generator) -> _Layer:
    """Draw ``w_i = r_k v + sqrt(c_k) w~_i``; by rotation invariance v is the first axis."""
    assert plan.spike is not None
    r, c, gamma = plan.spike
    W = _uniform_rows(plan, rng)
    W *= np.sqrt(np.repeat(c, plan.groups))[:, None]
    W[:, 0] += np.repeat(r, plan.groups)
    return _Layer(W, (gamma, float(np.sqrt((1.0 - gamma) * (1.0 + gamma)))))


def _trained_layer(plan: _Plan, rng: np.random.Generator) -> _Layer:
    """Take the gradient step; by rotation invariance theta is the first axis."""
    theta = (1.0, 0.0)
    for_weights, for_samples = rng.spawn(2)
    W = _uniform_rows(plan, for_weights)
    if not plan.n0:
        return _Layer(W, theta)
    x, y = _Samples(plan, theta, for_samples, plan.n0).draw(plan.n0)
    from spikedrf.first_layer import gradient_step

    direction = np.zeros(plan.d)
    direction[0] = 1.0
    a = np.repeat(plan.u, plan.groups)
    trained = gradient_step(x, y, W, a, plan.sigma, plan.eta, theta=direction)
    # It knows the groups by their values; groups of one value are one, without neurons none.
    which = [np.flatnonzero(trained.u == u) for u in plan.u]
    measured = {
        name: np.array([value[k[0]] if k.size else np.nan for k in which])
        for name, value in (("r", trained.r), ("c", trained.c))
    }
    assert trained.gamma is not None
    measured["gamma"] = np.asarray(trained.gamma)
    return _Layer(trained.W, theta, measured)


def _train(
    plan: _Plan, layer: _Layer, rng: np.random.Generator, stop: Event
) -> tuple[Floats, Floats]:
    """Return the readouts as columns, and the training error, of every point.

    Samples stream by once. What has ``n < p`` is solved from the features of the first samples,
    which are kept; from ``n = p`` on only their Gram matrix is.
    """
    from spikedrf.features import feature_map
    from spikedrf.ridge import RidgeStatistics, ridge_readout

    readouts = np.empty((plan.p, plan.n.size))
    train_error = np.empty(plan.n.size)
    head = np.empty((plan.kernel_size, plan.p))
    labels = np.empty(plan.kernel_size)
    statistics = RidgeStatistics(plan.p, np.float64) if plan.primal else None
    samples = _Samples(plan, layer.theta, rng, plan.block)
    features = np.empty((plan.block, plan.p)) if plan.primal else head
    seen = 0
    for n in np.unique(plan.n).tolist():
        while seen < n:
            if stop.is_set():
                raise _Stopped
            rows = min(plan.block, n - seen)
            x, y = samples.draw(rows)
            kept = seen < plan.kernel_size
            phi = head[seen : seen + rows] if kept else features[:rows]
            feature_map(x, layer.W, plan.sigma, out=phi)
            if kept:
                labels[seen : seen + rows] = y
            if statistics is not None:
                statistics.update(phi, y)
            seen += rows
        here = np.flatnonzero(plan.n == n)
        solve: Callable[[Any], Any]
        if n < plan.p:
            solve = partial(ridge_readout, head[:n], labels[:n])
        else:
            assert statistics is not None
            solve = statistics.solve
        if here.size >= _PATH:
            readouts[:, here] = solve(plan.lam[here]).T
        else:
            for i in here:
                if stop.is_set():
                    raise _Stopped
                readouts[:, i] = solve(float(plan.lam[i]))
        if n < plan.p:
            residual = labels[:n, None] - head[:n] @ readouts[:, here] / np.sqrt(plan.p)
            train_error[here] = np.mean(residual**2, axis=0)
        else:
            assert statistics is not None
            train_error[here] = statistics.train_error(readouts[:, here].T)
    return readouts, train_error


def _test(
    plan: _Plan, layer: _Layer, readouts: Floats, rng: np.random.Generator, stop: Event
) -> Floats:
    from spikedrf.features import feature_map

    samples = _Samples(plan, layer.theta, rng, plan.block)
    features = np.empty((plan.block, plan.p))
    scaled = readouts / np.sqrt(plan.p)
    total = np.zeros(plan.n.size)
    for start in range(0, plan.n_test, plan.block):
        if stop.is_set():
            raise _Stopped
        rows = min(plan.block, plan.n_test - start)
        x, y = samples.draw(rows)
        phi = feature_map(x, layer.W, plan.sigma, out=features[:rows])
        total += np.sum((y[:, None] - phi @ scaled) ** 2, axis=0)
    return total / plan.n_test


# --------------------------------------------------------------------------------------------------
# All replicates


def _run(
    plan: _Plan, streams: list[np.random.Generator], threads: int, report: Progress | None
) -> tuple[dict[int, _Result], BaseException | None]:
    """Return the finished replicates, and what stopped the others."""
    from threadpoolctl import threadpool_limits

    import spikedrf.ridge  # noqa: F401  (only a BLAS that is loaded can be limited: SciPy's here)

    finished: dict[int, _Result] = {}
    stop = Event()
    # Threads of BLAS per replicate: not by `workers`, on which the result must not depend.
    inner = max(1, cores() // len(streams))
    with threadpool_limits(inner, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        futures: dict[Future[_Result], int] = {}
        try:
            for i, stream in enumerate(streams):
                futures[pool.submit(_replicate, plan, stream, stop)] = i
            for future in as_completed(futures):
                finished[futures[future]] = future.result()
                if report is not None:
                    report(len(finished), len(streams))
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            for future, i in futures.items():
                if not future.cancelled() and future.exception() is None:
                    finished[i] = future.result()
            return finished, error
    return finished, None


def _collect(
    plan: _Plan, finished: dict[int, _Result], parameters: dict[str, Any], shape: tuple[int, ...]
) -> Simulation:
    completed = sorted(finished)
    results = [finished[i] for i in completed]
    errors = np.stack([result.errors for result in results], axis=1)
    samples = {name: errors[i].reshape(len(results), *shape) for i, name in enumerate(_ERRORS)} | {
        name: np.stack([result.measured[name] for result in results])
        for name in _MEASURED
        if name in results[0].measured
    }
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
        model=plan.model,
        d=plan.d,
        p=plan.p,
        n=plan.n.reshape(shape) if shape else int(plan.n[0]),
        n_test=plan.n_test,
        n0=plan.n0 or None,
        parameters=parameters,
    )
