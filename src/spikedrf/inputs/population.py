"""Inputs and labels as the latents see them: what simulations draw and the theory averages over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.inputs.covariance import Covariance
from spikedrf.inputs.mixture import Mixture
from spikedrf.multi_index import NAMED, MultiIndex, resolve_target

Floats = NDArray[np.float64]
Inputs = Covariance | Mixture | None

#: Rows of a first layer before any step: on the unit sphere, or N(0, I/d).
INITS = ("sphere", "gaussian")


class Rows(NamedTuple):
    """What the neurons are taken for.

    Attributes
    ----------
    init : str
        Rows before the step.
    network : bool
        Whether they are the trained network's, with the columns of section 14.
    gain : bool
        Whether a row that is longer than others (of the inputs' covariance, as the inputs see it)
        also has another gradient: of order ``1/sqrt d`` like its length. Section 14 leaves it out.
    """

    init: str = "sphere"
    network: bool = False
    gain: bool = False

    @property
    def name(self) -> str:
        """What they are asked for as."""
        return self.init + _GAIN * self.gain


#: Appended to the name of the rows it asks for their gain.
_GAIN = "+gain"

#: Everything that ``init`` of the trained network may be.
NETWORK_INITS = (*INITS, *(init + _GAIN for init in INITS))


def drawn_as(init: Any) -> Any:
    """Return the rows before the step, whether their gain is asked for or not."""
    return init.removesuffix(_GAIN) if isinstance(init, str) else init


def rows_of(init: Any, bulk: Any) -> Rows:
    """Return what neurons with this ``init`` and this bulk are.

    Raises
    ------
    ValueError
        If there are no such rows.
    """
    gain = drawn_as(init) != init
    if gain and bulk != "network":
        raise ValueError(
            f"init={init!r} is for a GradientStep with bulk='network'; else init must be 'sphere' "
            f"or 'gaussian'"
        )
    return Rows(check_init(drawn_as(init)), bulk == "network", gain)


# Averages over the latents: points an axis of the trapezoid rule, and what they must agree to.
_POINTS = ((33, 49, 73, 109, 163, 245), (25, 37, 55, 83, 125, 187, 281), (17, 25, 37, 55, 83))
_ACCURACY = 1e-12
_REACH = 8.5


@dataclass(frozen=True, eq=False)
class Population:
    r"""Latents ``s = (<e_1, z>, .., <e_L, z>)`` and labels of the classes.

    ``x = Omega^{1/2} z``; ``z`` is ``N(0, I)`` around the class's mean. The special directions
    ``e_l`` lie in the J eigenspaces of ``Omega``: in eigenspace j the l-th has the length
    ``sqrt(shares[j, l])`` along an axis of its own there.

    Attributes
    ----------
    target : Activation or MultiIndex
        The target; without a say where `mixture` has labels of its own.
    directions : int
        The label depends on the first so many latents.
    means : ndarray, shape (C, L)
        Means of the classes that exist.
    proportions, weights : ndarray, shape (C,)
        How often they come, and weights in the loss.
    numbers : ndarray, shape (C,), or None
        The labels, where they are numbers for each class.
    which : ndarray of int, shape (C,)
        The numbers that the caller knows these classes by.
    classes : int
        How many classes the caller gave.
    mirrored : tuple of (int, int)
        The caller's number of a class that another one stands for, and which, see `folded`.
    values, dimensions : ndarray, shape (J,)
        Eigenvalues of ``Omega`` and their shares of the dimensions.
    shares : ndarray, shape (J, L)
        Squared lengths of the latents' directions in the eigenspaces.
    """

    target: Activation | MultiIndex
    mixture: Mixture | None
    directions: int
    means: Floats
    proportions: Floats
    weights: Floats
    numbers: Floats | None
    which: NDArray[np.int64]
    classes: int
    values: Floats
    dimensions: Floats
    shares: Floats
    covariance: Covariance | None
    mirrored: tuple[tuple[int, int], ...] = ()

    @property
    def latents(self) -> int:
        """Number L of special directions."""
        return int(self.means.shape[1])

    @property
    def plain(self) -> bool:
        """Whether inputs are N(0, I) and the target has one direction."""
        return (
            isinstance(self.target, Activation) and self.mixture is None and self.values.size == 1
        )

    @property
    def signs(self) -> bool:
        """Whether every class has the label +1 or -1."""
        return self.numbers is not None and bool(np.all(np.abs(self.numbers) == 1.0))

    @property
    def only_sign(self) -> float | None:
        """The sign of all labels without noise, +1 or -1; None if they have both."""
        if self.numbers is not None:
            up = self.numbers >= 0.0
        else:
            s = np.random.default_rng(2).standard_normal((4096, self.latents)) * 2.0
            classes = range(len(self.means))
            up = np.concatenate([self.label(s + self.means[i], i) >= 0.0 for i in classes])
        if up.all() or not up.any():
            return 1.0 if up.all() else -1.0
        return None

    @property
    def scalar(self) -> Activation | None:
        """The target as a function of the first latent alone, if that is what labels are."""
        labelled = self.mixture is not None and self.mixture.labels is not None
        return self.target if isinstance(self.target, Activation) and not labelled else None

    def label(self, s: Floats, i: Any) -> Floats:
        """Return the labels, without noise, of latents (..., L) in classes i (...)."""
        i = np.broadcast_to(np.asarray(i), s.shape[:-1])
        if self.numbers is not None:
            return np.asarray(self.numbers[i])
        if self.mixture is not None and self.mixture.labels is not None:
            return self.mixture.label(s, self.which[i])
        if isinstance(self.target, MultiIndex):
            return self.target(s[..., : self.directions])
        return self.target(s[..., 0])

    @cached_property
    def moments(self) -> tuple[Floats, float]:
        """``E y``, ``E y^2`` and ``E y s_l``, without noise, and their relative error."""
        total = np.zeros(2 + self.latents)
        error = 0.0
        for i, (mean, rho) in enumerate(zip(self.means, self.proportions, strict=True)):
            part, own = self._class_moments(i, mean)
            total += rho * part
            error = max(error, own)
        return total, error

    def _class_moments(self, i: int, mean: Floats) -> tuple[Floats, float]:
        used = self.directions
        if self.numbers is not None:
            number = float(self.numbers[i])
            return np.concatenate([[number, number**2], number * mean]), 0.0
        if self.scalar is not None:
            e0, e1, e2 = (float(e[0]) for e in self.scalar.moments(mean[:1], 1.0, 2))
            rough = [float(e[0]) for e in self.scalar.moments(mean[:1], 1.0, 0)]
            power = e0**2 + e1**2 + e2
            missed = abs(sum(e**2 for e in rough[:2]) + rough[2] - power) / (power or 1.0)
            along = mean * e0
            along[0] += e1
            return np.concatenate([[e0, power], along]), missed
        before: Floats | None = None
        missed = np.inf
        for points in _POINTS[used - 1]:
            zeta, weight = gaussian_grid(used, points)
            s = np.broadcast_to(mean, (len(zeta), mean.size)).copy()
            s[:, :used] += zeta
            y = self.label(s, i)
            e0 = float(weight @ y)
            along = mean * e0
            along[:used] += weight @ (zeta * y[:, None])
            now = np.concatenate([[e0, weight @ (y * y)], along])
            if before is not None:
                scale = max(float(now[1]), 1e-300)
                sizes = np.array([scale**0.5, scale, *np.full(mean.size, scale**0.5)])
                missed = float(np.max(np.abs(now - before) / sizes))
                if missed < _ACCURACY:
                    break
            before = now
        return now, missed

    def best_linear_error(self, noise: float) -> float:
        r"""Return the error of the best affine function of the inputs, noise included.

        ``Var y - b' C^{-1} b`` with the covariances ``b`` of labels and latents and ``C`` of the
        latents: what of the inputs is beside the latents says nothing of the label.
        """
        (mean, power, *along), _ = self.moments
        center = self.proportions @ self.means
        away = self.means - center
        covariance = np.eye(self.latents) + away.T @ (self.proportions[:, None] * away)
        b = np.array(along) - mean * center
        left = power - mean**2 - b @ np.linalg.solve(covariance, b)
        return float(left if left > 1e-14 * power else 0.0) + noise**2

    def folded(self, parity: int) -> Population:
        r"""Return it with pairs of classes that are mirror images of each other as one.

        Of an odd or even activation (`parity`) features at ``-s`` are those at ``s`` up to a sign,
        and so is what a readout makes of them. A class around ``-m`` whose labels at ``-s`` are
        those around ``m`` at ``s`` up to the same sign then adds the same to every average.
        """
        numbers, g = self.numbers, self.scalar
        if parity == 0 or (numbers is None and (g is None or g.parity != parity)):
            return self
        kept: list[int] = []
        mirrored: list[tuple[int, int]] = []
        proportions = self.proportions.copy()
        for i, mean in enumerate(self.means):
            for place, other in enumerate(kept):
                alike = np.array_equal(mean, -self.means[other])
                alike &= self.weights[i] == self.weights[other]
                if alike and (numbers is None or numbers[i] == parity * numbers[other]):
                    proportions[other] += proportions[i]
                    mirrored.append((int(self.which[i]), place))
                    break
            else:
                kept.append(i)
        if not mirrored:
            return self
        return replace(
            self,
            means=self.means[kept],
            proportions=proportions[kept],
            weights=self.weights[kept],
            numbers=None if numbers is None else numbers[kept],
            which=self.which[kept],
            mirrored=tuple(mirrored),
        )

    @property
    def fingerprint(self) -> str:
        """What tells it from others."""
        import hashlib

        digest = hashlib.sha256()
        for array in (
            self.means, self.proportions, self.weights, self.values, self.dimensions, self.shares
        ):  # fmt: skip
            digest.update(np.ascontiguousarray(array).tobytes())
        rng = np.random.default_rng(1)
        s = rng.standard_normal((257, self.latents))
        for i in range(len(self.means)):
            digest.update(np.ascontiguousarray(self.label(s, i)).tobytes())
        return digest.hexdigest()[:16]

    def orthonormal(self, spare: int = 1) -> Floats:
        """Return the special directions on the axes of the eigenspaces, shape (L, J, L + spare).

        The last axes of an eigenspace are left to spikes.
        """
        J, L = self.shares.shape
        out = np.zeros((L, J, L + spare))
        for i in range(L):
            out[i, :, i] = np.sqrt(self.shares[:, i])
        return out


def gaussian_grid(dimensions: int, points: int) -> tuple[Floats, Floats]:
    """Trapezoid rule for averages over ``N(0, I)``: nodes (N, dimensions) and weights (N,)."""
    z = np.linspace(-_REACH, _REACH, points)
    return _product_grid(z, np.exp(-0.5 * z * z), dimensions)


def hermite_grid(dimensions: int, points: int) -> tuple[Floats, Floats]:
    """Gauss-Hermite rule for averages over ``N(0, I)``, as `gaussian_grid`."""
    from scipy.special import roots_hermitenorm

    z, w = roots_hermitenorm(points)
    return _product_grid(z, w, dimensions)


def _product_grid(z: Floats, w: Floats, dimensions: int) -> tuple[Floats, Floats]:
    w = w / w.sum()
    nodes = np.array(list(product(z, repeat=dimensions)), dtype=np.float64)
    weights = np.ones(1)
    for _ in range(dimensions):
        weights = np.multiply.outer(weights, w).ravel()
    keep = weights > 1e-19 * weights.max()
    return nodes[keep], weights[keep] / weights[keep].sum()


def population(inputs: Any, target: Any) -> Population:
    """Hold inputs and target against each other.

    Raises
    ------
    TypeError, ValueError
        If the inputs are of the wrong kind, or their means or shares do not fit the target.
    """
    g = resolve_target(target)
    directions = g.directions if isinstance(g, MultiIndex) else 1
    if inputs is None or isinstance(inputs, Covariance):
        mixture, covariance = None, inputs
        means = np.zeros((1, directions))
        proportions = weights = np.ones(1)
        numbers = None
        classes = 1
    elif isinstance(inputs, Mixture):
        mixture, covariance = inputs, inputs.covariance
        means, classes = inputs.means, len(inputs.means)
        proportions, weights = inputs.proportions, inputs.weights
        numbers = inputs.labels if inputs.by_class else None
        if inputs.labels is not None:
            directions = means.shape[1]
        elif means.shape[1] < directions:
            raise ValueError(
                f"means must have at least {directions} columns, one for each direction of the "
                f"target, got shape {means.shape}; 0 for a direction in which classes agree"
            )
        if callable(inputs.labels) and directions > 3:
            raise ValueError(
                f"labels may be a function of at most 3 directions, and means has {directions}: "
                f"turn the coordinates so that fewer are needed, or give a number for each class"
            )
    else:
        raise TypeError(f"inputs must be a Covariance, a Mixture or None, got {inputs!r}")
    exists = np.flatnonzero(proportions > 0.0)
    latents = means.shape[1]
    one_value = covariance is None or covariance.isotropic
    if covariance is None:
        shares, values, dimensions = np.ones((1, latents)), np.ones(1), np.ones(1)
    else:
        shares = covariance.shares(directions, latents)
        values, dimensions = covariance.eigenvalues, covariance.dimensions
        used = (dimensions > 0.0) | (shares > 0.0).any(axis=1)
        shares, values, dimensions = shares[used], values[used], dimensions[used]
        if one_value:
            shares, values, dimensions = np.ones((1, latents)), np.ones(1), np.ones(1)
    # One class around zero with the target's labels and no weight of its own is none.
    if (
        mixture is not None
        and mixture.labels is None
        and classes == 1
        and latents == directions
        and not means.any()
        and weights[0] == 1.0
    ):
        mixture = None
    return Population(
        target=g,
        mixture=mixture,
        directions=directions,
        means=means[exists],
        proportions=proportions[exists] / proportions[exists].sum(),
        weights=weights[exists],
        numbers=None if numbers is None else numbers[exists],
        which=exists,
        classes=classes,
        values=values,
        dimensions=dimensions,
        shares=shares,
        covariance=covariance,
    )


def numbers_of(inputs: Any) -> Floats | None:
    """Return the labels of a mixture that are numbers for each class."""
    return inputs.numbers if isinstance(inputs, Mixture) else None


def beyond_white(inputs: Any, target: Any, init: Any, bulk: Any = None) -> Population | None:
    """Return the population, or None where lengths of neurons and latents play no part.

    That is for white inputs, one direction and rows on the sphere; with ``bulk="network"`` such
    rows count if they are asked for by name.

    Raises
    ------
    TypeError, ValueError
        As `population`, and if ``init`` is neither of its two values nor None.
    """
    rows = rows_of(init, bulk)
    own = rows.init == "gaussian" or (rows.network and init is not None)
    if inputs is None and not own:
        if isinstance(target, MultiIndex) or (isinstance(target, str) and target in NAMED):
            law = population(inputs, target)
            return None if law.plain else law
        return None
    law = population(inputs, target)
    return None if law.plain and not own else law


def check_init(init: Any) -> str:
    """Return the law of the rows before the step, on the sphere if nothing is said.

    Raises
    ------
    ValueError
        If it is none of the two.
    """
    if init is None:
        return "sphere"
    if not isinstance(init, str) or init not in INITS:
        raise ValueError(f"init must be 'sphere' or 'gaussian', got {init!r}")
    return init
