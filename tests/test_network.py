"""The trained network's own bulk in closed form: theory.md, section 10."""

import numpy as np
import pytest

from differences import central
from spikedrf import GradientStep, Spike, simulate, theory
from spikedrf.first_layer.rational import node_count, rational_rule, rational_weights
from stretched_neurons import stretched_errors

ERRORS = ("test_error", "train_error", "norm")

# The cases of theory.md, section 10: alpha, model, theory (nan: not given) and networks (sem).
SECTION_10 = [
    (1.5, {"step": GradientStep(3.0, 0.5), "lam": 0.05},
     (0.26355, 0.07716, 0.8053), ((0.2660, 0.0028), (0.0797, 0.0008), (0.802, 0.009))),
    (3.0, {"step": GradientStep(2.0, 0.3), "lam": 0.05},
     (0.22528, 0.11714, 0.9340), ((0.2268, 0.0017), (0.1172, 0.0016), (0.919, 0.010))),
    (1.5, {"step": GradientStep(3.0, 1.0), "lam": 0.05, "beta": 1.5, "noise": 0.3,
           "activation": "erf", "target": "sin"},
     (0.31387, 0.07957, 0.8536), ((0.3111, 0.0028), (0.0783, 0.0010), (0.862, 0.009))),
    (1.5, {"step": GradientStep(2.0, 0.5, u=[1.5, -1.0], pi=[0.6, 0.4]), "lam": 0.05, "noise": 0.1},
     (0.26115, 0.07349, 0.8105), ((0.2588, 0.0038), (0.0725, 0.0017), (0.811, 0.010))),
    (2.0, {"step": GradientStep(3.0, 20.0), "lam": 0.05, "beta": 1.5, "noise": 0.1,
           "target": "sin"},
     (0.04804, np.nan, np.nan), ()),
    (2.0, {"step": GradientStep(4.0, 0.5), "lam": 0.02, "noise": 0.1, "activation": "softplus",
           "target": "sin"},
     (0.41572, 0.16617, 1.7544), ((0.418, 0.005), (0.1655, 0.0019), (1.762, 0.022))),
    # The closed form converges to this; theory.md has .30011 / .05946 / .6155.
    (1.5, {"step": GradientStep(1.5, 0.5), "lam": 0.05, "noise": 0.1, "activation": "relu",
           "target": "relu"},
     (0.29996, 0.05943, 0.6152), ((0.3001, 0.0037), (0.0599, 0.0014), (0.612, 0.013))),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(SECTION_10)))
def test_section_10(index):
    alpha, model, expected, networks = SECTION_10[index]
    solution = theory.solve(alpha, bulk="network", **model)
    assert solution.success
    assert solution.bulk == "network"
    found = [getattr(solution, name) for name in ERRORS]
    given = np.isfinite(expected)
    # Half a unit of the last digit.
    places = np.array([0.51e-5, 0.51e-5, 0.51e-4])
    assert (np.abs(np.subtract(found, expected)) < places)[given].all(), found
    # 16 networks each, |z| < 4 (Student, 0.1%); theory.md's own largest is 3.2.
    for value, (mean, sem) in zip(found, networks, strict=False):
        assert abs(mean - value) < 4 * sem


# --------------------------------------------------------------------------------------------------
# The resolvent


@pytest.mark.parametrize(
    ("activation", "target", "noise"), [("erf", "sin", 0.3), ("relu", "relu", 0.2)]
)
def test_nodes_see_what_sampled_batches_see(activation, target, noise):
    """The forms of Sigma/(1 + x Sigma) over v and xi, from 40 batches at d = 240.

    |z| < 4.5 over 16 correlated forms, beside a bias of relative order 1/d.
    """
    eta, alpha0, d, replicates = 2.0, 0.5, 240, 40
    step = GradientStep(eta, alpha0)
    z, w = np.polynomial.hermite_e.hermegauss(200)
    w /= w.sum()
    if activation == "relu":
        h0, h2, chk, g = (
            1 / np.sqrt(2 * np.pi),
            1 / np.sqrt(2 * np.pi),
            0.25,
            lambda s: np.maximum(s, 0),
        )
    else:
        slope = np.sqrt(2 / np.pi) * np.exp(-0.5 * z**2)
        h0, h2, chk, g = 0.0, 0.0, w @ slope**2 - (w @ slope) ** 2, np.sin
    bulk = theory.trained_bulk(step, activation, target, noise)
    x = np.array([0.1, 0.5, 2.0, 20.0])
    nodes = bulk.value[:, 0] / (1 + x[:, None] * bulk.value[:, 0])
    expected = np.stack([nodes @ weight for weight in (bulk.trace, bulk.vv, bulk.vx, bulk.xx)])
    found = []
    for rng in np.random.default_rng(0).spawn(replicates):
        X = rng.normal(size=(round(alpha0 * d), d))
        res = g(X[:, 0]) + noise * rng.normal(size=len(X)) - h0
        root = np.eye(d) + eta * h2 * (X.T * res) @ X / len(X)
        sigma = root @ root + eta**2 * (chk - h2**2) / alpha0 * (X.T * res**2) @ X / len(X)
        v = X.T @ res
        v /= np.linalg.norm(v)
        xi = np.eye(d)[0] - v[0] * v
        xi /= np.linalg.norm(xi)
        value, U = np.linalg.eigh(sigma)
        pv, px = U.T @ v, U.T @ xi
        f = value / (1 + x[:, None] * value)
        found.append([f.mean(axis=1), f @ pv**2, f @ (pv * px), f @ px**2])
    mean = np.mean(found, axis=0)
    sem = np.std(found, axis=0, ddof=1) / np.sqrt(replicates)
    assert (np.abs(mean - expected) < 4.5 * sem + np.abs(expected) * 2 / d).all(), mean / expected


def test_moments_of_the_bulk():
    """E Sigma is c of section 2, and a spectral measure has mass one."""
    for activation, step in (
        ("softplus", GradientStep(np.array([[0.5], [-4.0], [8.0]]), np.array([0.2, 2.0, np.inf]))),
        ("tanh", GradientStep(2.0, 0.5, u=[1.5, -1.0, 0.0], pi=[0.5, 0.3, 0.2])),
    ):
        bulk = theory.trained_bulk(step, activation, "sin", [0.3])
        _, c, _, _ = step.spike(activation, "sin", [0.3]).arrays()
        mean = np.einsum("...j,...jk->...k", bulk.trace, bulk.value)
        np.testing.assert_allclose(mean, c, rtol=1e-9)
        for weight, total in ((bulk.trace, 1), (bulk.vv, 1), (bulk.vx, 0), (bulk.xx, 1)):
            np.testing.assert_allclose(weight.sum(axis=-1), total, atol=1e-9)


def test_rational_rule_is_as_accurate_as_it_says():
    rng = np.random.default_rng(0)
    for spread in (1.5, 30.0, 1e4, 1e9):
        for tolerance in (1e-4, 1e-10):
            count = node_count(spread, tolerance)
            sigma, x = rational_rule(2.0, 2.0 * spread, count)
            assert (np.diff(sigma) > 0).all()
            assert (x > 0).all()
            mass = 2.0 * spread ** rng.uniform(size=5)
            weight = rational_weights(sigma, x, np.sum(mass / (1 + x[:, None] * mass), axis=1))
            at = np.concatenate([[0], np.geomspace(1e-3 / spread, 1e3, 200)])[:, None]
            exact = np.sum(mass / (1 + at * mass), axis=1)
            error = np.abs((sigma / (1 + at * sigma)) @ weight / exact - 1).max()
            assert 1e-6 * tolerance < error < tolerance, (spread, error)


# --------------------------------------------------------------------------------------------------
# Limits and symmetries


def test_large_batches_tend_to_the_isotropic_bulk():
    model = {"lam": 0.05, "target": "sin", "noise": 0.1, "beta": 1.5}
    differences = []
    for alpha0 in (1e2, 1e3, 1e4, np.inf):
        step = GradientStep([2.0, -3.0], alpha0, u=[[1.0, -0.5]])
        network, isotropic = (
            theory.solve(2.0, step=step, bulk=bulk, **model) for bulk in ("network", "isotropic")
        )
        differences.append(np.abs(network.test_error / isotropic.test_error - 1))
    for difference, bound in zip(differences, (1e-5, 1e-6, 1e-7, 1e-9), strict=True):
        assert (difference < bound).all()
    assert (differences[0] > 1e-8).all()


def test_no_step_and_linear_features_are_isotropic():
    for activation, step in (
        ("relu", GradientStep(0.0, 0.5)),
        ("identity", GradientStep(2.0, 0.5)),
    ):
        model = {"lam": 0.1, "activation": activation, "target": "sin", "step": step}
        network, isotropic = (
            theory.solve(0.8, bulk=bulk, **model) for bulk in ("network", "isotropic")
        )
        assert network.test_error == pytest.approx(isotropic.test_error, rel=1e-9)


def test_no_labels_leave_no_trace():
    """Without residuals there is no step, whatever eta is."""
    bulk = theory.trained_bulk(GradientStep(2.0, 0.5), "tanh", np.zeros_like)
    x = np.array([0.0, 1.0, 10.0])[:, None]
    for weight in (bulk.trace, bulk.vv, bulk.xx):
        seen = bulk.value[:, 0] / (1 + x * bulk.value[:, 0]) @ weight
        np.testing.assert_allclose(seen, 1 / (1 + x[:, 0]), rtol=1e-9)


def test_groups_that_are_one():
    one = GradientStep(2.0, 0.5, u=1.3)
    model = {"lam": 0.05, "target": "sin", "noise": 0.1, "bulk": "network"}
    expected = theory.solve(1.5, step=one, **model)
    for u, pi in (([1.3, 1.3], [0.3, 0.7]), ([1.3, 5.0], [1.0, 0.0]), ([-1.3, 1.3], [1.0, 0.0])):
        solution = theory.solve(1.5, step=GradientStep(2.0, 0.5, u=u, pi=pi), **model)
        for name in ERRORS:
            assert getattr(solution, name) == pytest.approx(getattr(expected, name), rel=1e-8)


def test_envelope():
    """d(delta train + lam norm)/dlam = norm."""
    step = GradientStep(2.0, 0.5)

    def objective(lam):
        solution = theory.solve(
            0.9, lam=lam, beta=1.3, activation="relu", target="sin", step=step, noise=0.2,
            bulk="network", rtol=1e-10,
        )  # fmt: skip
        return 0.9 / 1.3 * solution.train_error + lam * solution.norm, solution.norm

    slope = central(lambda lam: objective(lam)[0], 0.07, 2e-3)
    assert slope == pytest.approx(objective(0.07)[1], rel=1e-8)


def test_a_batch_is_its_points():
    eta, alpha0, noise = np.array([[0.5], [3.0]]), np.array([0.2, 1.0, 30.0]), 0.1
    model = {"lam": 0.05, "activation": "gelu", "target": "sin", "bulk": "network"}
    whole = theory.solve(1.5, step=GradientStep(eta, alpha0), noise=noise, **model)
    for i, j in np.ndindex(2, 3):
        alone = theory.solve(1.5, step=GradientStep(eta[i, 0], alpha0[j]), noise=noise, **model)
        assert whole.test_error[i, j] == pytest.approx(alone.test_error, rel=1e-12)
    diagram = theory.phase_diagram(eta=eta[:, 0], alpha0=alpha0, alpha=1.5, noise=noise, **model)
    np.testing.assert_allclose(diagram.value.T, whole.test_error, rtol=1e-12)
    assert diagram.parameters["bulk"] == "network"


# --------------------------------------------------------------------------------------------------
# Accuracy


def test_the_certificate_covers_the_bulk():
    """Random settings: what says 1e-5 is right to 1e-5, beside the same at 1e-10."""
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(16):
        model = {
            "lam": 10 ** rng.uniform(-4, 0),
            "beta": 10 ** rng.uniform(-0.7, 0.7),
            "activation": rng.choice(["tanh", "relu", "softplus", "gelu", "sin", "hermite3"]),
            "target": rng.choice(["sin", "relu", "sign", "hermite3"]),
            "step": GradientStep(10 ** rng.uniform(-1, 1), 10 ** rng.uniform(-1, 1.5)),
            "noise": rng.choice([0.0, 0.05, 0.5]),
            "bulk": "network",
        }
        alpha = 10 ** rng.uniform(-0.7, 1)
        rough, fine = (theory.solve(alpha, rtol=rtol, **model) for rtol in (1e-5, 1e-10))
        assert rough.success
        worst = max(worst, abs(rough.test_error / fine.test_error - 1))
    assert 1e-12 < worst < 1e-5


@pytest.mark.parametrize(
    ("activation", "target", "u", "pi", "at"),
    [
        ("tanh", "sin", 1.0, None, {"eta": 2.0, "alpha0": 0.5, "noise": 0.2}),
        ("relu", "tanh", -1.2, None, {"eta": 1.5, "alpha0": 0.7, "noise": 0.3}),
        ("erf", "sin", [1.5, -1.0], [0.6, 0.4], {"eta": 2.0, "alpha0": 0.5, "noise": 0.02}),
    ],
)
def test_gradient(activation, target, u, pi, at):
    def model(**moved):
        here = at | moved
        return {
            "step": GradientStep(here["eta"], here["alpha0"], u=u, pi=pi), "noise": here["noise"],
            "lam": 0.05, "beta": 1.2, "activation": activation, "target": target, "bulk": "network",
        }  # fmt: skip

    slope = theory.gradient(1.5, wrt=("eta", "alpha0", "noise", "lam"), **model())
    assert slope.success
    for name, value in at.items():

        def error(x, name=name):
            return theory.solve(1.5, rtol=1e-10, **model(**{name: x})).test_error

        assert slope[name] == pytest.approx(central(error, value, 0.01 * value), rel=1e-7)
    by_lam = central(
        lambda lam: theory.solve(1.5, rtol=1e-10, **model() | {"lam": lam}).test_error, 0.05, 5e-4
    )
    assert slope["lam"] == pytest.approx(by_lam, rel=1e-7)


def test_gradient_in_the_limit_of_large_batches():
    step = GradientStep(2.0, np.inf)
    slope = theory.gradient(
        1.5, lam=0.1, step=step, target="sin", wrt=("alpha0", "eta"), bulk="network"
    )
    plain = theory.gradient(1.5, lam=0.1, step=step, target="sin", wrt=("alpha0", "eta"))
    assert slope["alpha0"] == 0.0
    assert slope["eta"] == pytest.approx(plain["eta"], rel=1e-8)


# --------------------------------------------------------------------------------------------------
# Misuse


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": None}, "needs a GradientStep; got step=None"),
        ({"step": Spike(1.0, 1.1, 0.8)}, "needs a GradientStep; got step=Spike"),
        ({"step": GradientStep(1.0, [0.0, 1.0])}, "alpha0 must be > 0, got 0"),
        ({"step": GradientStep(1.0, 1.0), "bulk": "trained"}, "bulk must be one of 'isotropic'"),
    ],
)
def test_misuse(options, message):
    arguments = {"lam": 0.1, "bulk": "network", **options}
    for call in (theory.solve, theory.gradient):
        with pytest.raises(ValueError, match=message):
            call(1.0, **arguments)
    if arguments["step"] is not None and np.ndim(getattr(arguments["step"], "alpha0", 0.0)) == 0:
        with pytest.raises(ValueError, match=message):
            theory.phase_diagram(alpha=[1.0], **arguments | {"lam": [0.1]})


def test_parameters_of_the_spike_do_not_move_alone():
    with pytest.raises(ValueError, match="wrt='c' is for bulk='isotropic'"):
        theory.gradient(1.0, lam=0.1, step=GradientStep(1.0, 1.0), wrt="c", bulk="network")


# --------------------------------------------------------------------------------------------------
# Networks

# alpha, replicates, model: for each the isotropic theory is more than 5 standard errors away.
NETWORKS = [
    (2.0, 16, {"activation": "tanh", "target": "sin", "lam": 0.05, "noise": 0.1,
               "step": GradientStep(3.0, 0.3, u=[1.0, -1.5])}),
    (4.0, 24, {"activation": "relu", "target": "relu", "lam": 0.1, "noise": 0.2,
               "step": GradientStep(1.5, 0.3)}),
    (2.0, 24, {"activation": "erf", "target": "sin", "lam": 0.05, "noise": 0.2, "beta": 0.7,
               "step": GradientStep(4.0, 0.4)}),
    (3.0, 24, {"activation": "tanh", "target": "sin", "lam": 0.05, "noise": 0.2,
               "step": GradientStep(6.0, 1.5)}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(NETWORKS)))
def test_trained_networks(index):
    alpha, replicates, model = NETWORKS[index]
    run = simulate(
        alpha, d=800, model="network", replicates=replicates, n_test=1600, rng=index, **model
    )
    z, apart = (run.z(theory.solve(alpha, bulk=bulk, **model)) for bulk in ("network", "isotropic"))
    assert max(abs(score) for score in z.values()) < 3, z
    assert apart["test_error"] > 5


@pytest.mark.parametrize(
    ("eta", "alpha0", "activation", "noise"), [(3.0, 20.0, "tanh", 0.0), (2.0, 0.5, "erf", 0.3)]
)
def test_the_witness_of_stretched_neurons_knows_the_theory(eta, alpha0, activation, noise):
    model = {"lam": 0.1, "beta": 1.2, "activation": activation, "target": "sin", "noise": noise}
    found = stretched_errors(2.0, eta=eta, alpha0=alpha0, part="none", **model)
    solution = theory.solve(2.0, step=GradientStep(eta, alpha0), bulk="network", **model)
    expected = [getattr(solution, name) for name in ERRORS]
    np.testing.assert_allclose(found, expected, rtol=2e-7)


def test_the_best_step_of_a_small_batch():
    model = {"lam": 0.1, "activation": "relu", "target": "sin", "noise": 0.2, "bulk": "network"}
    best = theory.optimise(2.0, over="eta", step=GradientStep(1.0, 0.4), **model)
    assert best.success
    assert not best.at_bound
    around = theory.solve(
        2.0, step=GradientStep(best.eta * np.array([0.9, 1.0, 1.1]), 0.4), **model
    )
    assert around.test_error[1] == pytest.approx(best.test_error, rel=1e-9)
    assert (around.test_error[[0, 2]] > best.test_error).all()
    # The isotropic bulk would have the network take a longer step.
    isotropic = theory.optimise(
        2.0, over="eta", step=GradientStep(1.0, 0.4), **model | {"bulk": "isotropic"}
    )
    assert isotropic.eta > 1.4 * best.eta
