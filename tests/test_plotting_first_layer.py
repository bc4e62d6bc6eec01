"""The picture of an estimator's first layer: what its marks hold."""

import io

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikedrf import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor
from spikedrf.plotting import FirstLayerDisplay

pytest.importorskip("matplotlib")

ETAS, RIDGES = [0.0, 1.0, 4.0], [0.01, 0.1, 1.0]


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = np.sin(2.0 * X[:, 2]) - 0.5 * X[:, 0]
    model = SpikedRFRegressor(50, step_size=ETAS, alpha=RIDGES, random_state=0)
    return make_pipeline(StandardScaler(), model).fit(X, y)


def names_of(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_marks_hold_the_weights(fitted):
    names = ["a", "b", "c", "d"]
    display = FirstLayerDisplay.from_estimator(fitted, feature_names=names, most=3)
    model = fitted[-1]
    left, right = display.axes_
    size = np.sqrt((model.weights_**2).mean(axis=0))
    size = size / np.linalg.norm(size)
    order = np.argsort(-size)[:3][::-1]
    assert names_of(left) == [names[i] for i in order]
    assert names_of(left)[-1] in "ac"
    bars = [bar.get_width() for bar in left.patches]
    np.testing.assert_allclose(bars, model.spike_[order], rtol=1e-12)
    marks = next(line for line in left.lines if line.get_marker() == "D")
    np.testing.assert_allclose(marks.get_xdata(), size[order], rtol=1e-12)
    before = next(line for line in left.lines if line.get_label() == "before the step")
    assert list(before.get_xdata()) == [0.5, 0.5]
    curves = {line.get_label(): line for line in right.lines}
    assert set(curves) == {"no step", r"$\eta = 1$", r"$\eta = 4$", "chosen"}
    np.testing.assert_array_equal(
        curves["no step"].get_xydata(), [*zip(RIDGES, model.loo_errors_[0], strict=True)]
    )
    assert curves["chosen"].get_xydata().tolist() == [[model.alpha_, model.loo_error_]]
    display.figure_.savefig(io.BytesIO())


def test_a_transformer_has_no_errors_to_draw():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3))
    model = SpikedRandomFeatures(10, random_state=0).fit(X, X[:, 0])
    display = FirstLayerDisplay.from_estimator(model)
    assert len(display.axes_) == 1
    assert sorted(names_of(display.axes_[0])) == ["x0", "x1", "x2"]


def test_a_classifier_shows_its_loss():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = np.digitize(np.sin(2.0 * X[:, 2]), [-0.5, 0.5])
    model = SpikedRFClassifier(30, step_size=2.0, alpha=RIDGES, random_state=0).fit(X, y)
    display = FirstLayerDisplay.from_estimator(model, target=2)
    left, right = display.axes_
    bars = dict(zip(names_of(left), (bar.get_width() for bar in left.patches), strict=False))
    assert bars["x2"] == model.spike_[2, 2] > 0.5
    assert right.get_ylabel() == "loss on rows left out"
    curves = {line.get_label(): line for line in right.lines}
    assert set(curves) == {r"$\eta = 2$", "chosen"}
    np.testing.assert_array_equal(curves[r"$\eta = 2$"].get_ydata(), model.cv_losses_)
    assert curves["chosen"].get_xydata().tolist() == [[model.alpha_, model.cv_loss_]]


def test_bad_input(fitted):
    with pytest.raises(ValueError, match="feature_names must have one name for each"):
        FirstLayerDisplay.from_estimator(fitted, feature_names=["a"])
    with pytest.raises(ValueError, match="target must be 0 to 0, got 1"):
        FirstLayerDisplay.from_estimator(fitted, target=1)
    with pytest.raises(ValueError, match="sizes must have the shape of importances"):
        FirstLayerDisplay([1.0, 0.0], ["a", "b"], sizes=[1.0])
