"""The solver against converged reference values."""

import json

import numpy as np
import pytest

import spikedrf
from conftest import reference_cases
from spikedrf import GradientStep, Spike, theory

NAMES = {"test": "test_error", "train": "train_error", "norm": "norm"}


def step_of(case):
    if "eta" in case:
        return GradientStep(case["eta"], case["alpha0"], u=case["u"], pi=case["pi"])
    return Spike(case["r"], case["c"], case["gamma"], pi=case["pi"])


def check(case):
    solution = theory.solve(
        case["alpha"],
        lam=case["lam"],
        beta=case["beta"],
        activation=case["activation"],
        target=case["target"],
        step=step_of(case),
        noise=case["noise"],
        rtol=1e-8,
    )
    assert solution.success
    assert solution.quadrature_error <= 1e-8
    assert solution.residual < 1e-11
    for name, attribute in NAMES.items():
        assert getattr(solution, attribute) == pytest.approx(case[name], rel=1e-7)
    for name in ("psi", "q2", "V2"):
        # psi vanishes by symmetry in some cases, up to the rounding of the reference.
        np.testing.assert_allclose(getattr(solution, name), case[name], rtol=1e-7, atol=1e-14)
    r, c, gamma, pi = solution.spike.arrays()
    np.testing.assert_allclose(r, case["r"], rtol=1e-12)
    np.testing.assert_allclose(c, case["c"], rtol=1e-12)
    np.testing.assert_allclose(gamma, case["gamma"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pi, case["pi"], rtol=1e-12)


@pytest.mark.parametrize("number", range(18))
def test_carried_case(number):
    check(reference_cases()[number])


def test_shared_cases(shared):
    cases = json.loads((shared / "reference_cases.json").read_text())["cases"]
    assert cases
    for case in cases:
        check(case)


def test_learning_curve_of_the_paper():
    # tanh on sin, eta 3, alpha0 20, beta 1, lam .1: published to the digits given.
    step = GradientStep(eta=3.0, alpha0=20.0)
    spike = step.spike("tanh", "sin")
    assert spike.r == pytest.approx(1.13405551, abs=5e-9)
    assert spike.c == pytest.approx(1.0189732, abs=5e-8)
    assert spike.gamma == pytest.approx(0.97185444, abs=5e-9)
    alpha = [0.2, 0.9, 1.6, 2.3, 3.0]
    solution = theory.solve(alpha, lam=0.1, target="sin", step=step)
    np.testing.assert_allclose(
        solution.test_error, [0.04848, 0.04250, 0.03731, 0.03430, 0.03252], atol=5.1e-6
    )
    optimum = theory.solve(np.inf, lam=0.1, target="sin", step=step)
    assert optimum.test_error == pytest.approx(0.02659297, abs=5e-9)


SECTION_8 = [
    # activation, target, r, c, pi, gamma, alpha, beta, lam, noise -> test, train, norm
    ("relu", "relu", [1.2], [1.1], [1.0], 0.8, 1.5, 0.5, 0.05, 0.3, (0.28631, 0.11314, 0.4192)),
    (
        "tanh", "hermite2", [1.5, -1.0], [1.05, 1.2], [0.6, 0.4], 0.9, 2.0, 1.0, 0.1, 0.0,
        (1.16528, 0.79715, 0.9162),
    ),
    (
        "relu", "hermite2", [1.5, -1.5], [1.05, 1.05], [0.5, 0.5], 0.9, 1.0, 1.5, 0.1, 0.1,
        (1.16482, 0.13910, 0.9235),
    ),
    (
        "erf", "hermite2", [2.0, 0.5, -1.5], [1.05, 1.3, 0.9], [0.5, 0.2, 0.3], 0.7, 3.0, 0.7,
        0.02, 0.1, (1.19820, 0.85946, 1.6787),
    ),
    ("relu", "tanh", [0.0], [1.0], [1.0], 0.0, 1.0, 1.5, 0.1, 0.1, (0.29580, 0.04796, 0.3940)),
]  # fmt: skip


@pytest.mark.parametrize("case", SECTION_8, ids=[f"{c[0]}-{c[1]}-{len(c[2])}" for c in SECTION_8])
def test_values_checked_by_simulation(case):
    activation, target, r, c, pi, gamma, alpha, beta, lam, noise, expected = case
    solution = theory.solve(
        alpha,
        lam=lam,
        beta=beta,
        activation=activation,
        target=target,
        noise=noise,
        step=Spike(r, c, gamma, pi=pi),
    )
    # The published digits, half a unit in the last place.
    assert solution.test_error == pytest.approx(expected[0], abs=5.1e-6)
    assert solution.train_error == pytest.approx(expected[1], abs=5.1e-6)
    assert solution.norm == pytest.approx(expected[2], abs=5.1e-5)


def test_installed_package_is_tested():
    # With a src layout the tests see the installed wheel, compiled core included.
    assert "site-packages" in spikedrf.__file__
