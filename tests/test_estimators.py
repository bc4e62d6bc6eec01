"""The estimators: scikit-learn's contract, the step, the choice of step and ridge, streams."""

import numpy as np
import pytest
from joblib import parallel_config
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikedrf import SpikedRandomFeatures, SpikedRFRegressor
from spikedrf.activations import resolve, step_moments
from spikedrf.estimators.rows import Rows

RIDGES = [0.01, 0.1, 1.0]


@parametrize_with_checks(
    [
        SpikedRandomFeatures(),
        SpikedRandomFeatures(7, step_fraction=0.5, update="rank_one", readout="normal"),
        SpikedRandomFeatures(5, step_size=0.0, bias=False, activation="sign"),
        SpikedRFRegressor(),
        SpikedRFRegressor(20, activation="relu", step_fraction=0.5, alpha_per_target=True),
        SpikedRFRegressor(
            30,
            step_size=1.0,
            alpha=0.1,
            step_fraction=1.0,
            readout="normal",
            update="rank_one",
            bias=False,
            fit_intercept=False,
        ),
        SpikedRFRegressor(10, step_size=[0.5, 2.0], alpha=RIDGES),
    ]
)
# Estimators warn of what these checks feed them: a first layer that sees nothing, a fit continued.
@pytest.mark.filterwarnings("ignore:the gradient of the step is zero:UserWarning")
@pytest.mark.filterwarnings("ignore:fit keeps no sums:UserWarning")
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API is not set")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def data(n=300, d=8, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, np.sin(2.0 * X[:, 0]) + noise * rng.standard_normal(n)


def standardised(y):
    return (y - y.mean()) / y.std()


def gradient(X, y, W, u, activation):
    """The gradient step of size one, written out with whole matrices."""
    sigma = resolve(activation)
    Z = X @ W.T
    residual = standardised(y) - sigma(Z) @ u / len(W)
    return u[:, None] * ((residual[:, None] * sigma.derivative(Z)).T @ X) / len(X)


class TestStep:
    @pytest.mark.parametrize("activation", ["tanh", "relu", "sin"])
    @pytest.mark.parametrize("bias", [True, False])
    def test_is_the_gradient(self, activation, bias):
        X, y = data()
        W = np.random.default_rng(1).standard_normal((12, 8 + bias))
        model = SpikedRandomFeatures(12, activation=activation, step_size=1.7, bias=bias, W0=W)
        model.fit(X, y)
        inputs = np.column_stack([X, np.ones(len(X))]) if bias else X
        u = np.where(np.arange(12) % 2, -1.0, 1.0)
        expected = W + 1.7 * gradient(inputs, y, W, u, activation)
        np.testing.assert_allclose(model.weights_, expected[:, :8], rtol=1e-12, atol=1e-13)
        if bias:
            np.testing.assert_allclose(model.offsets_, expected[:, 8], rtol=1e-12, atol=1e-13)
        pull = inputs.T @ (standardised(y) - resolve(activation)(inputs @ W.T) @ u / 12)
        np.testing.assert_allclose(
            model.spike_, pull[:8] / np.linalg.norm(pull[:8]), rtol=1e-11, atol=1e-12
        )
        np.testing.assert_allclose(
            model.transform(X), resolve(activation)(inputs @ expected.T), rtol=1e-12, atol=1e-13
        )

    def test_rank_one_is_the_spike_of_the_theory(self):
        X, y = data()
        W = np.random.default_rng(1).standard_normal((12, 9))
        model = SpikedRandomFeatures(12, step_size=1.7, update="rank_one", W0=W).fit(X, y)
        inputs = np.column_stack([X, np.ones(len(X))])
        pull = inputs.T @ standardised(y) / len(X)
        u = np.where(np.arange(12) % 2, -1.0, 1.0)
        h1 = step_moments(resolve("tanh"), slope=True).h1
        np.testing.assert_allclose(
            model.weights_, (W + 1.7 * h1 * np.outer(u, pull))[:, :8], rtol=1e-12, atol=1e-14
        )

    def test_targets_share_the_neurons(self):
        X, y = data()
        Y = np.column_stack([y, X[:, 1]])
        W = np.random.default_rng(1).standard_normal((12, 9))
        model = SpikedRandomFeatures(12, step_size=1.0, W0=W).fit(X, Y)
        for t in range(2):
            alone = SpikedRandomFeatures(6, step_size=1.0, W0=W[t::2]).fit(X, Y[:, t])
            np.testing.assert_allclose(model.weights_[t::2], alone.weights_, rtol=1e-13)
            np.testing.assert_allclose(model.spike_[t], alone.spike_, rtol=1e-13)
        assert abs(model.spike_[0, 0]) > 0.9
        assert abs(model.spike_[1, 1]) > 0.9

    @pytest.mark.parametrize("update", ["full", "rank_one"])
    def test_does_not_see_affine_changes_of_the_target(self, update):
        X, y = data()
        fit = SpikedRandomFeatures(20, update=update, random_state=0).fit
        weights = fit(X, y).weights_.copy()
        np.testing.assert_allclose(fit(X, 1e3 * y - 5e4).weights_, weights, rtol=1e-9)

    @pytest.mark.parametrize("update", ["full", "rank_one"])
    @pytest.mark.parametrize("fraction", ["auto", 0.4])
    def test_weights_are_copies(self, update, fraction):
        X, y = data()
        weight = np.random.default_rng(2).integers(0, 4, len(y))
        model = SpikedRandomFeatures(
            20, update=update, step_fraction=fraction, step_size=2.0, random_state=0
        )
        weighted = clone(model).fit(X, y, weight).weights_
        copied = clone(model).fit(X.repeat(weight, 0), y.repeat(weight)).weights_
        np.testing.assert_allclose(weighted, copied, rtol=1e-11, atol=1e-13)

    def test_fraction_of_the_rows(self):
        X, y = data()
        model = SpikedRandomFeatures(10, step_fraction=0.3, scale=False, random_state=0)
        model.fit(X, y)
        assert model.step_rows_.sum() == 90
        rows = model.step_rows_
        again = SpikedRandomFeatures(10, scale=False, random_state=0).fit(X[rows], y[rows])
        np.testing.assert_allclose(again.weights_, model.weights_, rtol=1e-12)
        # Which rows they are depends on the rows, not on their order.
        order = np.random.default_rng(3).permutation(len(y))
        shuffled = SpikedRandomFeatures(10, step_fraction=0.3, scale=False, random_state=0).fit(
            X[order], y[order]
        )
        np.testing.assert_array_equal(shuffled.step_rows_, rows[order])

    def test_normal_readout_moves_neurons_by_different_amounts(self):
        X, y = data(3000, 5)
        model = SpikedRandomFeatures(400, readout="normal", step_size=3.0, random_state=0)
        still = clone(model).set_params(step_size=0.0).fit(X, y)
        model.fit(X, y)
        moved = (model.weights_ - still.weights_) @ model.spike_
        assert np.corrcoef(moved, model.readout_)[0, 1] > 0.95
        assert model.readout_.std() == pytest.approx(1.0, abs=0.15)  # z = 4 for 400 draws

    def test_a_zero_gradient_warns_and_takes_no_step(self):
        y = np.array([1.0, 2.0, 3.0, 5.0])
        for model in (SpikedRandomFeatures(3, bias=False), SpikedRFRegressor(3, bias=False)):
            with pytest.warns(UserWarning, match="gradient of the step is zero"):
                model.fit(np.zeros((4, 2)), y)
            assert model.step_size_ == 0.0
            assert not model.spike_.any()

    @pytest.mark.parametrize("weight", [None, np.tile([1.0, 3.0], 150)])
    def test_a_constant_target_warns_and_takes_no_step(self, weight):
        X, _ = data()
        for model in (SpikedRandomFeatures(9), SpikedRFRegressor(9), SpikedRFRegressor(9, alpha=1)):
            with pytest.warns(UserWarning, match="y is constant: a gradient step has nothing"):
                model.fit(X, np.full(len(X), 3.7), weight)
            assert model.step_size_ == 0.0
            assert not model.spike_.any()
        np.testing.assert_allclose(model.predict(X), 3.7, rtol=1e-12)
        with pytest.warns(UserWarning, match="y is constant"):
            model = clone(model).partial_fit(X, np.full(len(X), 3.7), weight)
        np.testing.assert_allclose(model.predict(X), 3.7, rtol=1e-12)

    def test_an_even_activation_has_no_rank_one_step(self):
        X, y = data()
        with pytest.warns(UserWarning, match="gradient of the step is zero"):
            SpikedRandomFeatures(4, activation="cos", update="rank_one").fit(X, y)


def left_out(model, X, y, weight, i, ridge):
    """Prediction of row i by a ridge regression on the model's features without its copies."""
    left = np.where((X[i] == X).all(axis=1), 0.0, weight)
    Phi = model.transform(X)
    fit = Ridge(alpha=ridge * Phi.shape[1], fit_intercept=model.fit_intercept, solver="svd")
    return fit.fit(Phi, y, sample_weight=left).predict(Phi[i : i + 1])[0]


def effective(weight):
    """Number of rows of equal weight whose mean is as certain as that with these weights."""
    return weight.sum() ** 2 / (weight @ weight)


class TestLeaveOneOut:
    @pytest.mark.parametrize("p", [15, 90])
    @pytest.mark.parametrize("intercept", [True, False])
    @pytest.mark.parametrize("weighted", [True, False])
    @pytest.mark.parametrize("ridge", [0.3, 1e-3])
    def test_is_exact(self, p, intercept, weighted, ridge):
        X, y = data(50, 4)
        rng = np.random.default_rng(1)
        weight = rng.choice([0.5, 1.0, 2.0, 3.5], 50) if weighted else np.ones(50)
        model = SpikedRFRegressor(
            p,
            step_size=1.5,
            alpha=ridge,
            step_fraction=1.0,
            fit_intercept=intercept,
            random_state=0,
        ).fit(X, y, weight if weighted else None)
        squares = [(y[i] - left_out(model, X, y, weight, i, ridge)) ** 2 for i in range(len(y))]
        assert model.loo_error_ == pytest.approx(np.average(squares, weights=weight), rel=1e-7)
        # The same number from the path over several ridges, by eigenvectors.
        several = clone(model).set_params(alpha=[ridge, 7.0 * ridge]).fit(X, y, weight)
        assert several.loo_errors_[0, 0] == pytest.approx(model.loo_error_, rel=1e-9)

    def test_without_a_ridge_interpolates(self):
        X, y = data(30, 4)
        model = SpikedRFRegressor(
            80, step_size=1.0, alpha=0.0, step_fraction=1.0, random_state=0
        ).fit(X, y)
        np.testing.assert_allclose(model.predict(X), y, atol=1e-8)
        small = clone(model).set_params(alpha=1e-10).fit(X, y)
        assert model.loo_error_ == pytest.approx(small.loo_error_, rel=1e-5)

    def test_rows_that_determine_their_fit_have_no_error(self):
        X, y = data(9, 4)
        model = SpikedRFRegressor(8, step_size=0.0, alpha=0.0, random_state=0).fit(X, y)
        np.testing.assert_allclose(model.predict(X), y, atol=1e-6)
        assert model.loo_error_ == np.inf
        several = clone(model).set_params(alpha=[0.0, 0.1]).fit(X, y)
        assert several.alpha_ == 0.1
        assert np.isfinite(several.loo_error_)

    def test_chooses_the_smallest(self):
        X, y = data(200, 5)
        model = SpikedRFRegressor(
            40, step_size=[1.0, 3.0], alpha=RIDGES, step_fraction=1.0, random_state=0
        ).fit(X, y)
        np.testing.assert_array_equal(model.step_sizes_, [0.0, 1.0, 3.0])
        single = np.array(
            [
                [
                    clone(model).set_params(step_size=eta, alpha=ridge).fit(X, y).loo_error_
                    for ridge in RIDGES
                ]
                for eta in model.step_sizes_
            ]
        )
        np.testing.assert_allclose(model.loo_errors_, single, rtol=1e-9)
        at = np.unravel_index(single.argmin(), single.shape)
        assert (model.step_size_, model.alpha_) == (model.step_sizes_[at[0]], RIDGES[at[1]])
        assert model.loo_error_ == pytest.approx(single.min(), rel=1e-9)

    def test_each_target_has_its_ridge(self):
        X, y = data(200, 5, noise=0.01)
        rng = np.random.default_rng(3)
        Y = np.column_stack([y, 5.0 * rng.standard_normal(200)])
        common = SpikedRFRegressor(60, step_size=1.0, alpha=[1e-3, 1e2], random_state=0)
        own = clone(common).set_params(alpha_per_target=True).fit(X, Y)
        np.testing.assert_array_equal(own.alpha_, [1e-3, 1e2])
        assert own.loo_error_.shape == (2,)
        for t in range(2):
            weights = np.column_stack([own.weights_, own.offsets_])
            alone = SpikedRFRegressor(60, step_size=0.0, alpha=own.alpha_[t], W0=weights)
            np.testing.assert_allclose(
                own.predict(X)[:, t], alone.fit(X, Y[:, t]).predict(X), rtol=1e-8, atol=1e-8
            )

    def test_is_the_test_error_of_the_theory(self):
        """On fresh rows the estimator is the theory's network, up to O(1/d)."""
        from spikedrf import GradientStep, theory

        d, alpha, alpha0, ridge = 300, 2.0, 1.0, 0.1
        n = int(d * (alpha + alpha0))
        errors, tested = [], []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            X = rng.standard_normal((n + 2000, d))
            y = np.tanh(X[:, 0]) + 0.2 * rng.standard_normal(len(X))
            model = SpikedRFRegressor(
                d,
                step_size=2.0,
                alpha=ridge,
                readout=1.0,
                step_fraction=alpha0 / (alpha + alpha0),
                bias=False,
                fit_intercept=False,
                random_state=seed,
            ).fit(X[:n], y[:n])
            errors.append(model.loo_error_)
            tested.append(np.mean((model.predict(X[n:]) - y[n:]) ** 2))
        spread = np.std(np.tanh(np.random.default_rng(0).standard_normal(10**6)))
        # The estimator standardises the target: a step of size eta/spread on the theory's.
        scale = np.hypot(spread, 0.2)
        step = GradientStep(eta=2.0 / scale, alpha0=alpha0)
        expected = theory.solve(alpha, lam=ridge, step=step, noise=0.2).test_error
        for measured in (errors, tested):
            sem = np.std(measured, ddof=1) / np.sqrt(len(measured))
            # 5% of the isotropic model's error at alpha0 = 1, and four standard errors.
            assert abs(np.mean(measured) - expected) < 0.05 * expected + 4.0 * sem


class TestChoice:
    """What is chosen by default is not worse than no step, and much better where there is more."""

    @pytest.mark.parametrize("activation", ["tanh", "relu"])
    @pytest.mark.parametrize("shape", [(400, 200), (1500, 20)])
    def test_noise_takes_no_step(self, activation, shape):
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
        model = SpikedRFRegressor(200, activation=activation, random_state=0).fit(X, y)
        plain = SpikedRFRegressor(200, activation=activation, step_size=0.0, random_state=0)
        assert model.step_size_ == 0.0
        np.testing.assert_array_equal(model.predict(X), plain.fit(X, y).predict(X))

    def test_rows_that_know_their_labels_do_not_deceive(self):
        """With as many inputs as rows the leave-one-out error of reused rows is far too small."""
        rng = np.random.default_rng(1)
        X = rng.standard_normal((2300, 150))
        y = X[:, 0] ** 2 + rng.standard_normal(2300)
        train, test = slice(0, 300), slice(300, None)
        scores = {}
        for fraction in ("auto", 1.0):
            model = SpikedRFRegressor(300, step_fraction=fraction, random_state=0)
            model.fit(X[train], y[train])
            claimed = 1.0 - model.loo_error_ / y[train].var()
            scores[fraction] = claimed, model.score(X[test], y[test])
        assert scores[1.0][0] > 0.2 > 0.0 > scores[1.0][1]
        assert abs(scores["auto"][0] - scores["auto"][1]) < 0.1
        assert scores["auto"][1] > -0.02

    @pytest.mark.parametrize("n", [150, 1200])
    def test_finds_a_direction(self, n):
        X, y = data(n + 2000, 10)
        score = {}
        for eta in (0.0, "auto"):
            model = SpikedRFRegressor(200, step_size=eta, random_state=0).fit(X[:n], y[:n])
            score[eta] = model.score(X[n:], y[n:])
        assert score["auto"] > score[0.0] + 0.2
        assert abs(model.spike_[0]) > 0.9
        measured = np.mean((model.predict(X[n:]) - y[n:]) ** 2)
        # Fitted on four fifths of the rows, so not below the error, and within a third of it.
        assert 0.8 < model.loo_error_ / measured < 1.35

    @pytest.mark.parametrize("own", [False, True])
    @pytest.mark.parametrize("p", [15, 90])
    def test_cross_fitting_written_out(self, own, p):
        """Every fifth of the rows predicted by a fit of step and readout to the others."""
        n = 60
        X, y = data(n, 4)
        Y = np.column_stack([y, y + 3.0 * np.random.default_rng(5).standard_normal(n)])
        weight = np.random.default_rng(6).choice([0.5, 1.0, 3.0], n)
        model = SpikedRFRegressor(
            p,
            step_size=[2.0],
            alpha=[1e-3, 1.0],
            alpha_per_target=own,
            scale=False,
            random_state=0,
        )
        model.fit(X, Y, weight)
        salt = int(check_random_state(0).randint(2**31 - 1))
        rank = np.argsort(np.argsort(Rows(X, Y, weight, True, np.arange(n), n).keys(salt)))
        after, before = np.empty((2, 2, n, 2))
        for a, ridge in enumerate([1e-3, 1.0]):
            one = clone(model).set_params(step_size=2.0, alpha=ridge, step_fraction=1.0)
            for fold in range(5):
                out = rank % 5 == fold
                one.fit(X[~out], Y[~out], weight[~out])
                after[a, out] = (one.predict(X[out]) - Y[out]) ** 2
            one.set_params(step_size=0.0).fit(X, Y, weight)
            for i in range(n):
                left = left_out(one, X, Y, weight, i, ridge)
                before[a, i] = (left - Y[i]) ** 2
        errors = [np.average(s, axis=1, weights=weight) for s in (before, after)]
        np.testing.assert_allclose(model.loo_errors_, np.mean(errors, axis=2), rtol=1e-7)
        variance = np.average(
            (Y - np.average(Y, axis=0, weights=weight)) ** 2, axis=0, weights=weight
        )
        targets = np.arange(2)
        chosen = [
            (e / variance).argmin(axis=0) if own else [(e / variance).mean(axis=1).argmin()] * 2
            for e in errors
        ]
        gain = (before[chosen[0], :, targets] - after[chosen[1], :, targets]).T / variance
        assert model.step_gain_ == pytest.approx(np.average(gain.mean(axis=1), weights=weight))
        columns = gain if own else gain.mean(axis=1, keepdims=True)
        off = columns - np.average(columns, axis=0, weights=weight)
        sem = np.sqrt(np.average(off**2, axis=0, weights=weight**2) / effective(weight)).mean()
        assert model.step_gain_sem_ == pytest.approx(sem, rel=1e-6)
        assert (model.step_size_ == 2.0) == (model.step_gain_ > 2.0 * sem)

    @pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
    def test_does_not_depend_on_the_number_of_jobs(self, backend):
        X, y = data(200)
        one = SpikedRFRegressor(40, random_state=0).fit(X, y)
        with parallel_config(backend, n_jobs=2):
            others = [clone(one).fit(X, y), clone(one).set_params(n_jobs=2).fit(X, y)]
        for other in others:
            np.testing.assert_allclose(other.loo_errors_, one.loo_errors_, rtol=1e-10)
            np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-10)

    @pytest.mark.parametrize("setting", [{}, {"step_fraction": 0.5}, {"step_fraction": 1.0}])
    @pytest.mark.parametrize("p", [40, 400])
    def test_weights_are_copies(self, setting, p):
        X, y = data(200)
        weight = np.random.default_rng(2).integers(0, 4, len(y))
        model = SpikedRFRegressor(p, random_state=0, **setting)
        weighted = clone(model).fit(X, y, weight)
        copied = clone(model).fit(X.repeat(weight, 0), y.repeat(weight))
        assert weighted.step_size_ == pytest.approx(copied.step_size_, rel=1e-9)
        assert weighted.loo_error_ == pytest.approx(copied.loo_error_, rel=1e-8)
        np.testing.assert_allclose(weighted.predict(X), copied.predict(X), rtol=1e-7, atol=1e-9)

    def test_does_not_depend_on_the_order_of_the_rows(self):
        X, y = data(300)
        order = np.random.default_rng(0).permutation(300)
        one = SpikedRFRegressor(50, random_state=0).fit(X, y)
        other = SpikedRFRegressor(50, random_state=0).fit(X[order], y[order])
        np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-8, atol=1e-9)

    @pytest.mark.parametrize(
        ("name", "activation", "gain"),
        [
            ("pumadyn32nm", "tanh", 0.15),
            ("pol", "relu", 0.04),
            ("elevators", "tanh", -0.01),
            ("elevators", "relu", -0.01),
            ("pumadyn32nm", "relu", -0.01),
        ],
    )
    def test_real_data(self, shared, name, activation, gain):
        table = np.loadtxt(shared / "data" / f"{name}.csv.gz", delimiter=",")
        X, X_test, y, y_test = train_test_split(
            table[:, :-1], table[:, -1], train_size=6000, random_state=0
        )
        score = {}
        for eta in (0.0, "auto"):
            model = make_pipeline(
                StandardScaler(),
                SpikedRFRegressor(500, activation=activation, step_size=eta, random_state=0),
            )
            score[eta] = model.fit(X, y).score(X_test, y_test)
        assert score["auto"] - score[0.0] >= gain


class TestInputs:
    def test_single_precision(self):
        X, y = data()
        double = SpikedRFRegressor(50, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
        single = clone(double).fit(X.astype(np.float32), y.astype(np.float32))
        assert single.transform(X.astype(np.float32)).dtype == np.float32
        assert single.predict(X.astype(np.float32)).dtype == np.float32
        assert single.weights_.dtype == single.readout_coef_.dtype == np.float32
        np.testing.assert_allclose(single.predict(X), double.predict(X), atol=2e-5)

    @pytest.mark.parametrize("update", ["full", "rank_one"])
    def test_sparse(self, update):
        X, y = data()
        X = np.where(np.abs(X) > 1.0, X, 0.0)
        model = SpikedRFRegressor(50, update=update, scale=False, random_state=0)
        dense = clone(model).fit(X, y)
        for kind in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix):
            thin = clone(model).fit(kind(X), y)
            np.testing.assert_allclose(thin.predict(kind(X)), dense.predict(X), rtol=1e-10)

    def test_names_of_the_features(self):
        pandas = pytest.importorskip("pandas")
        X, y = data(d=3)
        frame = pandas.DataFrame(X, columns=["a", "b", "c"])
        model = SpikedRandomFeatures(2, random_state=0).set_output(transform="pandas")
        out = model.fit(frame, y).transform(frame)
        assert list(out.columns) == ["spikedrandomfeatures0", "spikedrandomfeatures1"]
        assert list(model.feature_names_in_) == ["a", "b", "c"]

    def test_own_activation(self):
        X, y = data()
        named = SpikedRFRegressor(40, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
        own = clone(named).set_params(activation=(np.tanh, lambda z: 1.0 / np.cosh(z) ** 2))
        np.testing.assert_allclose(own.fit(X, y).predict(X), named.predict(X), rtol=1e-9)

    def test_in_scikit_learn(self):
        X, y = data()
        model = make_pipeline(StandardScaler(), SpikedRFRegressor(40, random_state=0))
        assert cross_val_score(model, X, y, cv=3, n_jobs=2).mean() > 0.4
        search = GridSearchCV(
            SpikedRFRegressor(40, step_size=1.0, random_state=0),
            {"activation": ["tanh", "relu"]},
            cv=3,
        ).fit(X, y)
        assert search.best_score_ > 0.2

    def test_features_and_a_readout(self):
        X, y = data()
        features = SpikedRandomFeatures(40, step_size=2.0, random_state=0)
        pipeline = make_pipeline(features, Ridge(alpha=0.1 * 40, solver="svd")).fit(X, y)
        whole = SpikedRFRegressor(40, step_size=2.0, alpha=0.1, random_state=0).fit(X, y)
        np.testing.assert_allclose(pipeline.predict(X), whole.predict(X), rtol=1e-9, atol=1e-10)


BAD = [
    ({"n_components": 0}, ValueError, "n_components must be at least 1, got 0"),
    ({"n_components": 2.5}, TypeError, "n_components must be an integer"),
    ({"random_state": -1}, ValueError, "random_state must be None, an integer from 0 to .* got -1"),
    ({"activation": "tahn"}, ValueError, "tahn"),
    ({"activation": np.floor}, ValueError, "has a jump"),
    ({"activation": (np.tanh, np.ones_like)}, ValueError, "is not its derivative"),
    ({"activation": "sign"}, ValueError, "cannot take a gradient step"),
    ({"readout": "uniform"}, ValueError, "readout must be 'normal'"),
    ({"readout": []}, ValueError, "readout must be"),
    ({"step_fraction": 0.0}, ValueError, "step_fraction must be"),
    ({"step_fraction": "half"}, ValueError, "step_fraction must be"),
    ({"step_fraction": 1e-6}, ValueError, "too few rows for the step"),
    ({"update": "rank-one"}, ValueError, "update must be 'full' or 'rank_one'"),
    ({"bias": 1}, TypeError, "bias must be"),
    ({"W0": np.ones((3, 8))}, ValueError, "W0 must have shape"),
    ({"step_size": np.nan}, ValueError, "step_size must be finite"),
]


class TestErrors:
    @pytest.mark.parametrize("model", [SpikedRandomFeatures(10), SpikedRFRegressor(10)])
    @pytest.mark.parametrize(("setting", "error", "message"), BAD)
    def test_parameters(self, model, setting, error, message):
        X, y = data()
        with pytest.raises(error, match=message):
            clone(model).set_params(**setting).fit(X, y)

    @pytest.mark.parametrize(
        ("setting", "error", "message"),
        [
            ({"alpha": -1.0}, ValueError, "alpha must be >= 0 and finite, got -1.0"),
            ({"alpha": "best"}, ValueError, "alpha must be a number, an array or 'auto'"),
            ({"alpha": []}, ValueError, "alpha must be"),
            ({"step_size": "best"}, ValueError, "step_size must be"),
            ({"step_size": [1.0, np.inf]}, ValueError, "step_size must be finite"),
            ({"fit_intercept": "no"}, TypeError, "fit_intercept must be True or False"),
            ({"alpha_per_target": 1}, TypeError, "alpha_per_target must be True or False"),
            ({"activation": "relu", "step_size": 1e300}, ValueError, "a smaller step_size"),
        ],
    )
    def test_regressor(self, setting, error, message):
        with pytest.raises(error, match=message):
            SpikedRFRegressor(10, **setting).fit(*data())

    @pytest.mark.parametrize("model", [SpikedRandomFeatures(10), SpikedRFRegressor(10)])
    def test_data(self, model):
        X, y = data()
        with pytest.raises(ValueError, match=r"requires y to be passed|y cannot be None"):
            clone(model).fit(X, None)
        with pytest.raises(ValueError, match="minimum of 2 is required"):
            clone(model).fit(X[:1], y[:1])
        with pytest.raises(ValueError, match="NaN"):
            clone(model).fit(np.where(X[0, 0] == X, np.nan, X), y)
        with pytest.raises(ValueError, match="sample_weight must be >= 0"):
            clone(model).fit(X, y, -np.ones(len(y)))
        with pytest.raises(ValueError, match=r"at least one non-zero|at least 2 rows, it is for 0"):
            clone(model).fit(X, y, np.zeros(len(y)))
        with pytest.raises(ValueError, match="sample_weight must be > 0 for at least 2 rows"):
            clone(model).fit(X, y, np.arange(len(y)) == 3)
        with pytest.raises(ValueError, match=r"X must be smaller than \S+ in size, got 1e\+200"):
            clone(model).fit(np.where(X[0, 0] == X, 1e200, X), y)
        with pytest.raises(ValueError, match=r"X must be smaller than .* overflow float32"):
            clone(model).fit(X, y).transform((1e30 * X).astype(np.float32))
        with pytest.raises(ValueError, match=r"y must be smaller than \S+ in size"):
            clone(model).fit(X, 1e200 * y)
        large = clone(model).set_params(activation="relu", step_size=1e308, scale=False)
        with pytest.raises(ValueError, match=r"step_size=1e\+308 is too large"):
            large.fit(100.0 * X, y)
        with pytest.raises(ValueError, match="8 features"):
            clone(model).fit(X, y).transform(X[:, :3])

    def test_a_constant_target_is_fitted_without_a_step(self):
        X, y = data()
        model = SpikedRFRegressor(10, step_size=0.0, random_state=0).fit(X, np.full(len(y), 3.0))
        np.testing.assert_allclose(model.predict(X), 3.0)
