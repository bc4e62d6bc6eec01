"""Learned functions: what the lines hold, and that networks of finite size put it out."""

import io

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikedrf import GradientStep, SpikedRFRegressor, theory
from spikedrf.figures import Plan
from spikedrf.figures.measured import mean_outputs
from spikedrf.plotting import LearnedFunctionDisplay
from spikedrf.plotting.learned_function import binned

pytest.importorskip("matplotlib")

MODEL = {"alpha": 2.0, "beta": 1.5, "lam": 0.05, "activation": "tanh", "target": "sin"}
STEP = {"eta": 3.0, "alpha0": 3.0}


@pytest.fixture(scope="module")
def solutions():
    step = GradientStep(**STEP)
    return {"no step": theory.solve(**MODEL), "step": theory.solve(**MODEL, step=step)}


def test_conditional_target_in_closed_form():
    kappa, gamma = np.array([-1.5, 0.0, 0.7]), 0.6
    # E sin(a + b z) = sin(a) exp(-b^2/2)
    expected = np.sin(gamma * kappa) * np.exp(-0.5 * (1 - gamma**2))
    given = theory.conditional_target(kappa, "sin", gamma)
    np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-15)
    assert theory.conditional_target(0.5, "sin", 1.0) == pytest.approx(np.sin(0.5), rel=1e-12)
    with pytest.raises(ValueError, match="gamma must be >= -1 and <= 1"):
        theory.conditional_target(0.5, "sin", 1.1)


def test_random_features_are_linear_along_the_target(solutions):
    s = np.linspace(-3.0, 3.0, 7)
    line = solutions["no step"].learned_along_target(s)
    # theory.md, section 5: psi mu1 zeta, mu1 = E sigma'.
    z = np.linspace(-9.0, 9.0, 4001)
    weight = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    slope = solutions["no step"].psi[0] * (weight @ (1.0 - np.tanh(z) ** 2))
    np.testing.assert_allclose(line, slope * s, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("along", ["target", "spike"])
def test_lines(solutions, along):
    display = LearnedFunctionDisplay.from_theory(solutions, target="sin", along=along)
    target, plain, stepped = display.lines_
    x = target.get_xdata()
    gamma = solutions["step"].spike.gamma
    truth = np.sin(x) if along == "target" else theory.conditional_target(x, "sin", gamma)
    np.testing.assert_allclose(target.get_ydata(), truth, rtol=1e-12)
    if along == "spike":
        np.testing.assert_allclose(plain.get_ydata(), 0.0, atol=1e-12)
        expected = solutions["step"].learned_function(x)
        np.testing.assert_allclose(stepped.get_ydata(), expected, rtol=1e-12)
    assert plain.get_linestyle() == "--"
    assert ("theta" in display.ax_.get_xlabel()) == (along == "target")
    display.figure_.savefig(io.BytesIO())


def srf_outputs(spike, d, replicates, rng):
    """Outputs of spiked random features at test points, and their projections (kappa, zeta)."""
    n, p = round(MODEL["alpha"] * d), round(MODEL["beta"] * d)
    r, c, gamma = spike.r, spike.c, spike.gamma
    for _ in range(replicates):
        W = rng.standard_normal((p, d))
        W *= np.sqrt(c) / np.linalg.norm(W, axis=1)[:, None]
        W[:, 0] += r
        X, T = rng.standard_normal((n, d)), rng.standard_normal((20 * d, d))
        y = np.sin(gamma * X[:, 0] + np.sqrt(1 - gamma**2) * X[:, 1])
        F = np.tanh(X @ W.T) / np.sqrt(p)
        a = np.linalg.solve(F.T @ F + MODEL["lam"] * np.eye(p), F.T @ y)
        yield np.tanh(T @ W.T) @ a / np.sqrt(p), T[:, 0], T[:, 1]


def test_functions_of_both_projections_against_simulation(solutions):
    """Moments of the output, 12 spiked models at d = 200: |z| < 4 for each of five."""
    solution = solutions["step"]
    gamma = float(solution.spike.gamma)
    moments = []
    for f, kappa, zeta in srf_outputs(solution.spike, 200, 12, np.random.default_rng(0)):
        s = gamma * kappa + np.sqrt(1 - gamma**2) * zeta
        along = solution.learned_along_target(s)
        both = solution.learned_function(kappa, zeta)
        # What is left of the output has no part along functions of the projections.
        moments.append(
            [np.mean((f - along) * h) for h in (s, s**3 - 3 * s)]
            + [np.mean((f - both) * h) for h in (kappa, zeta, kappa**3 - 3 * kappa)]
        )
    mean, sem = np.mean(moments, axis=0), np.std(moments, axis=0, ddof=1) / np.sqrt(12)
    assert np.abs(mean / sem).max() < 4.0
    assert sem.max() < 0.01


def test_trained_networks_are_measured():
    """The slope of the measured on the predicted output: 1 up to what d = 150 leaves."""
    step = {"eta": 2.0, "alpha0": 20.0}
    solution = theory.solve(**MODEL, step=GradientStep(**step))
    plan = Plan(d=150, replicates=4, seed=1)
    for along in ("target", "spike"):
        points = mean_outputs(plan, {"step": step}, along=along, **MODEL)
        x, y, sem = points["step"]
        assert np.abs(x).max() > 2.5
        predicted = (
            solution.learned_along_target(x) if along == "target" else solution.learned_function(x)
        )
        assert y @ predicted / (predicted @ predicted) == pytest.approx(1.0, abs=0.05)
        assert 0 < sem.max() < 0.1
    assert mean_outputs(Plan(), {"step": step}, along="spike", **MODEL) == {}


def test_from_estimator():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 5))
    y = np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(1000)
    model = make_pipeline(
        StandardScaler(), SpikedRFRegressor(50, step_size=4.0, alpha=0.1, random_state=0)
    )
    model.fit(X, y)
    display = LearnedFunctionDisplay.from_estimator(model, X, y, bins=10)
    along = model[0].transform(X) @ model[-1].spike_
    for label, values in (("observed", y), ("predicted", model.predict(X))):
        x, mean, sem = display.points_[label]
        first = np.argsort(along)[:100]
        assert x[0] == pytest.approx(along[first].mean(), rel=1e-12)
        assert mean[0] == pytest.approx(values[first].mean(), rel=1e-12)
        assert sem[0] == pytest.approx(values[first].std(ddof=1) / 10, rel=1e-12)
    model[-1].spike_[:] = 0.0
    with pytest.raises(ValueError, match="must have one target and have taken a step"):
        LearnedFunctionDisplay.from_estimator(model, X, y)


def test_binned():
    x, y, sem = binned(np.array([3.0, 1.0, 2.0, 4.0]), np.array([5.0, 1.0, 3.0, 9.0]), 2)
    np.testing.assert_allclose([x, y, sem], [[1.5, 3.5], [2.0, 7.0], [1.0, 2.0]])


def test_bad_input(solutions):
    with pytest.raises(ValueError, match="along must be 'target' or 'spike'"):
        LearnedFunctionDisplay([0.0], {}, along="theta")
    with pytest.raises(ValueError, match="function 'a' must have the shape of x"):
        LearnedFunctionDisplay([0.0], {"a": [1.0, 2.0]})
    several = theory.solve([1.0, 2.0], lam=0.1)
    with pytest.raises(ValueError, match="solution 'a' must be one point"):
        LearnedFunctionDisplay.from_theory({"a": several}, target="sin")
    with pytest.raises(ValueError, match="the solution must be one point"):
        several.learned_along_target(0.0)
    other = theory.solve(**MODEL, step=GradientStep(1.0, 1.0))
    with pytest.raises(ValueError, match="solutions must have one gamma"):
        LearnedFunctionDisplay.from_theory(solutions | {"b": other}, target="sin", along="spike")
