"""The reference solver of theory.md, section 12, against the numbers that are printed there."""

from __future__ import annotations

import numpy as np
import pytest

import latent_cases
from brute_force import functions
from latent_equations import Case, solve
from spikedrf import Spike, theory

ERRORS = ("test", "train", "norm")


@pytest.mark.parametrize(
    ("spike", "model"),
    [
        (Spike(1.2, 1.1, 0.8), {"activation": "relu", "target": "tanh", "noise": 0.3}),
        (
            Spike((1.5, -1.0), (1.05, 1.2), 0.9, (0.6, 0.4)),
            {"activation": "tanh", "target": "hermite2", "noise": 0.0},
        ),
    ],
)
def test_smallest_case_is_section_four(spike, model):
    alpha, beta, lam = 1.5, 0.7, 0.05
    exact = theory.solve(alpha, beta=beta, lam=lam, step=spike, rtol=1e-11, **model)
    r, c, gamma, pi = spike.arrays()
    along, across = float(gamma), np.sqrt(1 - gamma**2)
    g = functions[model["target"]]
    case = Case(
        alpha, beta, lam, model["activation"],
        lambda s, _: g(along * s[:, 0] + across * s[:, 1]),
        r=np.outer(r, [1.0, 0.0]), c=c, pi=pi, noise=model["noise"],
    )  # fmt: skip
    ours = solve(case)
    np.testing.assert_allclose(
        [ours[name] for name in ERRORS],
        [exact.test_error, exact.train_error, exact.norm],
        rtol=1e-9,
    )


def test_printed_mixture():
    """The first row of section 12's table."""
    ours = latent_cases.reference("two classes, tanh")
    assert abs(ours["test"] - 0.5475) < 5e-5
    assert abs(ours["train"] - 0.1815) < 5e-5
    assert abs(ours["norm"] - 0.827) < 5e-4


def large_batch(activation, g, eta, ve, columns):
    """Section 14: alpha0 = inf, where a neuron's part along the target and its length move."""
    z = np.linspace(-12, 12, 4801)
    w = np.exp(-(z**2) / 2)
    w /= w.sum()
    s, y = functions[activation](z), g(z)
    h0, h1, h2, h3 = w @ s, w @ (z * s), w @ ((z**2 - 1) * s), w @ ((z**3 - 3 * z) * s)
    t0, nu, t2 = w @ y, w @ (z * y), w @ ((z**2 - 1) * y)
    base = 1 + eta * (t0 - h0) * h2
    extra = None
    if columns:
        extra = np.array([[[base + eta * t2 * h2, 2 * eta * h3 * nu / base]]])
    case = Case(
        3.0, 1.0, 0.1, activation, lambda s, _: g(s[:, 0]), r=[[eta * h1 * nu]], c=base**2,
        ve=ve, noise=0.1, standard=() if columns else None, extra=extra,
    )  # fmt: skip
    return solve(case)


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        (
            ("gelu", lambda x: np.sin(x) + (x * x - 1) / 2, 1.0),
            [(0.7243, 0.4121, 1.462), (0.5835, 0.3447, 1.356), (0.5757, 0.3414, 1.335)],
        ),
        (("tanh", np.sin, 3.0), [(0.0344,), (0.0330,), (0.0327,)]),
        (("relu", np.tanh, 2.0), [(0.2644,), (0.2644,), (0.2571,)]),
    ],
    ids=["gelu", "tanh", "relu"],
)
def test_printed_large_batches(model, printed):
    """Section 14's table: sections 2 to 5, rows on the sphere, Gaussian rows."""
    for (ve, columns), numbers in zip(((0, False), (0, True), (2, True)), printed, strict=True):
        ours = large_batch(*model, ve, columns)
        for name, number, digit in zip(ERRORS, numbers, (1e-4, 1e-4, 1e-3), strict=False):
            assert abs(ours[name] - number) <= 0.51 * digit


def test_stored_values_are_the_solvers():
    stored = latent_cases.stored()
    assert set(stored) == set(latent_cases.CASES)
    name = "three classes, relu, K = 2"
    ours = latent_cases.reference(name, 0.1, 0.4)
    for error in ERRORS:
        assert ours[error] == pytest.approx(stored[name][error], rel=1e-9)
