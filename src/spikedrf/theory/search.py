"""The search for the best ridge and the best step, for a block of problems at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.first_layer.model import Producer
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import layers_on_inputs
from spikedrf.inputs.population import Population, Rows
from spikedrf.losses import Square
from spikedrf.running.workers import thread_count
from spikedrf.theory.batch import Floats, pose
from spikedrf.theory.gradient import gradient
from spikedrf.theory.latents.differences import Slopes
from spikedrf.theory.latents.solve import Learned
from spikedrf.theory.minimise import Integers, Minimum, minimise
from spikedrf.theory.solve import infinite_without_ridge

Bounds = Mapping[str, tuple[Floats, Floats]]

# In units of the power of the features: the ridge below which the error is smooth in lam rather
# than in its logarithm, and one that is as good as infinite; in units of the former, one that is 0.
_LAM_LEAST, _LAM_MOST, _NONE = 1e-8, 1e8, 1e-4

# The same under other losses and for sign labels, where a readout needs a ridge: smaller ones, and
# larger ones, change nothing that is worth their price.
_CONVEX_LEAST, _CONVEX_MOST = 1e-5, 1e4

# In units of 1/growth: the step up to which the error is smooth in eta, rather than in its
# logarithm, and the largest step that is tried.
_ETA_UNIT, _ETA_MOST = 1e-2, 30.0

# Spacing of the grids, in the logarithm of lam and of eta. Where lam enters, through Stieltjes
# transforms, nothing changes faster than on a scale of one; with eta several groups compete.
_LAM_SPACING, _ETA_SPACING = 0.75, 0.35

# Accuracy of the position, relative; the error there is then off by its square.
_TOLERANCE = 1e-8

# A test error with a larger estimated relative error than this is not known at all.
_UNKNOWN = 1e-2

# A step that is as good as infinite, to see what neurons grow by.
_FAR = 1e6

# The parameters of a problem that are numbers, those of the step aside.
_NUMBERS = ("alpha", "beta", "lam", "noise", "flip")

# So many points are solved at a time.
_POINTS = 1 << 18


@dataclass(frozen=True, eq=False)
class Problems:
    """Problems to be solved, one after the other along the first axis of every array.

    Attributes
    ----------
    values : dict of ndarray
        ``alpha, beta, lam, noise``, with sign labels ``flip``, the parameters of the step that may
        be arrays, and bounds as ``lowest lam`` and so on, NaN where there is the default.
    step : Producer
        The step, whose arrays are among the values.
    """

    values: dict[str, Floats]
    step: Producer

    @classmethod
    def posed(
        cls,
        parameters: Mapping[str, Any],
        step: StepLike,
        bounds: Bounds,
        shape: tuple[int, ...],
    ) -> Problems:
        """Broadcast the parameters to a shape, and flatten them."""
        scalars = {name: parameters[name] for name in _NUMBERS if name in parameters}
        producer = producer_of(step)
        vectors: dict[str, Any] = {}
        for name, value in producer.varying.items():
            (vectors if name in producer.per_group else scalars)[name] = value
        for name, (lowest, highest) in bounds.items():
            scalars |= {f"lowest {name}": lowest, f"highest {name}": highest}
        flat = {name: np.broadcast_to(value, shape).ravel() for name, value in scalars.items()}
        for name, value in vectors.items():
            array = np.atleast_1d(np.asarray(value, dtype=np.float64))
            groups = array.shape[-1:]
            flat[name] = np.broadcast_to(array, shape + groups).reshape(-1, *groups)
        return cls(flat, producer)

    @property
    def size(self) -> int:
        """Number of problems."""
        return self.values["alpha"].size

    @property
    def groups(self) -> int:
        """Number of readout groups."""
        given = self.values.get("u", self.step.parameters.get("u", 1.0))
        return int(np.atleast_1d(given).shape[-1])

    def take(self, which: Integers) -> Problems:
        """Return some of the problems, any number of times."""
        return replace(self, values={name: value[which] for name, value in self.values.items()})

    def moved(self, **at: Floats) -> Problems:
        """Return the problems with some parameters replaced."""
        return replace(self, values=self.values | at)

    def shaped(self, shape: tuple[int, ...]) -> Problems:
        """Return the problems in an array."""
        values = {name: v.reshape(shape + v.shape[1:]) for name, v in self.values.items()}
        return replace(self, values=values)

    def arguments(self) -> dict[str, Any]:
        """Arguments of the theory."""
        now = self.values
        step = self.step.moved({name: now[name] for name in self.step.varying})
        return {name: now[name] for name in _NUMBERS if name in now} | {"step": step}

    def bound(self, name: str, default: Floats) -> Floats:
        """Return a bound, with what it is unless given."""
        given = self.values.get(name)
        return default if given is None else np.where(np.isnan(given), default, given)


@dataclass(frozen=True, eq=False)
class Optimal:
    """The best values of a parameter, and whether they are on a bound: -1 lower, 1 upper, or 0."""

    x: Floats
    side: NDArray[np.int8]

    @classmethod
    def on(cls, grid: Floats, x: Floats) -> Optimal:
        """Hold positions against the ends of a grid."""
        side = np.where(x <= grid[0], -1, np.where(x >= grid[-1], 1, 0))
        return cls(x, side.astype(np.int8))

    @classmethod
    def unknown(cls, size: int) -> Optimal:
        """Make room for some."""
        return cls(np.full(size, np.nan), np.zeros(size, dtype=np.int8))

    def put(self, which: Integers, part: Optimal) -> None:
        """Fill in some."""
        self.x[which], self.side[which] = part.x, part.side


@dataclass(frozen=True, eq=False)
class Search:
    """How problems are solved.

    Attributes
    ----------
    over : tuple of str
        What is optimised.
    solver : dict
        The arguments of the theory that are no parameters.
    latents : tuple
        See `latents_of`.
    objective : str
        What is minimised.
    """

    over: tuple[str, ...]
    solver: dict[str, Any]
    latents: tuple[Population | None, Rows]
    objective: str

    @property
    def law(self) -> Population | None:
        """The inputs and labels, unless latents play no part."""
        return self.latents[0]

    @property
    def ridge(self) -> bool:
        """Whether the readout is one by ridge regression, which may do without a ridge."""
        return bool(self.solver["loss"] == Square() and self.solver["labels"] == "real")

    @property
    def block(self) -> int:
        """How many problems to take at a time."""
        points = (64 if "lam" in self.over else 1) * (32 if "eta" in self.over else 1)
        return max(1, _POINTS // points)

    def run(self, problems: Problems) -> tuple[dict[str, Optimal], Minimum]:
        """Find the best ridge, the best step or both, and the minimum that they give."""
        if self.over == ("lam",):
            lam, minimum = self.best_lam(problems)
            return {"lam": lam}, minimum
        grid, unit, least = self.eta_grid(problems)
        profile = self.best_error if "lam" in self.over else self.error
        minimum = minimise(
            lambda eta, which: profile(problems.take(which), "eta", eta), grid, unit, _TOLERANCE
        )
        eta = Optimal.on(grid, minimum.x)
        # No step, or none but the least one that is a step.
        eta.side[(grid[0] == 0) & (minimum.x <= least)] = -1
        if "lam" not in self.over:
            return {"eta": eta}, minimum
        there = problems.moved(eta=np.nan_to_num(minimum.x))
        return {"lam": self.best_lam(there)[0], "eta": eta}, minimum

    def best_lam(self, problems: Problems) -> tuple[Optimal, Minimum]:
        """Minimise over the ridge."""
        grid, unit = self.lam_grid(problems)
        minimum = minimise(
            lambda lam, which: self.error(problems.take(which), "lam", lam), grid, unit, _TOLERANCE
        )
        # Without noise nothing but rounding may tell the best ridge from none.
        none = (grid[0] == 0) & (minimum.x < _NONE * unit)
        return Optimal.on(grid, np.where(none, 0.0, minimum.x)), minimum

    def error(self, problems: Problems, name: str, x: Floats) -> tuple[Floats, Floats]:
        """Return the test error and its slope; the problems are along the last axis of ``x``."""
        if self.law is not None and (name == "eta" or not self.ridge):
            return self._rough(problems.moved(**{name: x}), name)
        given = problems.moved(**{name: x}).arguments() | self.solver
        slope = gradient(**given, objective=self.objective, wrt=name)
        known = slope.success | (slope.quadrature_error <= _UNKNOWN)
        return np.where(known, slope.value, np.nan), np.where(known, slope[name], np.nan)

    def _rough(self, problems: Problems, name: str) -> tuple[Floats, Floats]:
        """Return the objective and its slope, by one set of differences."""
        assert self.law is not None
        given = problems.arguments()
        step = given.pop("step")
        learned = Learned.of(self.solver["loss"], self.solver["labels"])
        if learned is None or not learned.signs:
            given.pop("flip", None)
        sigma, rows = self.solver["activation"], self.latents[1]
        threads = thread_count(self.solver["workers"])
        slopes = Slopes(
            given, sigma, self.law, step, rows, (name,), threads, learned,
            objective=self.objective if learned is not None else "test_error", halvings=1,
        )  # fmt: skip
        known = slopes.error <= _UNKNOWN
        value, slope = (
            np.where(known, found, np.nan) for found in (slopes.value, slopes.values[name])
        )
        return value, slope

    def best_error(self, problems: Problems, name: str, x: Floats) -> tuple[Floats, Floats]:
        """Return the test error at the best ridge; by the envelope theorem its slope is partial."""
        which = np.broadcast_to(np.arange(problems.size), x.shape).ravel()
        points = problems.take(which).moved(**{name: x.ravel()})
        best = self.best_lam(points)[0].x
        known = np.isfinite(best)
        value, slope = self.error(points.moved(lam=np.where(known, best, 1.0)), name, x.ravel())
        value[~known] = slope[~known] = np.nan
        return value.reshape(x.shape), slope.reshape(x.shape)

    def lam_grid(self, problems: Problems) -> tuple[Floats, Floats]:
        """Points for the ridge, and its unit: one that is as good as none."""
        infinite, lengths = self._features(problems)
        # What the features of each group vary by.
        distinct, inverse = np.unique(lengths, return_inverse=True)
        function = _core.Function(self.solver["activation"].core)
        power = np.array([_variance(function, float(length)) for length in distinct])[inverse]
        power = power.reshape(lengths.shape)
        weakest, strongest = power.min(axis=1), power.max(axis=1)
        alpha = problems.values["alpha"]
        samples = 1.0 + np.where(np.isfinite(alpha), alpha, 0.0) / problems.values["beta"]
        least, most = (_LAM_LEAST, _LAM_MOST) if self.ridge else (_CONVEX_LEAST, _CONVEX_MOST)
        unit = least * weakest * samples
        low = problems.bound("lowest lam", np.zeros(problems.size))
        high = problems.bound("highest lam", most * strongest * samples)
        none = 0.1 * unit if self.ridge else unit
        low = np.where((low == 0) & infinite, np.minimum(none, high), low)
        decades = np.log(high / np.maximum(low, np.minimum(unit, high)))
        inner = np.geomspace(high * np.exp(-decades), high, _count(decades, _LAM_SPACING))
        return np.vstack([low, np.clip(inner, low, high)]), unit

    def _features(self, problems: Problems) -> tuple[Any, Floats]:
        """Whether no ridge is no choice, and the lengths of the groups' neurons, (N, K)."""
        finite = np.isfinite(problems.values["alpha"])
        if self.law is not None:
            r, c = self._neurons(problems)
            # There is no formula for the ridgeless limit of interpolation.
            few = problems.values["alpha"] <= problems.values["beta"]
            none = few | self.solver["activation"].linear | (not self.ridge)
            return none & finite, np.hypot(r, np.sqrt(c))
        functions = {"activation": self.solver["activation"], "target": self.solver["target"]}
        given = problems.moved(lam=np.zeros(problems.size)).arguments()
        given.pop("flip", None)
        batch = pose(**given, **functions)
        threshold, saturated = infinite_without_ridge(batch)
        lengths = np.hypot(batch.r, np.sqrt(batch.c))[batch.which]
        infinite = threshold | saturated | (not self.ridge)
        return batch.arrange(infinite) & finite, batch.arrange(lengths)

    def _neurons(self, problems: Problems, leading: bool = False) -> tuple[Floats, Floats]:
        """``|r|`` and ``c`` of every problem, (N, K), on latents; after the first step only."""
        assert self.law is not None
        given = problems.arguments()
        if leading:
            given["step"] = producer_of(given["step"]).leading
        sigma, rows = self.solver["activation"], self.latents[1]
        layers, which = layers_on_inputs(
            given["step"], sigma, self.law, given["noise"], rows._replace(network=False)
        )
        which = np.broadcast_to(which, (problems.size,))
        r = np.array([np.linalg.norm(layer.r, axis=1) for layer in layers])
        return r[which], np.array([layer.c for layer in layers])[which]

    def _growth(self, problems: Problems) -> Floats:
        """Return how fast the longest neurons grow with the step, see `GradientStep.growth`."""
        step = problems.arguments()["step"]
        if self.law is None:
            functions = self.solver["activation"], self.solver["target"]
            growth = step.growth(*functions, problems.values["noise"])
            return np.asarray(np.broadcast_to(growth, problems.size))
        r, c = self._neurons(problems.moved(eta=np.full(problems.size, _FAR)), leading=True)
        return np.asarray(np.hypot(r, np.sqrt(c)).max(axis=1) / _FAR)

    def eta_grid(self, problems: Problems) -> tuple[Floats, Floats, Floats]:
        """Points for the step, its unit, and the least step that is one."""
        growth = self._growth(problems)
        scale = 1.0 / np.where(growth > 0, growth, 1.0)
        least = _least_step(self.solver["activation"], problems.groups) * scale
        unit = _ETA_UNIT * scale
        low = problems.bound("lowest eta", np.zeros(problems.size))
        high = problems.bound("highest eta", _ETA_MOST * scale / problems.step.together)
        ends = np.arcsinh(low / unit), np.arcsinh(high / unit)
        grid = unit * np.sinh(np.linspace(*ends, _count(ends[1] - ends[0], _ETA_SPACING)))
        grid[0], grid[-1] = low, high
        near = np.clip([-least, np.zeros_like(least), least], low, high)
        return np.sort(np.vstack([grid, near]), axis=0), unit, least


def _variance(function: _core.Function, sd: float) -> float:
    """Var sigma(sd z)."""
    _, e1, e2 = function(np.zeros(1), sd)
    return max(float(e1[0] ** 2 + e2[0]), 1e-200)


def _least_step(sigma: Activation, groups: int) -> float:
    """Return the smallest step that is one, in units of 1/growth.

    A small step s makes the mu0_k combinations of K powers of kappa: 1, kappa, ... or, of an odd
    activation, kappa, kappa^3, ... The last is an effect of s^(K - 1) or s^(2K - 2), which must
    stand out from rounding by as much as the answer has digits.
    """
    x = np.linspace(0.0, 5.0, 51)
    odd = bool(np.abs(sigma(x) + sigma(-x)).max() <= 1e-12 * np.abs(sigma(x)).max())
    power = (groups - 1) * (2 if odd else 1)
    return max(1e-5, 1e-5 ** (1.0 / power)) if power else 1e-5


def _count(length: Floats, spacing: float) -> int:
    return int(np.ceil(np.max(length, initial=0.0) / spacing)) + 2
