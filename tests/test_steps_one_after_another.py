"""Several gradient steps on the first layer, each on fresh samples: theory.md, section 13."""

import json

import numpy as np
import pytest

from command_line import run
from spikedrf import GradientStep, Spike, simulate, theory
from spikedrf.first_layer.several_steps import SeveralSteps

STEP = GradientStep(1.0, 3.0)
MODEL = {"activation": "tanh", "target": "sin"}


def layer(steps, noise, **model):
    return SeveralSteps(steps).first_layer(**MODEL | model, noise=noise)


@pytest.mark.parametrize(
    ("count", "spike", "error"),
    [
        (1, (0.4390, 1.0154, 0.8368), 0.17491),
        (2, (0.6364, 0.9521, 0.9311), 0.13030),
        (3, (0.7744, 0.8758, 0.9645), 0.10621),
    ],
)
def test_the_numbers_of_the_specification(count, spike, error):
    """tanh on sin, noise .2, alpha 2, beta 1, lam .1, to half a unit of the last digit."""
    solution = theory.solve(2.0, lam=0.1, noise=0.2, step=[STEP] * count, **MODEL)
    found = solution.spike
    np.testing.assert_allclose([found.r, found.c, found.gamma], spike, atol=0.51e-4)
    assert solution.test_error == pytest.approx(error, abs=0.51e-5)


def test_section_13():
    """The first row of its table: three steps, alpha 3, noise .1."""
    solution = theory.solve(3.0, lam=0.1, noise=0.1, step=[STEP] * 3, **MODEL)
    spike = solution.spike
    assert spike.r * spike.gamma == pytest.approx(0.746, abs=0.51e-3)
    assert spike.r**2 == pytest.approx(0.593, abs=0.51e-3)
    assert solution.test_error == pytest.approx(0.0599, abs=0.51e-4)


def test_by_hand():
    """A second step by sums over a large grid of (z, kappa, zeta), with sigma' and sigma''."""
    first, eta, alpha0, noise, u = GradientStep(1.2, 2.0, u=0.8), 1.5, 4.0, 0.3, 0.8
    r, c, gamma = (float(x) for x in vars_of(first.spike("tanh", "sin", noise)))
    x = np.linspace(-7.0, 7.0, 141)
    w = np.exp(-0.5 * x**2)
    w /= w.sum()
    kappa, zeta = x[:, None], x
    feature = np.tanh(r * x[:, None] + np.sqrt(c) * x)
    mu0, slope = feature @ w, 1 - feature**2
    mu1, bend = slope @ w, (-2 * feature * slope) @ w
    spread = slope**2 @ w - mu1**2
    res = np.sin(gamma * kappa + np.sqrt(1 - gamma**2) * zeta) - u * mu0[:, None]
    joint = w[:, None] * w
    along = r + eta * u * np.sum(joint * res * mu1[:, None] * kappa)
    beside = eta * u * np.sum(joint * res * mu1[:, None] * zeta)
    power = (joint * (res**2 + noise**2)).sum(axis=1)
    fresh = (eta * u) ** 2 * (power @ mu1**2) / alpha0
    stretched = c * (1 + eta * u * np.sum(joint * res * bend[:, None])) ** 2
    length = np.sqrt(along**2 + beside**2 + fresh)
    expected = (
        length,
        stretched + (eta * u) ** 2 * (power @ spread) / alpha0,
        (gamma * along + np.sqrt(1 - gamma**2) * beside) / length,
    )
    found = layer([first, GradientStep(eta, alpha0, u=0.8)], noise).spike
    np.testing.assert_allclose(vars_of(found), expected, rtol=1e-9)


def vars_of(spike):
    return np.array([spike.r, spike.c, spike.gamma]).ravel()


def test_one_step_is_a_step():
    one = theory.solve(2.0, lam=0.1, step=[STEP], **MODEL)
    assert one.test_error == theory.solve(2.0, lam=0.1, step=STEP, **MODEL).test_error


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_steps_that_do_nothing(activation):
    for idle in (GradientStep(0.0, 3.0), GradientStep(1.0, 0.0)):
        found = layer([STEP, idle], 0.1, activation=activation).spike
        np.testing.assert_allclose(
            vars_of(found), vars_of(STEP.spike(activation, "sin", 0.1)), rtol=1e-14
        )


def test_large_batches_stay_on_the_target():
    """Without noise of the samples the spike is the target's direction, whatever its kinks."""
    steps = [GradientStep(1.0, np.inf)] * 3
    limit = layer(steps, 0.1, target="relu").spike
    assert limit.gamma == pytest.approx(1.0, abs=1e-15)
    near = layer([GradientStep(1.0, 1e7)] * 3, 0.1, target="relu").spike
    np.testing.assert_allclose(vars_of(near), vars_of(limit), rtol=1e-5)


def test_arrays_of_steps():
    eta = np.array([0.5, 1.5])
    steps = [GradientStep(eta[:, None], [1.0, 3.0, np.inf]), GradientStep(1.0, 2.0)]
    whole = theory.solve(2.0, lam=0.1, step=steps, noise=0.1, **MODEL)
    assert whole.test_error.shape == (2, 3)
    alone = [GradientStep(1.5, 3.0), GradientStep(1.0, 2.0)]
    one = theory.solve(2.0, lam=0.1, step=alone, noise=0.1, **MODEL)
    assert whole.test_error[1, 1] == pytest.approx(one.test_error, rel=1e-12)


@pytest.mark.parametrize(
    ("activation", "target", "steps"),
    [
        ("tanh", "sin", [STEP] * 3),
        ("relu", "tanh", [GradientStep(1.0, 4.0), GradientStep(2.0, 8.0)]),
    ],
)
def test_trained_networks(activation, target, steps):
    """Twelve networks at d = 300, |z| < 4.

    Beside that 0.01 for the spike (3/d), and 2% of the error for the network's own bulk and
    stretched neurons.
    """
    model = {"activation": activation, "target": target, "noise": 0.1, "step": steps}
    networks = simulate(
        3.0, d=300, lam=0.1, model="network", replicates=12, rng=0, n_test=2000, **model
    )
    solution = theory.solve(3.0, lam=0.1, **model)
    for name in ("r", "c", "gamma"):
        expected = float(np.ravel(getattr(solution.spike, name))[0])
        mean, sem = (np.ravel(getattr(networks, n))[0] for n in (name, f"{name}_sem"))
        assert abs(mean - expected) < 4 * sem + 0.01, name
    bias = 0.02 * solution.test_error
    assert abs(networks.test_error - solution.test_error) < 4 * networks.test_error_sem + bias


def test_everything_takes_a_list():
    steps = [STEP] * 2
    spike = layer(steps, 0.1).spike
    model = {"noise": 0.1, **MODEL}
    for call in (
        lambda step: theory.stieltjes(0.5 + 0.1j, alpha=2.0, step=step, **model),
        lambda step: theory.optimise(2.0, step=step, **model).lam,
        lambda step: theory.gradient(2.0, lam=0.1, step=step, wrt="lam", **model)["lam"],
        lambda step: theory.best_function(step=step, **model).along,
        lambda step: (
            theory.phase_diagram(alpha=[1.0, 2.0], lam=[0.1, 1.0], step=step, **model).value
        ),
        lambda step: simulate(1.0, d=30, lam=0.1, step=step, replicates=2, rng=1, **model).norm,
    ):
        np.testing.assert_allclose(call(steps), call(spike), rtol=1e-9)


def test_the_command_line(capsys):
    line = "curve --alpha 2 --eta 1 --alpha0 3 --noise 0.2 --steps 3 --json"
    status, out, err = run(capsys, line)
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["with_step"]["test_error"][0] == pytest.approx(0.10621, abs=0.51e-5)
    assert result["parameters"]["steps"] == 3
    assert "steps 3" in run(capsys, line.replace("--json", ""))[1]


@pytest.mark.parametrize(
    ("steps", "given", "error", "message"),
    [
        ([], {}, ValueError, "step has no steps"),
        ([STEP, Spike(1.0, 1.0, 0.5)], {}, TypeError, "step must be a list of GradientStep"),
        ([STEP, GradientStep(1.0, 3.0, u=2.0)], {}, ValueError, "u must be the same in all steps"),
        ([GradientStep(1.0, 3.0, u=[1.0, -1.0], pi=[0.5, 0.5]), GradientStep(
            1.0, 3.0, u=[1.0, -1.0], pi=[0.4, 0.6])], {}, ValueError, "pi must be the same"),
        ([GradientStep(1.0, 3.0, u=[1.0, -1.0])] * 2, {"bulk": "network"}, ValueError,
         "bulk='network' after several steps is known for one value of u, white inputs"),
        ([STEP, GradientStep([1.0, 2.0], 3.0), GradientStep([1.0, 2.0, 3.0], 3.0)], {}, ValueError,
         "do not broadcast"),
    ],
)  # fmt: skip
def test_what_is_refused(steps, given, error, message):
    with pytest.raises(error, match=message):
        theory.solve(2.0, lam=0.1, step=steps, **MODEL, **given)
