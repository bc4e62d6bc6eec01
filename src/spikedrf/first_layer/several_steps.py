"""Several gradient steps, each on fresh samples: one strong, better aligned spike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.first_layer.bulk import check_bulk
from spikedrf.first_layer.model import FirstLayer, Producer, Spike
from spikedrf.parameters import broadcast_shape, real_array
from spikedrf.step import GradientStep

Floats = NDArray[np.float64]

# The rules for averages over kappa: their reach, nodes of the first and of the finest, and by how
# much the spike may still move from one to the next.
_REACH, _FEWEST, _MOST, _STILL = 9.5, 128, 1 << 15, 1e-12


class _State(NamedTuple):
    """Spike strength, bulk variance and alignment between two steps."""

    r: float
    c: float
    gamma: float


class SeveralSteps(Producer):
    r"""Gradient steps one after the other, each on samples of its own.

    The readout stays as it was drawn until the end. With ``f = u mu0(kappa)`` the output before a
    step, ``res = y - f`` and the functions ``mu0, mu1`` of `Spike` at the present ``r, c``, a step
    moves the spike within the plane of ``v`` and ``theta``, adds noise in a new direction, and
    stretches the bulk::

        r v  +=  eta u E[res mu1 x] + eta u sqrt(E[res^2 mu1^2]/alpha0) N(0, I/d)
        c     =  c (1 + eta u E[res E_z sigma''])^2 + (eta u)^2 E[res^2 Var_z sigma']/alpha0

    Parameters
    ----------
    steps : sequence of GradientStep
        At least one, all with the same ``u``.

    Raises
    ------
    TypeError, ValueError
        If they are no gradient steps, or of different values of ``u``.

    Notes
    -----
    Source: theory.md, section 13. With several values of ``u`` the spikes of the groups span
    several directions.
    """

    sees_labels: ClassVar[bool] = True

    def __init__(self, steps: Sequence[Any]) -> None:
        self.steps: tuple[GradientStep, ...] = tuple(steps)
        if not self.steps:
            raise ValueError("step has no steps: give None for plain random features")
        for step in self.steps:
            if type(step) is not GradientStep:
                raise TypeError(f"step must be a list of GradientStep, got {step!r} in it")
            if not np.array_equal(step.u, self.steps[0].u):
                raise ValueError(
                    f"step: u must be the same in all steps, as the readout is kept, got "
                    f"{self.steps[0].u!r} and {step.u!r}"
                )

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """See `Producer.first_layer`; the bulk is isotropic.

        Raises
        ------
        TypeError, ValueError
            As `GradientStep.first_layer`, and for several values of ``u``, another bulk, or moves
            with the noise.
        """
        if len(self.steps) > 1 and np.size(self.steps[0].u) != 1:
            raise ValueError(
                f"step: several steps take one value of u, got u={self.steps[0].u!r}: the spikes "
                f"of several groups do not stay on one line; use one value, or "
                f"simulate(model='network')"
            )
        check_bulk(name := "isotropic" if bulk is None else bulk)
        if name != "isotropic":
            raise ValueError(
                f"bulk={name!r} has no closed form after several steps, use bulk='isotropic' or "
                f"simulate(model='network'); got step={self!r}"
            )
        if "noise" in wrt:
            raise ValueError(
                f"wrt='noise' needs a GradientStep: how several steps move with the noise is not "
                f"known; got step={self!r}"
            )
        sigma, g = resolve(activation, "activation"), resolve(target, "target")
        sd = real_array("noise", noise, minimum=0.0)
        if len(self.steps) == 1:
            return self.steps[0].first_layer(sigma, g, sd)
        shape = broadcast_shape({"step": self._shape(), "noise": sd.shape})
        etas, batches = (
            [np.broadcast_to(getattr(step, name), shape) for step in self.steps]
            for name in ("eta", "alpha0")
        )
        found = np.empty((3, *shape))
        levels = np.broadcast_to(sd, shape)
        for at in np.ndindex(shape):
            of = GradientStep(etas[0][at], batches[0][at], self.steps[0].u)
            first = of.spike(sigma, g, levels[at])
            r, c, gamma, _ = first.arrays()
            state = _State(float(r[0]), float(c[0]), float(gamma))
            walk = _Walk(sigma, g, float(levels[at]), float(np.ravel(self.steps[0].u)[0]))
            for eta, alpha0 in zip(etas[1:], batches[1:], strict=True):
                state = walk.step(state, float(eta[at]), float(alpha0[at]))
            found[(slice(None), *at)] = state
        if not shape:
            return FirstLayer.along_one(Spike(*map(float, found)))
        r, c, gamma = found
        return FirstLayer.along_one(Spike(r[..., None], c[..., None], gamma))

    def _shape(self) -> tuple[int, ...]:
        given = {"eta": 0.0, "alpha0": 0.0} | {
            f"{name} of step {i}": getattr(step, name)
            for i, step in enumerate(self.steps)
            for name in ("eta", "alpha0")
        }
        return broadcast_shape({name: np.shape(value) for name, value in given.items()})

    def shapes(self) -> list[tuple[int, ...]]:
        """See `Producer.shapes`."""
        return [self._shape()]

    @property
    def parameters(self) -> dict[str, Any]:
        """``eta`` and ``alpha0`` of each step, and ``u``."""
        return {
            "eta": [step.eta for step in self.steps],
            "alpha0": [step.alpha0 for step in self.steps],
            "u": self.steps[0].u,
        }

    @property
    def training(self) -> tuple[GradientStep, ...]:
        """The steps."""
        return self.steps

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self.steps))}]"


class _Walk:
    """A step from one state to the next, for one pair of functions, noise and readout value."""

    def __init__(self, sigma: Activation, g: Activation, noise: float, u: float) -> None:
        self.g, self.noise, self.u = g, noise, u
        self.feature = _core.Function(sigma.core)
        slope = Activation(f"{sigma.name}'", function=sigma.derivative, argument="activation")
        self.slope = _core.Function(slope.core)
        self.label = _core.Function(g.core)

    def step(self, state: _State, eta: float, alpha0: float) -> _State:
        """Take a step, its averages on finer and finer rules until the state stands still."""
        if eta == 0.0 or alpha0 == 0.0:
            return state
        before: _State | None = None
        nodes = _FEWEST
        while nodes <= _MOST:
            now = self._moved(state, eta, alpha0, nodes)
            if not np.isfinite(now).all():
                raise ValueError("eta: the spike overflows: the steps are too large")
            if now.c <= 0.0:
                raise ValueError("the bulk variance c vanishes: change eta slightly")
            if before is not None:
                scale = abs(now.r) + now.c
                moved = max(abs(now.r - before.r), abs(now.c - before.c)) / scale
                if max(moved, abs(now.gamma - before.gamma)) <= _STILL:
                    return now
            before, nodes = now, 2 * nodes
        raise ValueError(
            "step: averages over several steps do not converge for these functions and steps"
        )

    def _moved(self, state: _State, eta: float, alpha0: float, nodes: int) -> _State:
        r, c, gamma = state
        across = float(np.sqrt((1.0 - gamma) * (1.0 + gamma)))
        if across > 0.0:
            kappa = np.linspace(-_REACH, _REACH, nodes + 1)
            weight = np.exp(-0.5 * kappa**2)
            weight /= weight.sum()
            h, hz, rest = self.label(gamma * kappa, across)
            second = h**2 + hz**2 + rest
        else:
            # v is the target's direction: nothing smooths its kinks, so panels end at them.
            kappa, weight = self.g.gaussian_rule(nodes // _FEWEST, 24)
            h = self.g(gamma * kappa)
            hz, second = np.zeros_like(h), h**2
        sd = float(np.sqrt(c))
        mean = r * kappa
        mu0 = self.feature(mean, sd)[0]
        mu1, bend, spread = self.slope(mean, sd)
        output = self.u * mu0
        res = h - output
        power = second - 2.0 * output * h + output**2 + self.noise**2
        move = eta * self.u
        along = r + move * float(weight @ (res * mu1 * kappa))
        beside = move * float(weight @ (hz * mu1))
        # bend is E z sigma', which is sqrt(c) E sigma''; spread the rest of the slope's variance.
        stretch = 1.0 + move * float(weight @ (res * bend)) / sd
        fresh = move**2 * float(weight @ (power * mu1**2)) / alpha0
        c = c * stretch**2 + move**2 * float(weight @ (power * (bend**2 + spread))) / alpha0
        length = float(np.sqrt(along**2 + beside**2 + fresh))
        aligned = (gamma * along + across * beside) / length if length > 0.0 else 0.0
        sign = -1.0 if along < 0.0 else 1.0
        return _State(sign * length, c, float(np.clip(sign * aligned, -1.0, 1.0)))
