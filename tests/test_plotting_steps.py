"""The picture of several steps: what its marks hold."""

import io

import numpy as np
import pytest

from spikedrf import SpikedRandomFeatures, SpikedRFRegressor
from spikedrf.plotting import StepsDisplay

pytest.importorskip("matplotlib")


def test_marks_hold_the_moves():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1200, 5))
    model = SpikedRFRegressor(40, random_state=0).fit(X, X[:, 3] * X[:, 1])
    display = StepsDisplay.from_estimator(model, feature_names=list("abcde"), most=3)
    path, directions = display.axes_
    curves = {line.get_label(): line for line in path.lines}
    assert curves["no step"].get_ydata().tolist() == [model.steps_["error"][0]]
    marks = [p for label, c in curves.items() if label[0] != "_" for p in c.get_xydata().tolist()]
    assert sorted(marks) == [[i, e] for i, e in enumerate(model.steps_["error"])]
    shown = directions.images[0].get_array()
    names = [label.get_text() for label in directions.get_yticklabels()]
    assert sorted(names[:2]) == ["b", "d"]
    at = ["abcde".index(name) for name in names]
    expected = (model.strengths_[:, None] * model.directions_)[:, at].T
    np.testing.assert_allclose(shown, expected, rtol=1e-12)
    display.figure_.savefig(io.BytesIO())


def test_one_step_and_misuse():
    X = np.random.default_rng(0).standard_normal((100, 3))
    display = StepsDisplay.from_estimator(SpikedRandomFeatures(10, random_state=0).fit(X, X[:, 0]))
    assert display.kinds == ["plain", "gradient"]
    display.figure_.savefig(io.BytesIO())
    with pytest.raises(ValueError, match="errors must have one value for each of 2 kinds"):
        StepsDisplay(["plain", "step"], [1.0], np.eye(2), [1.0, 1.0], ["a", "b"])
    with pytest.raises(ValueError, match=r"directions must have shape \(2, 1\)"):
        StepsDisplay(["plain"], [1.0], np.eye(2), [1.0, 1.0], ["a"])
