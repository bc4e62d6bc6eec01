"""Piecewise linear functions whose breaks are known, and their Gaussian moments."""

import numpy as np


class Piecewise:
    """On the i-th piece between ascending breaks: ``value[i] + slope[i] x``."""

    def __init__(self, breaks, value, slope):
        self.breaks, self.value, self.slope = (np.asarray(a, float) for a in (breaks, value, slope))

    def __call__(self, x):
        piece = np.searchsorted(self.breaks, x)
        return self.value[piece] + self.slope[piece] * x

    def derivative(self, x):
        return self.slope[np.searchsorted(self.breaks, x)]

    def __add__(self, other):
        breaks = np.union1d(self.breaks, other.breaks)
        inside = np.concatenate([breaks[:1] - 1, 0.5 * (breaks[1:] + breaks[:-1]), breaks[-1:] + 1])
        at, there = np.searchsorted(self.breaks, inside), np.searchsorted(other.breaks, inside)
        return Piecewise(
            breaks,
            self.value[at] + other.value[there],
            self.slope[at] + other.slope[there],
        )

    def rule(self, slope=1.0, offset=0.0):
        """Return nodes and N(0, 1) weights on which f(offset + slope z) is integrated exactly."""
        own = (self.breaks - offset) / slope if slope else np.empty(0)
        edge = np.clip(np.concatenate([np.linspace(-11, 11, 45), own]), -11, 11)
        node, weight = np.polynomial.legendre.leggauss(20)
        edge = np.unique(edge)
        half = 0.5 * np.diff(edge)[:, None]
        z = edge[:-1, None] + half * (1 + node)
        return z.ravel(), (half * weight * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)).ravel()

    def moments(self, mean=0.0, sd=1.0):
        """Return E f, E z f, E f^2 - (E f)^2 - (E z f)^2 of f(mean + sd z)."""
        z, w = self.rule(sd, mean)
        f = self(mean + sd * z)
        e0, e1 = np.sum(w * f), np.sum(w * z * f)
        return e0, e1, np.sum(w * (f - e0 - e1 * z) ** 2)


def step(at, height):
    return Piecewise([at], [0.0, height], [0.0, 0.0])


def band(left, width, height):
    return Piecewise([left, left + width], [0.0, height, 0.0], np.zeros(3))


def ramp(at, slope):
    return Piecewise([at], [0.0, -slope * at], [0.0, slope])


def clip(left, width, slope):
    return ramp(left, slope) + ramp(left + width, -slope)


def hat(left, width, height, peak=0.5):
    rise, fall = height / (peak * width), height / ((1 - peak) * width)
    return ramp(left, rise) + ramp(left + peak * width, -rise - fall) + ramp(left + width, fall)


def random_piecewise(rng, *, jumps=True, features=3):
    """Return the sum of one to three features anywhere in [-3, 3], 1e-3 to 1 wide."""
    total = None
    for _ in range(rng.integers(1, features + 1)):
        at, width = rng.uniform(-3, 3), 10 ** rng.uniform(-3, 0)
        if rng.random() < 0.3:
            at = np.round(at, 2)
        size = rng.choice([-1, 1]) * 10 ** rng.uniform(-1, 1)
        kind = rng.integers(5 if jumps else 3)
        if kind == 0:
            one = clip(at, width, size)
        elif kind == 1:
            one = ramp(at, size)
        elif kind == 2:
            one = hat(at, max(width, 2e-3), size, rng.uniform(0.3, 0.7))
        else:
            one = step(at, size) if kind == 3 else band(at, width, size)
        total = one if total is None else total + one
    return total
