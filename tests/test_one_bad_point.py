"""A point that has no answer does not take the others' from a sweep."""

import numpy as np
import pytest

from spikedrf import GradientStep, cli, theory
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


def test_the_command_line_says_it(capsys):
    words = "phase --alpha 0.5:0.7:2 --lam 0:0.1:2 --loss huber:1 --json"
    assert cli.main(words.split()) == 3
    printed = capsys.readouterr()
    assert "2 of 4 points have no answer, they are nan" in printed.err
    assert "did not reach" not in printed.err
