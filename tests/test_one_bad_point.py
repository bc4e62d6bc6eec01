"""A point that has no answer does not take the others' from a sweep."""

import numpy as np
import pytest

from spikedrf import Covariance, GradientStep, Mixture, cli, theory
from spikedrf.parameters import ConvergenceWarning

STEP = GradientStep(eta=3.0, alpha0=20.0)
LOSSES = [
    ("logistic", "sign"),
    ("hinge", "sign"),
    ("square", "sign"),
    ("huber", "real"),
    ("absolute", "real"),
]
MODELS = {
    **{f"{loss} {labels}": {"loss": loss, "labels": labels} for loss, labels in LOSSES},
}


@pytest.mark.parametrize("name", MODELS)
def test_one_point_without_a_ridge(name):
    model = {"step": STEP, **MODELS[name]}
    with pytest.warns(ConvergenceWarning, match="1 of them have no answer and are NaN") as told:
        solution = theory.solve(0.5, lam=[0.0, 0.1, 1.0], **model)
    assert len(told) == 1
    assert solution.status.tolist() == [8, 0, 0]
    assert solution.success.tolist() == [False, True, True]
    for quantity in ("test_error", "train_error", "norm", "test_loss", "quadrature_error"):
        values = getattr(solution, quantity)
        assert np.isnan(values[0])
        assert np.isfinite(values[1:]).all()
    others = theory.solve(0.5, lam=[0.1, 1.0], **model)
    np.testing.assert_array_equal(solution.test_error[1:], others.test_error)
    with pytest.raises(ValueError, match=r"lam must be > 0|lam = 0 is for alpha > beta"):
        theory.solve([0.5, 0.7], lam=0.0, **model)


@pytest.mark.parametrize("name", ["huber real"])
def test_one_row_of_a_diagram_without_a_ridge(name):
    model = {"step": STEP, **MODELS[name]}
    with pytest.warns(ConvergenceWarning, match="2 of 4 points have no answer") as told:
        diagram = theory.phase_diagram(alpha=[0.5, 0.7], lam=[0.0, 0.1], **model)
    assert len(told) == 1
    assert diagram.status.tolist() == [[8, 8], [0, 0]]
    assert np.isnan(diagram.value[0]).all()
    solution = theory.solve([0.5, 0.7], lam=0.1, **model)
    np.testing.assert_allclose(diagram.value[1], solution.test_error, rtol=1e-12)
    with pytest.raises(ValueError, match=r"lam must be > 0|lam = 0 is for alpha > beta"):
        theory.phase_diagram(alpha=[0.5, 0.7], beta=[1.0, 2.0], lam=0.0, **model)


@pytest.mark.parametrize(
    ("name", "values"), [("alpha", [np.inf, 0.7]), ("noise", [0.0, 0.3]), ("flip", [0.0, 0.1])]
)
@pytest.mark.parametrize("inputs", [None, Covariance([1.5, 0.5])])
def test_other_points_without_an_answer(name, values, inputs):
    """Infinitely many samples, or labels that are all the same."""
    model = {"alpha": 0.5, "lam": 0.1, "target": "relu", "loss": "hinge", "labels": "sign"}
    model |= {"inputs": inputs, "rtol": 1e-4} | ({"flip": 0.1} if name == "alpha" else {})
    with pytest.warns(ConvergenceWarning, match="1 of them have no answer"):
        solution = theory.solve(**model | {name: values})
    assert solution.status.tolist() == [8, 0]
    assert np.isnan(solution.test_error[0])
    one = theory.solve(**model | {name: values[1]})
    assert solution.test_error[1] == pytest.approx(one.test_error, rel=1e-12)
    with pytest.raises(ValueError, match=r"alpha must be finite|all labels are"):
        theory.solve(**model | {name: values[:1]})


def test_the_command_line_says_it(capsys):
    words = "phase --alpha 0.5:0.7:2 --lam 0:0.1:2 --loss huber:1 --json"
    assert cli.main(words.split()) == 3
    printed = capsys.readouterr()
    assert "2 of 4 points have no answer, they are nan" in printed.err
    assert "did not reach" not in printed.err


def test_the_command_line_keeps_the_other_curves(capsys):
    words = "curve --alpha 0.5 2 --loss logistic --labels sign --lam"
    assert cli.main([*words.split(), "0", "0.1"]) == 3
    printed = capsys.readouterr()
    assert "4 of 8 points have no answer" in printed.err
    lost, *_, last = printed.out.splitlines()[-4:]
    assert lost.split() == ["0", "0.5", *["nan"] * 4]
    step = GradientStep(eta=3.0, alpha0=20.0)
    exact = theory.solve(2.0, lam=0.1, target="sin", step=step, loss="logistic", labels="sign")
    assert float(last.split()[3]) == pytest.approx(exact.test_error, rel=1e-5)
    with pytest.raises(SystemExit):
        cli.main([*words.split(), "0"])
    assert "argument --lam: lam must be > 0" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# Several directions, classes, covariances

NO_LIMIT, NO_FORMULA = 7, 8
CLASSES = Mixture([[1.0], [-1.0]], proportions=[0.3, 0.7])
LATENT = {
    "plane": ({"target": "product", "activation": "erf"}, NO_LIMIT),
    "covariance": ({"target": "sin", "inputs": Covariance([2.0, 1.0, 0.5])}, NO_LIMIT),
    "classes": ({"target": "sin", "inputs": CLASSES, "activation": "relu"}, NO_LIMIT),
    "linear": ({"target": "product", "activation": "identity"}, NO_FORMULA),
    "huber": ({"target": "product", "loss": "huber", "activation": "erf"}, NO_FORMULA),
    "signs": ({"target": "product", "labels": "sign", "loss": "logistic"}, NO_FORMULA),
}
QUANTITIES = ("test_error", "train_error", "excess_error", "norm", "m", "q1", "theta")


@pytest.mark.parametrize("name", LATENT)
def test_one_point_in_latent_coordinates(name):
    model, status = LATENT[name]
    model = {"noise": 0.2, "rtol": 1e-4, **model}
    lam = [0.0, 0.1, 1.0]
    with pytest.warns(ConvergenceWarning, match=r"1 of them have no \w+") as told:
        solution = theory.solve(1.0, lam=lam, **model)
    assert len(told) == 1
    assert solution.status.tolist() == [status, 0, 0]
    assert solution.success.tolist() == [False, True, True]
    others = theory.solve(1.0, lam=lam[1:], **model)
    for quantity in QUANTITIES:
        np.testing.assert_array_equal(getattr(solution, quantity)[1:], getattr(others, quantity))
    lost = [solution.test_error[0], solution.train_error[0], solution.excess_error[0]]
    assert np.array_equal(lost, [np.inf, 0.0, np.inf] if status == NO_LIMIT else [np.nan] * 3, True)
    assert np.isnan(solution.m[0]).all()
    with pytest.raises(ValueError, match="lam"):
        theory.solve(1.0, lam=[0.0, 0.0], **model)


def test_infinitely_many_samples_in_latent_coordinates():
    model = {"lam": 0.1, "target": "product", "activation": "identity", "rtol": 1e-4}
    with pytest.warns(ConvergenceWarning, match="1 of them have no answer"):
        solution = theory.solve([2.0, np.inf], **model)
    assert solution.status.tolist() == [0, NO_FORMULA]
    assert solution.test_error[0] == theory.solve(2.0, **model).test_error
    with pytest.raises(ValueError, match="alpha must be finite"):
        theory.solve(np.inf, **model)


@pytest.mark.parametrize("name", ["plane", "huber"])
def test_one_row_of_a_diagram_in_latent_coordinates(name):
    model, status = LATENT[name]
    model = {"noise": 0.2, "rtol": 1e-4, "beta": 0.7, **model}
    alpha = [0.7, 0.9]
    points = {"alpha": alpha, "lam": [0.0, 0.1]}
    with pytest.warns(ConvergenceWarning, match="points have no answer") as told:
        diagram = theory.phase_diagram(**points, **model)
    assert len(told) == 1
    # Above the threshold ridge regression has a limit.
    bad = [status, status if name == "huber" else 0]
    assert diagram.status.tolist() == [bad, [0, 0]]
    exact = theory.solve(alpha, lam=0.1, **model)
    np.testing.assert_allclose(diagram.value[1], exact.test_error, rtol=1e-12)
    with pytest.raises(ValueError, match="lam"):
        theory.phase_diagram(
            alpha=0.7,
            noise=[0.1, 0.2],
            beta=[0.7, 0.7],
            lam=0.0,
            **{k: v for k, v in model.items() if k not in ("noise", "beta")},
        )


@pytest.mark.parametrize("more", [{}, {"inputs": Covariance([2.0, 1.0])}, {"init": "gaussian"}])
def test_derivatives_of_the_other_points(more):
    model = {"activation": "relu", "target": "sin", "step": STEP, "rtol": 1e-6, **more}
    wrt = ["alpha", "eta"]
    with pytest.warns(ConvergenceWarning, match="1 of 2 points.* no ridgeless limit"):
        found = theory.gradient([0.5, 2.0], lam=0.0, wrt=wrt, **model)
    alone = theory.gradient(2.0, lam=0.0, wrt=wrt, **model)
    assert found.status.tolist() == [7, 0]
    assert found.test_error.tolist() == [np.inf, alone.test_error]
    for name in wrt:
        assert np.isnan(found[name][0])
        assert found[name][1] == alone[name]


@pytest.mark.parametrize("ask", [theory.ensemble, theory.sensitivity])
def test_averages_and_sensitivities_of_the_other_points(ask):
    model = {"activation": "relu", "target": "sin", "step": STEP, "rtol": 1e-6}
    name = "cross_error" if ask is theory.ensemble else "total"
    with pytest.warns(ConvergenceWarning, match="1 of 2 points.* no ridgeless limit"):
        found = ask([0.5, 2.0], lam=0.0, **model)
    alone = ask(2.0, lam=0.0, **model)
    assert found.status.tolist() == [7, 0]
    assert np.isnan(getattr(found, name)[0])
    assert getattr(found, name)[1] == getattr(alone, name)
    with pytest.raises(ValueError, match="lam"):
        ask([0.5, 0.6], lam=0.0, **model)
