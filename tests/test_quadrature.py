"""The quadrature never lies: against brute-force rules of many thousand nodes."""

import itertools
import warnings

import numpy as np
import pytest

import brute_force
from spikedrf import ConvergenceWarning, Spike, theory

NAMES = (("test_error", "test"), ("train_error", "train"), ("norm", "norm"))


def compare(activation, target, r, c, gamma, pi, alpha, beta, lam, noise, rtol=1e-8):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solution = theory.solve(
            alpha,
            lam=lam,
            beta=beta,
            activation=activation,
            target=target,
            noise=noise,
            step=Spike(r, c, gamma, pi=pi),
            rtol=rtol,
        )
    if np.size(r) > 1 and solution.status == 3:
        return  # flagged: groups too nearly alike for rtol in double precision
    assert solution.success
    exact = brute_force.solve(alpha, beta, lam, activation, target, r, c, gamma, pi, noise)
    for name, key in NAMES:
        # The brute force itself agrees with its own refinement to 1e-11.
        assert getattr(solution, name) == pytest.approx(exact[key], rel=rtol + 1e-11), name
    for name in ("psi", "q2", "V2"):
        np.testing.assert_allclose(
            getattr(solution, name), exact[name], rtol=1e-7, atol=1e-13, err_msg=name
        )


STRONG = list(
    itertools.product(
        ("tanh",), ("sin", "relu", "sign"), (5.0, 30.0), (0.9, 1.0), (1e-1, 1e-4, 1e-6)
    )
)


@pytest.mark.parametrize(("activation", "target", "r", "gamma", "lam"), STRONG)
def test_strong_spike(activation, target, r, gamma, lam):
    compare(activation, target, r, 1.05, gamma, None, 1.5, 1.0, lam, 0.1)


@pytest.mark.parametrize("activation", ["relu", "erf", "sign", "softplus", "abs", "hermite2"])
@pytest.mark.parametrize("target", ["sign", "abs", "hermite3"])
def test_kinks_strong_spike_and_small_ridge(activation, target):
    for gamma in (0.999999, -1.0):
        compare(activation, target, 12.0, 0.9, gamma, None, 0.6, 1.4, 1e-5, 0.0)


def random_case(rng):
    groups = int(rng.integers(1, 4))
    names = sorted(brute_force.functions)
    activation = names[rng.integers(len(names))]
    while activation in brute_force.LINEAR:
        activation = names[rng.integers(len(names))]
    return {
        "activation": activation,
        "target": names[rng.integers(len(names))],
        "r": 10 ** rng.uniform(-1.5, 1.1, groups) * rng.choice([-1, 1], groups),
        "c": np.where(rng.random(groups) < 0.7, rng.uniform(0.8, 1.4), 10 ** rng.uniform(-1, 1)),
        "gamma": float(rng.choice([0, 0.5, 0.9, 0.99, 0.999, 1, -1, rng.uniform(-1, 1)])),
        "pi": rng.dirichlet(np.full(groups, 3.0)),
        "alpha": float(10 ** rng.uniform(-1, 1)),
        "beta": float(10 ** rng.uniform(-0.7, 0.7)),
        "lam": float(10 ** rng.uniform(-6, 0.5)),
        "noise": float(rng.choice([0.0, 0.3])),
    }


@pytest.mark.parametrize("seed", range(24))
def test_random_cases(seed):
    compare(**random_case(np.random.default_rng(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 250))
def test_many_random_cases(seed):
    compare(**random_case(np.random.default_rng(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("lam", [1e-1, 1e-4, 1e-6])
@pytest.mark.parametrize("target", ["sin", "sign"])
def test_oscillating_activation_with_a_strong_spike(target, lam):
    for gamma in (0.9, 1.0):
        compare("sin", target, 30.0, 1.05, gamma, None, 1.5, 1.0, lam, 0.1)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-10])
def test_error_estimate_covers_the_error(rtol):
    """At any rtol the reported quadrature error bounds the distance to a far finer answer."""
    lam = np.geomspace(1e-6, 1, 13)
    for r in (0.5, 3.0, 20.0):
        arguments = {"lam": lam, "activation": "tanh", "target": "relu", "noise": 0.1}
        step = Spike(r, 1.05, 0.95)
        coarse = theory.solve(1.5, step=step, rtol=rtol, **arguments)
        fine = theory.solve(1.5, step=step, rtol=1e-11, **arguments)
        error = np.abs(coarse.test_error / fine.test_error - 1)
        assert (error <= np.maximum(coarse.quadrature_error, 1e-11)).all()
        assert (coarse.quadrature_error <= rtol).all()


def test_mild_spikes_use_few_nodes():
    solution = theory.solve([0.5, 2.0], lam=0.1, target="sin", step=Spike(1.1, 1.05, 0.9))
    assert (solution.nodes <= 128).all()


@pytest.mark.parametrize("gamma", [0.6, 0.99, 1.0])
@pytest.mark.parametrize("role", ["activation", "target"])
def test_shifted_kinks_and_jumps_of_callables(role, gamma):
    """A function of x - b is solved as well as one with its kink at 0."""

    def jump(x):
        return np.where(x > 0.3, 1.0, 0.0)

    def kink(x):
        return np.maximum(x + 0.7, 0.0)

    for function in (jump, kink):
        names = {"activation": "tanh", "target": "sin"} | {role: function}
        step = Spike(3.0, 1.1, gamma)
        solution = theory.solve([0.5, 2.0], lam=0.01, step=step, noise=0.1, **names)
        assert solution.success.all()
        # The same rule with its panels ending at the break, hundreds of them.
        b = 0.3 if function is jump else -0.7
        slope = 3.0 if role == "activation" else gamma
        edges = np.unique(np.concatenate([np.linspace(-11, 11, 441), [b / slope]]))
        node, weight = np.polynomial.legendre.leggauss(24)
        half = 0.5 * np.diff(edges)[:, None]
        kappa = (edges[:-1, None] + half * (1 + node)).ravel()
        w = (half * weight).ravel() * np.exp(-0.5 * kappa**2) / np.sqrt(2 * np.pi)
        table = shifted_tables(kappa, step, names, function, b)
        for i, alpha in enumerate((0.5, 2.0)):
            exact = brute_force.order_parameters(
                alpha, 1.0, 0.01, table, kappa, w, np.array([1.1]), np.array([1.0])
            )
            for name, key in NAMES:
                assert getattr(solution, name)[i] == pytest.approx(exact[key], rel=1e-8)


def shifted_tables(kappa, step, names, function, b):
    """Tables of theory.md, section 3, with the shift moved into the mean (closed forms)."""
    from scipy.special import ndtr

    def closed(mean, sd):
        t = mean - b
        with np.errstate(divide="ignore"):
            u = t / sd if sd > 0 else np.copysign(np.inf, t)
        phi = np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi)
        if b == 0.3:  # 1(x > b): E = Phi, E z = phi
            return ndtr(u), phi, np.maximum(ndtr(u) * ndtr(-u) - phi**2, 0)
        if sd == 0.0:
            return np.maximum(t, 0), 0 * t, 0 * t
        e0, e1 = t * ndtr(u) + sd * phi, sd * ndtr(u)
        second = (t * t + sd * sd) * ndtr(u) + t * sd * phi
        return e0, e1, np.maximum(second - e0**2 - e1**2, 0)

    mu0, mu1, mu2, h, hz, hh = brute_force.tables(
        kappa,
        step.r,
        step.c,
        step.gamma,
        "tanh" if names["activation"] is function else names["activation"],
        "sin" if names["target"] is function else names["target"],
        0.1,
    )
    if names["activation"] is function:
        e0, e1, e2 = closed(step.r * kappa, np.sqrt(step.c))
        mu0, mu1, mu2 = e0[None], e1[None] / np.sqrt(step.c), e2[None]
    else:
        h, hz, rest = closed(step.gamma * kappa, np.sqrt((1 - step.gamma) * (1 + step.gamma)))
        hh = h**2 + hz**2 + rest + 0.01
    return mu0, mu1, mu2, h, hz, hh


def test_nearly_equal_groups_are_right_or_flagged():
    """Rounding is amplified where groups are alike: two rules can then agree by accident."""
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        activation = ["abs", "relu", "erf", "sign", "leaky_relu"][seed % 5]
        spread = 10 ** rng.uniform(-4, 0)
        r = 10 ** rng.uniform(-1, 1) * (1 + spread * rng.normal(size=3))
        if seed % 2:
            r[1] *= -1
        arguments = {
            "lam": 10 ** rng.uniform(-6, -1),
            "activation": activation,
            "target": "sin",
            "step": Spike(r, 0.8, 0.9),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            runs = [theory.solve(1.5, rtol=rtol, **arguments) for rtol in (1e-4, 1e-8, 1e-11)]
        # Answers of different rules scatter by what rounding does to them.
        for coarse in runs[:2]:
            distance = abs(coarse.test_error / runs[2].test_error - 1)
            assert distance <= max(coarse.quadrature_error, runs[2].quadrature_error, 1e-8)
        seen.add(runs[1].status)
    assert seen >= {0, 3}


def root(x):
    """Not piecewise smooth: a square root at 0.31."""
    return np.sqrt(np.abs(x - 0.31))


def test_a_square_root_is_resolved_by_ever_narrower_panels():
    solution = theory.solve([1.0, 2.0], lam=0.1, target=root, step=Spike(1.0, 1.0, 1.0), rtol=1e-11)
    assert solution.success.all()
    # A rule with the square root substituted away, kappa = 0.31 +- s^2, is exact.
    s, w = np.polynomial.legendre.leggauss(2000)
    s = 0.5 * (s + 1) * np.sqrt(11.5)
    kappa = np.concatenate([0.31 - s[::-1] ** 2, 0.31 + s**2])
    w = 0.5 * np.sqrt(11.5) * w * 2 * s
    w = np.concatenate([w[::-1], w]) * np.exp(-0.5 * kappa**2) / np.sqrt(2 * np.pi)
    for i, alpha in enumerate((1.0, 2.0)):
        exact = brute_force.solve(alpha, 1.0, 0.1, "tanh", root, 1.0, 1.0, 1.0, nodes=(kappa, w))
        assert solution.test_error[i] == pytest.approx(exact["test"], rel=1e-11)


def test_what_cannot_be_resolved_is_flagged():
    def rough(x):
        return x + 0.1 * np.sign(np.sin(3e4 * x))

    arguments = {"lam": 0.1, "step": Spike(1.0, 1.0, 1.0), "rtol": 1e-11}
    with pytest.warns(ConvergenceWarning, match=r"2 of 2 points did not reach rtol=1e-11"):
        solution = theory.solve([1.0, 2.0], target=rough, **arguments)
    assert not solution.success.any()
    assert (solution.status == 1).all()
    # And the estimate covers the error: what oscillates so fast is noise to every smooth function.
    exact = theory.solve([1.0, 2.0], target="identity", noise=0.1, **arguments)
    assert (abs(solution.test_error / exact.test_error - 1) <= solution.quadrature_error).all()
