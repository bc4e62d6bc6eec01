"""The classifier, and the regressor under other losses than the square."""

import io
import pickle

import numpy as np
import pytest
from scipy import optimize, sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikedrf import Spike, SpikedRFClassifier, SpikedRFRegressor, losses, theory
from spikedrf.estimators import network
from spikedrf.estimators.rows import Rows

RIDGES = [0.01, 0.1, 1.0]
CONTRACT = pytest.mark.filterwarnings(
    # Estimators warn of what these checks feed them; the rest is of the checks' own making.
    "ignore:the gradient of the step is zero:UserWarning",
    "ignore:SCIPY_ARRAY_API is not set",
    "ignore::sklearn.exceptions.SkipTestWarning",
)


@parametrize_with_checks(
    [
        SpikedRFClassifier(15, alpha=RIDGES, step_size=[0.5, 2.0], activation="relu"),
        SpikedRFClassifier(
            30,
            loss="hinge",
            step_size=1.0,
            alpha=0.1,
            readout="normal",
            update="rank_one",
            bias=False,
            class_weight="balanced",
        ),
        SpikedRFRegressor(20, loss=losses.Quantile(0.7), step_size=1.0, alpha=0.1),
    ]
)
@CONTRACT
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        SpikedRFClassifier(),
        SpikedRFClassifier(20, loss="squared_hinge", step_fraction=0.5),
        SpikedRFRegressor(20, loss="huber"),
        SpikedRFRegressor(20, loss="pseudo_huber", step_size=0.0, fit_intercept=False),
        SpikedRFRegressor(
            20, loss="absolute", alpha=RIDGES, step_size=[1.0], alpha_per_target=True
        ),
    ]
)
@CONTRACT
def test_scikit_learn_contract_of_the_defaults(estimator, check):
    check(estimator)


def data(n=300, d=8, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    edges = [0.0] if classes == 2 else np.linspace(-0.7, 0.7, classes - 1)
    return X, np.digitize(np.sin(2.0 * X[:, 0]) + 0.3 * rng.standard_normal(n), edges)


def numbers(n=300, d=8, targets=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = np.sin(2.0 * X[:, : targets or 1]) + 0.1 * rng.standard_t(2, (n, targets or 1))
    return X, y if targets else y[:, 0]


def made(loss, **setting):
    """An estimator that takes the loss, and data for it."""
    kind = losses.resolve(loss)
    if kind.margin:
        return SpikedRFClassifier(40, loss=loss, random_state=0, **setting), *data()
    return SpikedRFRegressor(40, loss=loss, random_state=0, **setting), *numbers()


class TestReadout:
    @pytest.mark.parametrize("intercept", [True, False])
    @pytest.mark.parametrize(
        "loss", ["logistic", "squared_hinge", losses.Huber(0.3), losses.PseudoHuber(0.1)]
    )
    def test_minimises_what_the_docstring_says(self, loss, intercept):
        model, X, y = made(loss, step_size=2.0, alpha=0.3, fit_intercept=intercept)
        weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
        model.fit(X, y, weight)
        Phi, label = model.transform(X), 2.0 * y - 1.0 if hasattr(model, "classes_") else y
        kind = losses.resolve(loss)

        def gradient(x):
            slope = weight * kind.derivative(label, Phi @ x[:40] / np.sqrt(40) + x[40:].sum())
            of_b = [slope.sum()] if intercept else []
            return np.append(Phi.T @ slope / np.sqrt(40) + 0.3 * x[:40], of_b)

        def objective(x):
            h = Phi @ x[:40] / np.sqrt(40) + x[40:].sum()
            return weight @ kind.value(label, h) + 0.15 * x[:40] @ x[:40]

        start = np.zeros(40 + intercept)
        rough = optimize.minimize(objective, start, jac=gradient, method="BFGS")
        found = optimize.root(gradient, rough.x, tol=1e-13)
        assert np.abs(gradient(found.x)).max() < 1e-8
        b = model.intercept_ if intercept else []
        fitted = np.append(np.sqrt(40) * np.ravel(model.readout_coef_), b)
        np.testing.assert_allclose(fitted, found.x, atol=1e-6)
        assert intercept or np.ravel(model.intercept_) == 0.0
        # The condition itself, to what rounding leaves of sums of 300 terms.
        assert np.abs(gradient(fitted)).max() < 1e-8

    @pytest.mark.parametrize("loss", ["hinge", "absolute", losses.Quantile(0.8)])
    def test_losses_with_a_kink(self, loss):
        # Dual variables within their bounds, from the residuals where these decide, prove it.
        model, X, y = made(loss, step_size=2.0, alpha=0.3)
        Phi = model.fit(X, y).transform(X)
        label, kind = 2.0 * y - 1.0 if hasattr(model, "classes_") else y, losses.resolve(loss)
        h = Phi @ np.ravel(model.readout_coef_) + model.intercept_
        fixed = np.abs(h - label) > 1e-6
        assert 5 < np.count_nonzero(~fixed) < 200
        slope = kind.derivative(label, h)
        A = np.column_stack([Phi / np.sqrt(40), np.ones(300)])
        rest = (
            np.append(0.3 * np.sqrt(40) * np.ravel(model.readout_coef_), 0.0)
            + A[fixed].T @ slope[fixed]
        )
        low = kind.derivative(label, label - 1.0)[~fixed]
        high = kind.derivative(label, label + 1.0)[~fixed]
        found = optimize.lsq_linear(A[~fixed].T, -rest, bounds=(low, high), tol=1e-14)
        assert np.sqrt(2.0 * found.cost) < 1e-6

    @pytest.mark.parametrize("loss", ["logistic", "squared_hinge", losses.Huber(0.5)])
    def test_is_the_readout_of_the_theory(self, loss):
        """The estimator on the spiked model's weights has the theory's norm and error."""
        d, r, c, gamma, norms, errors = 300, 1.5, 1.05, 0.85, [], []
        signs = losses.resolve(loss).margin
        for seed in range(8):
            rng = np.random.default_rng(seed)
            W = rng.standard_normal((d, d))
            W[:, 0] = 0.0
            W *= np.sqrt(c) / np.linalg.norm(W, axis=1, keepdims=True)
            W[:, 0] = r
            X = rng.standard_normal((2 * d + 4000, d))
            y = np.tanh(gamma * X[:, 0] + np.sqrt(1.0 - gamma**2) * X[:, 1])
            y += 0.3 * rng.standard_normal(len(X))
            y = np.sign(y) if signs else y
            kind = SpikedRFClassifier if signs else SpikedRFRegressor
            model = kind(
                d, loss=loss, alpha=0.1, step_size=0.0, W0=W, bias=False, fit_intercept=False
            ).fit(X[: 2 * d], y[: 2 * d])
            norms.append(np.sum(model.readout_coef_**2))
            miss = model.predict(X[2 * d :]) - y[2 * d :]
            errors.append(np.mean(miss != 0 if signs else miss**2))
        expected = theory.solve(
            2.0,
            lam=0.1,
            step=Spike(r=r, c=c, gamma=gamma),
            noise=0.3,
            loss=loss,
            labels="sign" if signs else "real",
        )
        for measured, limit in ((norms, expected.norm), (errors, expected.test_error)):
            sem = np.std(measured, ddof=1) / np.sqrt(len(measured))
            # Four standard errors, and a few 1/d of finite size.
            assert abs(np.mean(measured) - limit) < 4.0 * sem + 4.0 * limit / d

    def test_huber_loss_of_large_delta_is_ridge_regression(self):
        X, y = numbers(targets=2)
        ridge = SpikedRFRegressor(40, step_size="auto", alpha=0.2, random_state=0).fit(X, y)
        model = SpikedRFRegressor(
            40, loss=losses.Huber(1e6), step_size="auto", alpha=0.2, random_state=0
        ).fit(X, y)
        assert model.step_size_ > 0
        fixed = clone(ridge).set_params(step_size=model.step_size_).fit(X, y)
        np.testing.assert_allclose(model.weights_, fixed.weights_, rtol=1e-12)
        np.testing.assert_allclose(model.readout_coef_, fixed.readout_coef_, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(model.predict(X), fixed.predict(X), rtol=1e-8, atol=1e-9)

    def test_quantiles_cover(self):
        X, y = numbers(4000)
        train, test = slice(0, 2000), slice(2000, None)
        for level in (0.1, 0.8):
            model = SpikedRFRegressor(
                60, loss=losses.Quantile(level), step_size=4.0, alpha=0.1, random_state=0
            ).fit(X[train], y[train])
            residual = y[train] - model.predict(X[train])
            kink = np.abs(residual) < 1e-7
            # The intercept's condition: level of the rows below, up to those that are fitted.
            assert np.mean(residual < -1e-7) <= level <= np.mean(residual < 1e-7)
            assert kink.sum() <= 61
            covered = np.mean(y[test] < model.predict(X[test]))
            # z = 4, and the 60 parameters that the 2000 rows were fitted with.
            assert abs(covered - level) < 4.0 * np.sqrt(level * (1 - level) / 2000) + 0.02

    def test_outliers_do_not_turn_the_step(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((1500, 20))
        clean = np.sin(2.0 * X[:, 0])
        y = clean + 0.1 * rng.standard_normal(1500)
        y[:75] += 100.0 * rng.standard_normal(75)
        error = {}
        for loss in ("square", losses.Huber(0.2), "absolute"):
            model = SpikedRFRegressor(200, loss=loss, random_state=0).fit(X[:1000], y[:1000])
            error[loss] = np.mean((model.predict(X[1000:]) - clean[1000:]) ** 2)
            if loss != "square":
                assert abs(model.spike_[0]) > 0.9
        assert error["square"] > 0.4
        assert max(error[losses.Huber(0.2)], error["absolute"]) < 0.2

    def test_a_gap_that_is_left_warns(self, monkeypatch):
        monkeypatch.setattr(network, "_ACCURACY", 1e-40)
        model, X, y = made("logistic", step_size=1.0, alpha=0.1)
        with pytest.warns(ConvergenceWarning, match="may be above its minimum by"):
            model.fit(X, y)
        assert model.n_iter_.shape == (1,)
        assert model.n_iter_[0] > 0


class TestClasses:
    def test_one_against_the_rest(self):
        X, y = data(classes=3)
        model = SpikedRFClassifier(45, step_size=1.5, alpha=0.1, scale=False, random_state=0)
        model.fit(X, y)
        W = np.column_stack([model.weights_, model.offsets_])
        outputs = model.decision_function(X)
        assert outputs.shape == (300, 3)
        for k in range(3):
            alone = SpikedRFClassifier(45, step_size=0.0, alpha=0.1, W0=W).fit(X, y == k)
            np.testing.assert_allclose(alone.decision_function(X), outputs[:, k], rtol=1e-9)
            np.testing.assert_allclose(
                alone.readout_coef_[0], model.readout_coef_[k], rtol=1e-7, atol=1e-10
            )
            # And its share of the neurons has taken the step of this class.
            stepped = SpikedRFClassifier(15, step_size=1.5, alpha=0.1, W0=first(model, X, k))
            np.testing.assert_allclose(
                stepped.fit(X, y == k).weights_, model.weights_[k::3], rtol=1e-10
            )
        probability = model.predict_proba(X)
        expected = expit(outputs) / expit(outputs).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probability, expected, rtol=1e-12)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probability, rtol=1e-12)
        np.testing.assert_array_equal(model.predict(X), np.argmax(outputs, axis=1))

    def test_two_classes(self):
        X, y = data()
        named = np.array(["no", "yes"])[y]
        model = SpikedRFClassifier(40, step_size=1.0, alpha=0.1, random_state=0).fit(X, named)
        assert model.classes_.tolist() == ["no", "yes"]
        assert model.readout_coef_.shape == (1, 40)
        assert model.intercept_.shape == (1,)
        outputs = model.decision_function(X)
        np.testing.assert_allclose(
            outputs, model.transform(X) @ model.readout_coef_[0] + model.intercept_[0], rtol=1e-10
        )
        np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(outputs), rtol=1e-12)
        np.testing.assert_array_equal(model.predict(X), np.where(outputs > 0, "yes", "no"))
        # The other way round everything changes its sign, on the same features.
        W = np.column_stack([model.weights_, model.offsets_])
        swapped = SpikedRFClassifier(40, step_size=0.0, alpha=0.1, W0=W).fit(X, 1 - y)
        np.testing.assert_allclose(swapped.decision_function(X), -outputs, rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
    def test_weights_of_classes_are_repetitions(self, loss):
        X, y = data(150, 5, classes=3)
        model = SpikedRFClassifier(30, loss=loss, random_state=0)
        weighted = clone(model).set_params(class_weight={0: 2, 2: 3}).fit(X, y)
        times = np.array([2, 1, 3])[y]
        repeated = clone(model).fit(X.repeat(times, 0), y.repeat(times))
        assert weighted.alpha_ == pytest.approx(repeated.alpha_, rel=1e-9)
        assert weighted.step_size_ == pytest.approx(repeated.step_size_, rel=1e-9)
        np.testing.assert_allclose(
            weighted.decision_function(X), repeated.decision_function(X), rtol=1e-6, atol=1e-7
        )

    def test_balanced(self):
        X, y = data(200)
        rows = np.flatnonzero((y == 1) | (np.arange(200) % 5 == 0))
        X, y = X[rows], y[rows]
        share = np.bincount(y) / len(y)
        model = SpikedRFClassifier(30, step_size=1.0, alpha=0.1, random_state=0)
        balanced = clone(model).set_params(class_weight="balanced").fit(X, y)
        weighted = clone(model).fit(X, y, 0.5 / share[y])
        np.testing.assert_allclose(
            balanced.decision_function(X), weighted.decision_function(X), rtol=1e-8, atol=1e-9
        )
        assert np.mean(balanced.predict(X)) < np.mean(clone(model).fit(X, y).predict(X))
        # Weights of rows and "balanced" go together: as many of each class as there are weights.
        twice = clone(balanced).fit(X, y, np.where(y == 1, 2.0, 1.0))
        np.testing.assert_allclose(
            twice.decision_function(X),
            clone(balanced).fit(X.repeat(1 + y, 0), y.repeat(1 + y)).decision_function(X),
            rtol=1e-7,
            atol=1e-8,
        )

    def test_a_class_that_is_there_once(self):
        X, y = data(60)
        y[7] = 2
        model = SpikedRFClassifier(20, random_state=0).fit(X, y)
        assert model.classes_.tolist() == [0, 1, 2]
        assert np.isfinite(model.cv_loss_)
        # Of two rows none can be judged by the other: the grid's middle is taken.
        two = SpikedRFClassifier(20, alpha=RIDGES, random_state=0).fit(X[:2], [0, 1])
        assert two.alpha_ == 0.1
        assert np.isnan(two.cv_loss_)

    def test_which_methods_there_are(self):
        svm = SpikedRFClassifier(loss="squared_hinge")
        assert not hasattr(svm, "predict_proba")
        assert not hasattr(svm, "predict_log_proba")
        assert not hasattr(svm, "partial_fit")
        robust = SpikedRFRegressor(loss="huber")
        assert not hasattr(robust, "partial_fit")
        assert not hasattr(robust, "merge")
        assert hasattr(SpikedRFRegressor(loss=losses.Square()), "partial_fit")
        with pytest.raises(AttributeError) as raised:
            robust.partial_fit(*numbers())
        assert "needs all rows at once" in str(raised.value.__cause__)


def first(model, X, k):
    """The weights, before the step, of the neurons of class k of a classifier of 45 neurons."""
    still = clone(model).set_params(step_size=0.0).fit(X, np.arange(len(X)) % 3)
    return np.column_stack([still.weights_, still.offsets_])[k::3]


class TestChoice:
    def test_noise_takes_no_step(self):
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((2300, 200)), rng.integers(0, 2, 2300)
        model = SpikedRFClassifier(100, random_state=0).fit(X[:300], y[:300])
        assert model.step_size_ == 0.0
        # And the readout learns nothing: the loss is about that of a coin.
        assert model.cv_loss_ == pytest.approx(np.log(2.0), rel=0.03)
        assert log_loss(y[300:], model.predict_proba(X[300:])) < 1.03 * np.log(2.0)

    def test_finds_a_direction_and_its_loss(self):
        X, y = data(3000, 10)
        train, test = slice(0, 1000), slice(1000, None)
        score = {}
        for eta in (0.0, "auto"):
            model = SpikedRFClassifier(200, step_size=eta, scale=False, random_state=0)
            model.fit(X[train], y[train])
            score[eta] = model.score(X[test], y[test])
        assert score["auto"] > score[0.0] + 0.1
        assert abs(model.spike_[0]) > 0.9
        assert model.step_size_ in model.step_sizes_
        assert model.step_errors_[model.step_sizes_ == model.step_size_] == model.step_errors_.min()
        measured = log_loss(y[test], model.predict_proba(X[test]))
        # Fitted on four fifths of the rows, so not below the loss; four standard errors of either.
        assert 0.85 < model.cv_loss_ / measured < 1.25
        assert model.cv_loss_ == model.cv_losses_.min()
        assert model.alpha_ == model.alphas_[model.cv_losses_.argmin()]
        assert (np.diff(model.alphas_) > 0).all()

    def test_the_grid_that_is_cut_short_loses_nothing(self):
        X, y = data(400)
        model = SpikedRFClassifier(60, step_size=2.0, random_state=0).fit(X, y)
        ratio = model.alphas_[1] / model.alphas_[0]
        below = model.alphas_[0] / ratio ** np.arange(5, 0, -1)
        whole = clone(model).set_params(alpha=np.append(below, model.alphas_)).fit(X, y)
        assert whole.alpha_ == model.alpha_
        np.testing.assert_allclose(whole.cv_losses_[5:], model.cv_losses_, rtol=1e-9)
        assert (whole.cv_losses_[:5] > model.cv_loss_).all()

    @pytest.mark.parametrize("loss", ["logistic", "huber"])
    @pytest.mark.parametrize("setting", [{}, {"step_fraction": 0.5}])
    def test_weights_are_copies(self, loss, setting):
        model, X, y = made(loss, **setting)
        weight = np.random.default_rng(2).integers(0, 4, len(y))
        weighted = clone(model).fit(X, y, weight)
        copied = clone(model).fit(X.repeat(weight, 0), y.repeat(weight))
        assert weighted.step_size_ == pytest.approx(copied.step_size_, rel=1e-9)
        assert weighted.alpha_ == pytest.approx(copied.alpha_, rel=1e-9)
        assert weighted.cv_loss_ == pytest.approx(copied.cv_loss_, rel=1e-3)
        np.testing.assert_allclose(
            weighted.readout_coef_, copied.readout_coef_, rtol=1e-6, atol=1e-8
        )

    def test_does_not_depend_on_the_order_of_the_rows(self):
        X, y = data(200)
        order = np.random.default_rng(0).permutation(200)
        one = SpikedRFClassifier(50, random_state=0).fit(X, y)
        other = SpikedRFClassifier(50, random_state=0).fit(X[order], y[order])
        np.testing.assert_allclose(
            one.decision_function(X), other.decision_function(X), rtol=1e-7, atol=1e-8
        )

    def test_a_ridge_for_each_target(self):
        # Targets in other units: the same fit if each has its own ridge, and losses in units.
        X, y = numbers(200)
        Y = np.column_stack([y, 100.0 * y])
        model = SpikedRFRegressor(
            20, loss="absolute", step_size=0.0, alpha=[1e-3, 1e-1], alpha_per_target=True
        )
        model.set_params(random_state=0).fit(X, Y)
        assert model.cv_loss_.shape == model.alpha_.shape == (2,)
        assert model.cv_losses_.shape == (2,)
        for t in range(2):
            alone = clone(model).set_params(alpha_per_target=False).fit(X, Y[:, t])
            assert alone.alpha_ == model.alpha_[t]
            assert alone.cv_loss_ == pytest.approx(model.cv_loss_[t], rel=1e-9)
            np.testing.assert_allclose(alone.predict(X), model.predict(X)[:, t], rtol=1e-9)

    def test_strata_are_dealt_out_evenly(self):
        X, y = np.random.default_rng(0).standard_normal((203, 2)), np.zeros((203, 1))
        strata = np.repeat([0, 1, 2], [180, 16, 7])
        rows = Rows(X, y, np.ones(203), True, np.arange(203), 203)
        fold = rows.deal(1, 5, strata)
        for s, size in enumerate((180, 16, 7)):
            count = np.bincount(fold[strata == s], minlength=5)
            assert count.max() - count.min() <= 1
            assert count.sum() == size
        assert np.bincount(fold).max() - np.bincount(fold).min() <= 1
        # Copies stay together, and the order does not matter.
        twice = Rows(X.repeat(2, 0), y.repeat(2, 0), np.ones(406), True, np.arange(406), 406)
        np.testing.assert_array_equal(twice.deal(1, 5, strata.repeat(2)), fold.repeat(2))


class TestInputs:
    def test_single_precision(self):
        X, y = data()
        double = SpikedRFClassifier(50, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
        single = clone(double).fit(X.astype(np.float32), y)
        assert single.readout_coef_.dtype == single.weights_.dtype == np.float32
        assert single.decision_function(X.astype(np.float32)).dtype == np.float32
        np.testing.assert_allclose(
            single.predict_proba(X.astype(np.float32)), double.predict_proba(X), atol=2e-5
        )

    def test_sparse(self):
        X, y = data()
        X = np.where(np.abs(X) > 1.0, X, 0.0)
        dense = SpikedRFClassifier(30, scale=False, random_state=0).fit(X, y)
        thin = clone(dense).fit(sparse.csr_array(X), y)
        np.testing.assert_allclose(
            thin.decision_function(sparse.csc_matrix(X)), dense.decision_function(X), rtol=1e-9
        )

    def test_in_scikit_learn(self):
        X, y = data(classes=3)
        model = make_pipeline(StandardScaler(), SpikedRFClassifier(30, random_state=0))
        assert cross_val_score(model, X, y, cv=3, scoring="neg_log_loss").mean() > -np.log(3.0)
        search = GridSearchCV(
            SpikedRFClassifier(30, step_size=1.0, alpha=0.1, random_state=0),
            {"loss": ["logistic", "squared_hinge"]},
            cv=3,
        ).fit(X, y)
        assert search.best_score_ > 0.4

    @pytest.mark.parametrize("loss", ["logistic", "quantile"])
    def test_persistence(self, loss):
        skops = pytest.importorskip("skops.io")
        model, X, y = made(loss)
        model.fit(X, y)
        plain = (int, float, str, bool, tuple, list, np.ndarray, np.generic, type(None))
        state = model.__getstate__()
        assert [name for name, value in state.items() if not isinstance(value, plain)] == []
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        saved = skops.dumps(model)
        ours = f"{type(model).__module__}.{type(model).__name__}"
        assert skops.get_untrusted_types(data=saved) == [ours]
        again = skops.load(io.BytesIO(saved), trusted=[ours])
        np.testing.assert_array_equal(again.predict(X), model.predict(X))

    def test_a_fit_forgets_the_one_before(self):
        X, y = numbers()
        model = SpikedRFRegressor(20, random_state=0).partial_fit(X, y)
        model.set_params(loss="huber").fit(X, y)
        assert not hasattr(model, "loo_error_")
        assert not hasattr(model, "statistics_n_")
        model.set_params(loss="square").fit(X, y)
        assert not hasattr(model, "cv_loss_")
        assert not hasattr(model, "n_iter_")

    def test_a_constant_target_is_fitted_without_a_step(self):
        X, _ = numbers()
        for loss in ("huber", "quantile"):
            model = SpikedRFRegressor(10, loss=loss, step_size=0.0, random_state=0)
            model.fit(X, np.full(len(X), 3.0))
            np.testing.assert_allclose(model.predict(X), 3.0, rtol=1e-12)


class TestErrors:
    @pytest.mark.parametrize(
        ("setting", "error", "message"),
        [
            ({"loss": "huber"}, ValueError, "loss='huber' is for numbers: SpikedRFRegressor"),
            ({"loss": "hings"}, ValueError, "hings"),
            ({"alpha": 0.0}, ValueError, "alpha must be > 0 and finite, got 0.0"),
            ({"alpha": "best"}, ValueError, "alpha must be a number, an array or 'auto'"),
            ({"class_weight": {0: -1.0}}, ValueError, "class_weight must be > 0"),
            ({"class_weight": "even"}, ValueError, "class_weight"),
            ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False"),
            ({"step_size": np.nan}, ValueError, "step_size must be finite"),
        ],
    )
    def test_classifier(self, setting, error, message):
        with pytest.raises(error, match=message):
            SpikedRFClassifier(10, **setting).fit(*data())

    def test_regressor(self):
        with pytest.raises(ValueError, match="loss='hinge' is for classes: SpikedRFClassifier"):
            SpikedRFRegressor(10, loss="hinge").fit(*numbers())
        with pytest.raises(ValueError, match="alpha must be > 0"):
            SpikedRFRegressor(10, loss="huber", alpha=0.0).fit(*numbers())
        with pytest.raises(TypeError, match="loss must be a name"):
            SpikedRFRegressor(10, loss=3).fit(*numbers())

    @pytest.mark.parametrize("loss", ["huber", "pseudo_huber", "absolute", "quantile"])
    def test_a_constant_target_is_a_constant_prediction(self, loss):
        X, _ = numbers()
        model = SpikedRFRegressor(10, loss=loss)
        with pytest.warns(UserWarning, match="y is constant: a gradient step has nothing"):
            model.fit(X, np.full(300, -2.5))
        assert model.step_size_ == 0.0
        np.testing.assert_allclose(model.predict(X), -2.5, rtol=1e-12)

    def test_labels(self):
        X, y = data()
        with pytest.raises(ValueError, match="at least two classes of positive weight, got one"):
            SpikedRFClassifier(10).fit(X, np.ones(len(y)))
        with pytest.raises(ValueError, match="at least two classes of positive weight, got one"):
            SpikedRFClassifier(10).fit(X, y, (y == 1).astype(float))
        with pytest.raises(ValueError, match="Unknown label type"):
            SpikedRFClassifier(10).fit(X, X[:, 0])
        with pytest.raises(ValueError, match="1d array"):
            SpikedRFClassifier(10).fit(X, np.column_stack([y, y]))
