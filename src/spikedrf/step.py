"""`GradientStep`: what one large gradient step makes of the first layer, in theory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve, step_moments
from spikedrf.first_layer.bulk import Bulk, check_bulk
from spikedrf.first_layer.joint_bulk import JointBulk
from spikedrf.first_layer.model import (
    FirstLayer,
    Move,
    Producer,
    Spike,
    plain,
    proportions,
    show,
)
from spikedrf.first_layer.trained_bulk import TrainedBulk
from spikedrf.inputs.common_nodes import common_nodes, commute
from spikedrf.inputs.neurons import Neurons, batch_of, stepped
from spikedrf.inputs.population import Population, Rows
from spikedrf.inputs.trained_neurons import trained_nodes
from spikedrf.inputs.trained_nodes import TrainedNodes
from spikedrf.parameters import broadcast_shape, group_count, real_array

__all__ = ["GradientStep", "Spike", "StepModel"]

Floats = NDArray[np.float64]

_HEAD = "bulk='network' is the trained network's bulk"


@dataclass(frozen=True, eq=False)
class GradientStep(Producer):
    r"""One full-batch gradient step on the first layer, from ``n0 = alpha0 d`` samples.

    Parameters
    ----------
    eta : float or array_like
        Step size (``eta`` tilde in the paper). 0 is no step.
    alpha0 : float or array_like
        Samples of the step over input dimension, ``n0/d``, >= 0; ``inf`` is the large-batch
        limit, 0 no step.
    u : float or array_like, shape (..., K)
        Values of the initial readout ("vocabulary"); a scalar is K = 1.
    pi : array_like, shape (..., K), optional
        Their proportions, summing to one; equal by default.
    bulk : {"isotropic", "network"}
        Bulk of the first layer that the theory takes unless it is told another: isotropic, or
        that of the trained network, see `theory.trained_bulk`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not a number, is out of range, the group counts disagree, or ``bulk`` is
        none of its two values.

    Notes
    -----
    Source: theory.md, sections 1, 2 and 10.

    Examples
    --------
    >>> from spikedrf import GradientStep
    >>> GradientStep(eta=3.0, alpha0=20.0).spike(activation="tanh", target="sin")
    Spike(r=1.13406, c=1.01897, gamma=0.971854)
    """

    eta: Any
    alpha0: Any
    u: Any = 1.0
    pi: Any = None
    bulk: str = "isotropic"

    def __post_init__(self) -> None:
        eta = real_array("eta", self.eta)
        alpha0 = real_array("alpha0", self.alpha0, minimum=0.0, infinite=True)
        u = real_array("u", self.u)
        given = {"u": u}
        if self.pi is not None:
            given["pi"] = real_array("pi", self.pi, minimum=0.0)
        groups = group_count(**given)
        check_bulk(self.bulk)
        object.__setattr__(self, "eta", plain(eta))
        object.__setattr__(self, "alpha0", plain(alpha0))
        object.__setattr__(self, "u", plain(u))
        if self.pi is not None:
            object.__setattr__(self, "pi", proportions(self.pi, groups))

    steerable: ClassVar[tuple[str, ...]] = ("eta", "alpha0")
    per_group: ClassVar[tuple[str, ...]] = ("u", "pi")
    sees_labels: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        r"""Return the first layer that the step leaves.

        Parameters
        ----------
        activation, target, noise
            As for `spike`.
        bulk : {"isotropic", "network"}, optional
            Its bulk; by default the step's own.
        wrt : sequence of str
            Of ``eta``, ``alpha0`` and ``noise``, those whose `FirstLayer.moves` are wanted.

        Returns
        -------
        FirstLayer

        Raises
        ------
        TypeError, ValueError
            As `spike`, or if there is no trained bulk in closed form.

        Notes
        -----
        Source: theory.md, sections 2 and 10.
        """
        sigma, g = resolve(activation, "activation"), resolve(target, "target")
        model = StepModel(self, sigma, g, noise)
        wanted = [name for name in ("eta", "alpha0", "noise") if name in wrt]
        # Along eta, gamma keeps its limit at eta = 0.
        gamma = model.gamma if "eta" in wanted else np.where(model.stepped, model.gamma, 0.0)
        name = self.own_bulk if bulk is None else bulk
        check_bulk(name)
        trained = None if name == "isotropic" else model.trained_bulk(sigma, g)
        # A step on linear features leaves their bulk isotropic.
        own = None if sigma.linear else trained
        return FirstLayer.along_one(model.spike(gamma), own, model.moves(wanted), name)

    @property
    def own_bulk(self) -> str:  # type: ignore[override]
        """The bulk unless another is asked for."""
        return self.bulk

    @property
    def parameters(self) -> dict[str, Any]:
        """``eta, alpha0, u, pi`` as given."""
        return {name: getattr(self, name) for name in ("eta", "alpha0", "u", "pi")}

    @property
    def varying(self) -> dict[str, Any]:
        """All of them that there are."""
        return {name: value for name, value in self.parameters.items() if value is not None}

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """See `Producer.neurons`."""
        return stepped(self.eta, self.alpha0, self.u, self.pi, sigma, population, noise)

    def trained(
        self, sigma: Activation, population: Population, noise: float, gamma: Floats, c: Floats,
        rows: Rows,
    ) -> TrainedNodes | None:  # fmt: skip
        """See `Producer.trained`."""
        batch = batch_of(self.eta, self.alpha0, self.u, self.pi, sigma, population, noise)
        if batch.alpha0 == 0.0:
            raise ValueError(f"{_HEAD}: alpha0 must be > 0, got 0, which is no step")
        if not batch.moves.any():
            return None
        exact = commute(batch, sigma, population, rows)
        nodes = trained_nodes if exact else common_nodes
        return nodes(batch, noise, sigma, population, gamma, c, rows)

    @property
    def training(self) -> tuple[GradientStep, ...]:
        """The step itself."""
        return (self,)

    def spike(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
    ) -> Spike:
        r"""Return the spiked model that the step leaves behind.

        With the Gaussian moments ``h0, h1, h2`` of the activation, ``chk`` the variance of its
        derivative, ``t1 = E z g(z)``, ``ubar = sum_k pi_k u_k``, ``s0 = E g - ubar h0`` and
        ``s2 = E (g - ubar h0)^2 + noise^2``::

            r_k   = eta u_k h1 sqrt(t1^2 + s2/alpha0)
            c_k   = (1 + eta u_k s0 h2)^2 + (eta u_k)^2 s2 chk / alpha0
            gamma = t1 / sqrt(t1^2 + s2/alpha0)

        Parameters
        ----------
        activation : str, callable or (callable, derivative)
            The network's activation. Of a bare callable the derivative is found on quadrature
            panels that end at 0.
        target : str or callable
            The teacher's function ``g``.
        noise : float or array_like
            Standard deviation of the label noise, >= 0.

        Returns
        -------
        Spike
            Scalars if everything is scalar, otherwise arrays: batch shape of ``eta``, ``alpha0``
            and ``noise``, then the groups.

        Raises
        ------
        ValueError
            If the activation has no usable gradient (``sign``) or an argument is out of range.

        Notes
        -----
        Source: theory.md, section 2.
        """
        model = StepModel(self, activation, target, noise)
        return model.spike(np.where(model.stepped, model.gamma, 0.0))

    def spike_slopes(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
    ) -> tuple[Spike, dict[str, tuple[Floats, Floats, Floats]]]:
        r"""Return the spiked model and how it moves with ``eta``, ``alpha0`` and ``noise``.

        With ``nu = sqrt(t1^2 + rho)``, ``rho = s2/alpha0`` and ``d rho``, ``d nu = d rho/(2 nu)``
        along ``alpha0`` or ``noise``::

            d r_k/d eta = u_k h1 nu            d r_k = eta u_k h1 d nu
            d c_k/d eta = 2 (1 + eta u_k s0 h2) u_k s0 h2 + 2 eta u_k^2 rho chk
            d gamma/d eta = 0                  d c_k = (eta u_k)^2 chk d rho
                                               d gamma = -(gamma/nu) d nu

        Parameters
        ----------
        activation, target, noise
            As for `spike`.

        Returns
        -------
        spike : Spike
            As `spike` gives it, except that ``gamma`` keeps its limit ``t1/nu`` at ``eta = 0``,
            where it jumps to 0 without consequence (``r = 0``).
        slopes : dict
            ``(dr, dc, dgamma)`` under the names ``eta``, ``alpha0`` and ``noise``: shape of the
            batch, then the groups for the first two. NaN where there is no derivative
            (``alpha0 = 0``, where ``r`` is infinite).

        Raises
        ------
        TypeError, ValueError
            As `spike`.

        Notes
        -----
        Source: theory.md, section 2.
        """
        model = StepModel(self, activation, target, noise)
        return model.spike(model.gamma), model.slopes()

    def growth(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
    ) -> Any:
        r"""Return how fast the longest neurons grow with the step.

        After a large step a neuron has the length ``sqrt(r_k^2 + c_k) = growth_k |eta|`` times its
        initial one, and the answer is the largest of ::

            growth_k = |u_k| sqrt( h1^2 (t1^2 + s2/alpha0) + (s0 h2)^2 + chk s2/alpha0 ).

        Where ``growth |eta|`` is small the step does little, and where it is large a larger step
        is only one of another scale. The step's own ``eta`` does not matter.

        Parameters
        ----------
        activation, target, noise
            As for `spike`.

        Returns
        -------
        float or ndarray
            Batch shape of ``u``, ``alpha0`` and ``noise``; 0 where the step carries nothing.

        Raises
        ------
        TypeError, ValueError
            As `spike`.

        Notes
        -----
        Source: theory.md, section 2.
        """
        return plain(StepModel(self, activation, target, noise).growth())

    def __repr__(self) -> str:
        parts = [f"{name}={show(getattr(self, name))}" for name in ("eta", "alpha0", "u")]
        if self.pi is not None:
            parts.append(f"pi={show(self.pi)}")
        if self.bulk != "isotropic":
            parts.append(f"bulk={self.bulk!r}")
        return f"GradientStep({', '.join(parts)})"


class StepModel:
    """The constants of theory.md, section 2, for one gradient step."""

    def __init__(
        self, step: GradientStep, activation: FunctionLike, target: FunctionLike, noise: ArrayLike
    ) -> None:
        sigma = resolve(activation, "activation")
        g = resolve(target, "target")
        of_sigma = step_moments(sigma, slope=True)
        of_g = step_moments(g, slope=False)
        self.noise = real_array("noise", noise, minimum=0.0)
        self.scalar = np.ndim(step.u) == 0 and step.pi is None
        self.u = np.atleast_1d(np.asarray(step.u, dtype=np.float64))
        groups = group_count(u=self.u) if step.pi is None else step.pi.shape[-1]
        self.pi = None if step.pi is None else proportions(step.pi, groups)
        self.alpha0 = np.asarray(step.alpha0, dtype=np.float64)

        h0, self.h1, self.h2 = of_sigma.cleaned
        self.chk = of_sigma.slope_variance
        self.t1 = of_g.cleaned[1]
        if self.u.ndim + self.alpha0.ndim + self.noise.ndim + np.ndim(step.eta) > 1:
            self._require_one_shape(step)
        ubar = (proportions(step.pi, groups) * self.u).sum(axis=-1)
        self.shift = ubar * h0
        # The mean residual, times h2 as it always comes.
        self.s0_h2 = (of_g.h0 - self.shift) * self.h2
        self.eta = np.asarray(step.eta, dtype=np.float64)
        taken = self.alpha0 > 0
        self.stepped = taken & (self.eta != 0)
        # What overflows is refused once it is known what comes of it, see `spike`.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.s2 = of_g.second - 2.0 * self.shift * of_g.h0 + self.shift**2 + self.noise**2
            self.rho = self.s2 / np.where(taken, self.alpha0, np.inf)
            self.nu = np.sqrt(self.t1**2 + self.rho)
            self.move = np.where(self.stepped, self.eta, 0.0)[..., None] * self.u
            gamma = np.where(taken & (self.nu > 0), self.t1 / self.nu, 0.0)
        self.gamma = np.minimum(np.maximum(gamma, -1.0), 1.0)

    def _require_one_shape(self, step: GradientStep) -> None:
        shapes = {name: np.shape(getattr(step, name)) for name in ("eta", "alpha0")}
        shapes |= {"u": self.u.shape[:-1], "noise": self.noise.shape}
        shapes |= {} if step.pi is None else {"pi": step.pi.shape[:-1]}
        broadcast_shape(shapes)

    def spike(self, gamma: Floats) -> Spike:
        """Return the spiked model, given the alignment where there is no step."""
        with np.errstate(over="ignore", invalid="ignore"):
            r = self.move * self.h1 * self.nu[..., None]
            c = (1.0 + self.move * self.s0_h2[..., None]) ** 2
            c = c + self.move**2 * self.rho[..., None] * self.chk
        for name, value in (("r", r), ("c", c)):
            if value.size and not (value.min() > -np.inf and value.max() < np.inf):
                raise ValueError(
                    f"the spike's {name} overflows for the given eta, u, noise and alpha0: the "
                    f"step is too large"
                )
        if c.size and not c.min() > 0:
            raise ValueError(
                "the bulk variance c vanishes: 1 + eta u s0 h2 = 0 for the given eta, u and "
                "functions; change eta slightly"
            )
        # `stepped` knows the shape of eta.
        if gamma.shape != self.stepped.shape:
            gamma = np.broadcast_to(gamma, np.broadcast_shapes(gamma.shape, self.stepped.shape))
        if self.scalar and r.shape == (1,):
            return Spike(r=float(r[0]), c=float(c[0]), gamma=plain(gamma), pi=None)
        return Spike(r=r, c=c, gamma=gamma, pi=self.pi)

    def trained_bulk(self, sigma: Activation, g: Activation) -> Bulk:
        """Return the bulk of the network that takes the step.

        Raises
        ------
        ValueError
            If there is no step.
        """
        if (self.alpha0 == 0).any():
            raise ValueError(f"{_HEAD}: alpha0 must be > 0, got 0, which is no step")
        groups = self.u.shape[-1] if self.pi is None else self.pi.shape[-1]
        u = np.broadcast_to(self.u, (*self.u.shape[:-1], groups))
        kind = JointBulk if groups > 1 and self.h2 != 0.0 else TrainedBulk
        shift = np.asarray(self.shift)
        return kind(g, self.h2, self.chk, u, self.eta, self.alpha0, self.noise, shift)

    def moves(self, names: Sequence[str]) -> dict[str, Move]:
        """Return how the spiked model moves along some parameters, and their scales."""
        if not names:
            return {}
        slopes = self.slopes()
        finite = np.isfinite(self.alpha0) & (self.alpha0 > 0)
        scale = {
            "eta": np.maximum(np.abs(self.eta), 1.0),
            "alpha0": np.where(finite, self.alpha0, 1.0),
            "noise": np.maximum(self.noise, 1.0),
        }
        return {name: Move(*slopes[name], scale[name]) for name in names}

    def growth(self) -> Floats:
        """See `GradientStep.growth`."""
        spike = (self.h1 * self.nu) ** 2
        speed = np.sqrt(spike + self.s0_h2**2 + self.chk * self.rho)
        largest = np.abs(self.u).max(axis=-1)
        return np.where(self.alpha0 > 0, largest * speed, 0.0)

    def slopes(self) -> dict[str, tuple[Floats, Floats, Floats]]:
        """Return how ``r, c, gamma`` move, see `GradientStep.spike_slopes`."""
        taken = (self.alpha0 > 0)[..., None]
        pull = self.u * self.s0_h2[..., None]
        by_eta = (
            np.where(taken, self.u * self.h1 * self.nu[..., None], 0.0),
            np.where(taken, 2.0 * (1.0 + self.move * self.s0_h2[..., None]) * pull, 0.0)
            + 2.0 * self.move * self.u * self.rho[..., None] * self.chk,
            np.zeros(()),
        )

        def through(d_rho: Floats, d_nu: Floats) -> tuple[Floats, Floats, Floats]:
            with np.errstate(invalid="ignore", divide="ignore"):
                d_gamma = np.where(d_nu == 0.0, 0.0, -self.gamma * d_nu / self.nu)
            return (
                self.move * self.h1 * d_nu[..., None],
                self.move**2 * self.chk * d_rho[..., None],
                np.where(self.stepped | np.isnan(d_nu), d_gamma, 0.0),
            )

        def d_nu(d_rho: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(d_rho == 0.0, 0.0, 0.5 * d_rho / self.nu)

        alpha0 = np.where(self.alpha0 > 0, self.alpha0, np.nan)
        by_alpha0 = -self.s2 / alpha0**2
        infinite = np.where(self.alpha0 > 0, self.alpha0, np.inf)
        by_noise = 2.0 * self.noise / infinite
        # nu = noise / sqrt(alpha0) where the target is nothing but noise.
        bare = (self.t1 == 0.0) & (self.s2 == self.noise**2)
        return {
            "eta": by_eta,
            "alpha0": through(by_alpha0, d_nu(by_alpha0)),
            "noise": through(by_noise, np.where(bare, infinite**-0.5, d_nu(by_noise))),
        }
