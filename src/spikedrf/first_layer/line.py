"""The spike of one group of neurons, from one gradient step to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.first_layer.recursion import slope_of
from spikedrf.step import GradientStep

# The rules for averages over kappa: their reach, nodes of the first and of the finest, and by how
# much the spike may still move from one to the next.
_REACH, _FEWEST, _MOST, _STILL = 9.5, 128, 1 << 15, 1e-12


class State(NamedTuple):
    """Spike strength, bulk variance and alignment between two steps."""

    r: float
    c: float
    gamma: float


#: Before any step.
BEFORE = State(0.0, 1.0, 0.0)


class Walk:
    """A step from one state to the next, for one pair of functions, noise and readout value."""

    def __init__(self, sigma: Activation, g: Activation, noise: float, u: float) -> None:
        self.sigma, self.g, self.noise, self.u = sigma, g, noise, u
        self.feature = _core.Function(sigma.core)
        self.slope = _core.Function(slope_of(sigma).core)
        self.label = _core.Function(g.core)

    def step(self, state: State, eta: float, alpha0: float) -> State:
        """Take a step, its averages on finer and finer rules until the state stands still."""
        if eta == 0.0 or alpha0 == 0.0:
            return state
        before: State | None = None
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

    def _moved(self, state: State, eta: float, alpha0: float, nodes: int) -> State:
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
        return State(sign * length, c, float(np.clip(sign * aligned, -1.0, 1.0)))

    def states(self, steps: Sequence[tuple[float, float]]) -> list[State]:
        """Return the states after steps of ``eta, alpha0``, the first before any."""
        states = [BEFORE]
        for eta, alpha0 in steps:
            if len(states) == 1:
                first = GradientStep(eta, alpha0, self.u).spike(self.sigma, self.g, self.noise)
                states.append(State(float(first.r), float(first.c), float(first.gamma)))
            else:
                states.append(self.step(states[-1], eta, alpha0))
        return states
