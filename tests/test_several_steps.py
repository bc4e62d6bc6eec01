"""Several steps of the estimators: moves, the search for a plan, and what is left of it."""

import dask.array as da
import numpy as np
import pytest
from numpy.random import default_rng
from scipy import sparse
from sklearn.base import clone

from recursion import spikes
from spikedrf import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor
from spikedrf.activations import resolve
from spikedrf.estimators.moves import Draw, Entry, Move, Mover, root
from spikedrf.estimators.planning import Clipped, bounds
from spikedrf.estimators.rows import Rows
from spikedrf.estimators.search import MARGIN, Judge, _settled, search
from spikedrf.estimators.trials import Data, Fit, Fold, Readout


def two_directions(n, d=8, seed=0, noise=0.1):
    """A product of two inputs, which no single direction tells."""
    rng = default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + noise * rng.standard_normal(n)


@pytest.fixture(scope="module")
def fitted():
    X, y = two_directions(5000)
    model = SpikedRFRegressor(80, random_state=0).fit(X[:3000], y[:3000])
    return model, X, y


def trial(p=7, n=60, d=4, targets=1, weighted=False, seed=0):
    rng = default_rng(seed)
    layer = rng.standard_normal((p, d + 1)).astype(np.float32)
    x = np.column_stack([rng.standard_normal((n, d)), np.ones(n)]).astype(np.float32)
    y = rng.standard_normal((n, targets)).astype(np.float32)
    weight = rng.uniform(0.5, 2.0, n).astype(np.float32) if weighted else None
    return layer, Data(x, y, weight)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ["tanh", (np.sin, np.cos)])
class TestTrials:
    """A readout, its gradients and its descent, beside their definitions in double precision."""

    def test_readout(self, targets, weighted, activation):
        layer, data = trial(targets=targets, weighted=weighted)
        sigma = resolve(activation)
        readout = Readout.of(layer, data, sigma, intercept=True)
        phi = sigma(np.float64(data.x @ layer.T))
        w = np.ones(60) if data.weight is None else data.weight.astype(float)
        mean, mean_y = np.average(phi, 0, w), np.average(data.y, 0, w)
        centred = phi - mean
        unit = np.average(centred**2, 0, w).mean()
        assert readout.unit == pytest.approx(unit, rel=1e-5)
        gram = centred.T @ (w[:, None] * centred) / 7
        moment = centred.T @ (w[:, None] * (data.y - mean_y)) / 7
        ridges = np.array([0.01, 1.0])
        for many in (ridges, np.append(ridges, np.arange(2.0, 8.0))):  # factored, decomposed
            a = readout.solve(many)
            for i, ridge in enumerate(ridges):
                exact = np.linalg.solve(gram + ridge * unit * np.eye(7), moment)
                np.testing.assert_allclose(a[:, i], exact, rtol=2e-3, atol=2e-5)
        held = readout.squares(data, a[:, :2])
        exact = (data.y - mean_y - centred @ a[:, 0]) ** 2
        np.testing.assert_allclose(held[:, 0], exact.mean(axis=1), rtol=1e-3, atol=1e-4)

    def test_gradients_and_descent(self, targets, weighted, activation):
        layer, data = trial(targets=targets, weighted=weighted)
        sigma = resolve(activation)
        readout = Readout.of(layer, data, sigma, intercept=True)
        a = readout.solve(np.array([0.05]))[:, 0]
        fit = Fit(readout, 0.05, a)
        W, x = layer.astype(float), data.x.astype(float)
        slope = sigma.derivative(x @ W.T)
        w = np.ones(60) if data.weight is None else data.weight.astype(float)
        square, mean = fit.gradients
        for t in range(targets):
            gradient = (slope * a[:, t]) @ W[:, :-1]
            exact = gradient.T @ (w[:, None] * gradient) / w.sum()
            np.testing.assert_allclose(square[t], exact, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(mean[t], np.average(gradient, 0, w), atol=1e-5)
        assert np.trace(fit.metric) == pytest.approx(4.0)
        # Minus the gradient, by differences of the squared error at the same readout.
        phi_mean, mean_y = readout.mean, readout.mean_y

        def loss(W):
            error = data.y - mean_y - (sigma(x @ W.T) - phi_mean) @ a
            return w @ (error**2).sum(axis=1)

        exact = np.zeros_like(W)
        for i in np.ndindex(W.shape):
            step = np.zeros_like(W)
            step[i] = 1e-5
            exact[i] = (loss(W - step) - loss(W + step)) / 2e-5
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
        np.testing.assert_allclose(fit.descent, exact, atol=5e-3)


def test_moves():
    layer, data = trial(p=6)
    directions = layer[:, :-1] / np.linalg.norm(layer[:, :-1], axis=1, keepdims=True)
    mover = Mover(Draw(directions, layer[:, -1]), resolve("tanh"), True)
    scaled = mover.move(None, Move("scale", 0.5), data)
    np.testing.assert_allclose(scaled.layer[:, :-1], 0.5 * directions, rtol=1e-6)
    state = mover.replay([Entry(Move("scale", 0.5), 0.1, 0.0)], data)
    metric = mover.move(state, Move("full", 0.7), data)
    own = root(state.fit.metric, "full")
    np.testing.assert_allclose(own @ own, state.fit.metric + 0.03 * np.eye(4), atol=1e-5)
    np.testing.assert_allclose(metric.layer[:, :-1], 0.7 * directions @ own, atol=1e-6)
    diagonal = mover.move(state, Move("diagonal", 1.0), data)
    stretch = np.sqrt(np.diag(state.fit.metric) + 0.03)
    np.testing.assert_allclose(diagonal.layer[:, :-1], directions * stretch, rtol=1e-5)
    step = mover.move(state, Move("step", 0.3), data)
    moved = step.layer - state.fit.layer
    assert np.sqrt(np.mean(np.sum(moved**2, axis=1))) == pytest.approx(0.3, rel=1e-5)
    # The momentum of the step before counts .9 times.
    entries = [Entry(Move(kind, size), 0.1, 0.0) for kind, size in (("scale", 0.5), ("step", 0.3))]
    second = mover.replay(entries, data)
    direction = second.fit.descent + 0.9 * state.fit.descent
    again = mover.move(second, Move("step", 0.1), data).layer - second.fit.layer
    cosine = np.vdot(again, direction) / np.linalg.norm(again) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1.0, abs=1e-6)
    gradient = mover.move(state, Move("gradient", 2.0), data).layer - state.fit.layer
    length = 2.0 * np.linalg.norm(state.fit.layer[:, :-1])
    assert np.linalg.norm(gradient[:, :-1]) == pytest.approx(length, rel=1e-5)


def judge_of(y, d=6, n=600, p=30):
    """A judge of neurons on some rows, of which a third is held out; and what moves are tried."""
    rng = default_rng(1)
    x = np.column_stack([rng.standard_normal((n, d)), np.ones(n)]).astype(np.float32)
    y = y(x, rng).astype(np.float32)[:, None]
    directions = rng.standard_normal((p, d)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offsets = rng.standard_normal(p).astype(np.float32)
    mover = Mover(Draw(directions, offsets), resolve("tanh"), True)
    kept, held = slice(0, 2 * n // 3), slice(2 * n // 3, n)
    judge = Judge([Fold(Data(x[kept], y[kept], None), Data(x[held], y[held], None))], mover, None)
    return judge, y[held, 0]


def test_what_learns_is_better_than_a_constant():
    def noise(x, rng):
        return rng.standard_normal(len(x))

    def line(x, rng):
        return x[:, 0] + 0.1 * rng.standard_normal(len(x))

    for target, learns in ((noise, False), (line, True)):
        judge, y = judge_of(target)
        node = judge.best(None, [Move("scale", 1.0)], np.array([0.1]))
        constant = (y - node.states[0].fit.readout.mean_y) ** 2
        gain = constant - node.squares
        sem = gain.std() / np.sqrt(len(gain))
        assert judge.learns(node) == (gain.mean() > MARGIN * sem) == learns


def test_where_nothing_shows_the_first_gradient_step_is_tried_from_every_scale(monkeypatch):
    """A scale that is the best by chance would decide whether a direction is ever found."""
    tried = []
    each = Judge.each

    def recorded(self, before, moves, ridges):
        if moves[0].kind == "gradient":
            tried.append(before.scale)
        return each(self, before, moves, ridges)

    monkeypatch.setattr(Judge, "each", recorded)
    search(judge_of(lambda x, rng: rng.standard_normal(len(x)))[0], ("full",), 1)
    assert tried == [0.5, 1.0, 2.0]
    tried.clear()
    search(judge_of(lambda x, rng: x[:, 0])[0], ("full",), 1)
    assert len(tried) == 1


def test_tries_that_gain_little_are_the_last():
    assert not _settled([1.0, 0.9, 0.5], 2)
    assert not _settled([1.0, 0.995, 0.98], 2)
    assert _settled([1.0, 0.995, 0.991], 2)
    assert not _settled([1.0, 1.0], 2)


def test_bounds():
    """Ten deviations, the range, and nothing of which a thousandth of the rows alone tells."""
    rng = default_rng(0)
    X = rng.standard_normal((2000, 3))
    X[:, 1] = 0.0
    X[:2, 1] = 5.0, -9.0
    X[0, 2] = 1e3
    rows = Rows(X, X[:, :1], np.ones(2000), True, np.arange(2000), 2000)
    lower, upper = bounds(rows)
    assert (lower[0], upper[0]) == (X[:, 0].min(), X[:, 0].max())
    assert (lower[1], upper[1]) == (0.0, 0.0)
    assert upper[2] < 3 * np.sort(X[:, 2])[-3] + 3
    assert lower[2] == X[:, 2].min()
    clipped = Clipped(None, lower, upper)(np.array([[1e9, 4.0, -1e9]]))
    np.testing.assert_array_equal(clipped, [[upper[0], 0.0, lower[2]]])


class TestRegressor:
    def test_finds_more_than_one_direction(self, fitted):
        model, X, y = fitted
        one = clone(model).set_params(n_steps=1, metric=None).fit(X[:3000], y[:3000])
        still = clone(model).set_params(n_steps=0).fit(X[:3000], y[:3000])
        test = X[3000:], y[3000:]
        # The noise leaves .990.
        assert model.score(*test) > 0.97 > 0.9 > max(one.score(*test), still.score(*test))
        # What the estimate says, within four standard errors of the test rows' squares.
        square = (model.predict(test[0]) - test[1]) ** 2
        sem = square.std() * np.sqrt(1 / 2000 + 1 / 600)
        assert square.mean() == pytest.approx(model.loo_error_, abs=4 * sem)
        assert np.sort(np.argsort(model.feature_importances_)[-2:]).tolist() == [0, 1]
        assert model.feature_importances_.sum() == pytest.approx(1.0)
        assert np.linalg.norm(model.directions_[:2, :2]) ** 2 > 1.9
        assert (np.diff(model.strengths_) <= 0).all()
        assert model.spike_.shape == (8,)

    def test_table_of_moves(self, fitted):
        model, _, y = fitted
        table = model.steps_
        assert table.dtype.names == ("kind", "size", "ridge", "error")
        assert table["kind"][:2].tolist() == ["plain", "scale"]
        assert table["error"][-1] == pytest.approx(model.loo_error_)
        error = table["error"][[0, -1]] / y[:3000].var()
        assert error[0] - error[1] == pytest.approx(model.step_gain_, rel=1e-3)
        assert model.step_gain_ > 2 * model.step_gain_sem_ > 0
        assert model.step_size_ > 0

    def test_one_step_and_none_are_as_ever(self):
        X, y = two_directions(1200)
        one = SpikedRFRegressor(40, n_steps=1, metric=None, random_state=0).fit(X, y)
        sizes = one.step_sizes_
        given = SpikedRFRegressor(40, step_size=sizes, random_state=0).fit(X, y)
        np.testing.assert_array_equal(one.predict(X), given.predict(X))
        none = SpikedRFRegressor(40, n_steps=0, random_state=0).fit(X, y)
        zero = SpikedRFRegressor(40, step_size=0.0, random_state=0).fit(X, y)
        np.testing.assert_array_equal(none.predict(X), zero.predict(X))
        # Few rows take the short way.
        few = SpikedRFRegressor(40, random_state=0).fit(X[:400], y[:400])
        short = SpikedRFRegressor(40, n_steps=1, metric=None, random_state=0).fit(X[:400], y[:400])
        np.testing.assert_array_equal(few.predict(X), short.predict(X))

    @pytest.mark.parametrize("n", [1200, 3500])
    def test_noise_takes_no_step(self, n):
        rng = default_rng(1)
        X, y = rng.standard_normal((n, 10)), rng.standard_normal(n)
        model = SpikedRFRegressor(50, random_state=0).fit(X, y)
        plain = SpikedRFRegressor(50, n_steps=0, random_state=0).fit(X, y)
        assert model.step_size_ == 0.0
        assert model.bounds_ is None
        assert model.steps_["kind"].tolist() == ["plain"]
        np.testing.assert_array_equal(model.predict(X), plain.predict(X))

    @pytest.mark.parametrize("limits", [{"n_steps": 3}, {"metric": None}, {"metric": "diagonal"}])
    def test_limits(self, limits):
        X, y = two_directions(1500, 4)
        kinds = SpikedRFRegressor(60, random_state=0, **limits).fit(X, y).steps_["kind"]
        steps = np.isin(kinds, ["gradient", "step", "restart"]).sum()
        assert len(kinds) > 3
        assert steps <= limits.get("n_steps", 30)
        if "metric" in limits:
            assert set(kinds) & {"full", "diagonal"} <= {limits["metric"]}

    def test_does_not_depend_on_jobs_threads_or_order(self):
        from threadpoolctl import threadpool_limits

        X, y = two_directions(3200)
        model = SpikedRFRegressor(60, random_state=0)
        one = clone(model).fit(X, y)
        with threadpool_limits(2):
            np.testing.assert_array_equal(clone(model).fit(X, y).layer_, one.layer_)
        two = clone(model).set_params(n_jobs=2).fit(X, y)
        np.testing.assert_array_equal(two.layer_, one.layer_)

    def test_several_targets_share_a_plan(self):
        X, y = two_directions(3200)
        Y = np.column_stack([y, np.sin(2 * X[:, 2])])
        model = SpikedRFRegressor(150, random_state=0).fit(X[:3000], Y[:3000])
        assert model.spike_.shape == (2, 8)
        assert np.abs(model.spike_[1, 2]) > 0.95
        assert (model.score(X[3000:], Y[3000:])) > 0.9

    def test_weights_of_zero_are_absent(self):
        X, y = two_directions(1600, 5)
        weight = np.where(np.arange(1600) % 4 == 0, 0.0, 2.0)
        model = SpikedRFRegressor(50, random_state=0)
        weighted = clone(model).fit(X, y, weight)
        fewer = clone(model).fit(X[weight > 0], y[weight > 0])
        assert weighted.step_size_ > 0
        np.testing.assert_allclose(weighted.predict(X), fewer.predict(X), rtol=1e-6, atol=1e-8)

    def test_unequal_weights_count(self):
        """Rows of weight three are as three of them; the noise is on those of weight one."""
        X, y = two_directions(2400, 4)
        weight = np.where(X[:, 2] > 0, 3.0, 1.0)
        y = np.where(X[:, 2] > 0, y, default_rng(1).standard_normal(2400))
        model = SpikedRFRegressor(60, random_state=0)
        heavy, light = clone(model).fit(X, y, weight), clone(model).fit(X, y, 4.0 - weight)
        clean = X[:, 2] > 0
        error = [np.mean((m.predict(X) - y)[clean] ** 2) for m in (heavy, light)]
        assert error[0] < error[1]

    def test_units_do_not_matter(self):
        X, y = two_directions(1200, 4)
        model = SpikedRFRegressor(40, random_state=0)
        one = clone(model).fit(X, y)
        other = clone(model).fit(X * [1e3, 1e-3, 1.0, 1e6] + [0.0, 5.0, 0.0, 1e6], 64.0 * y)
        assert other.step_size_ == pytest.approx(one.step_size_, rel=1e-3)
        assert other.loo_error_ == pytest.approx(64.0**2 * one.loo_error_, rel=2e-2)

    def test_single_precision_sparse_and_dask(self):
        X, y = two_directions(3300, 6)
        X = X * (default_rng(1).random(X.shape) < 0.7)
        y = y + X[:, 0] - X[:, 0].mean()
        model = SpikedRFRegressor(60, random_state=0)
        train, test = slice(0, 3000), slice(3000, 3300)
        full = clone(model).fit(X[train], y[train])
        assert full.step_size_ > 0
        score = full.score(X[test], y[test])
        single = clone(model).fit(X[train].astype(np.float32), y[train])
        assert single.layer_.dtype == np.float32
        assert single.score(X[test].astype(np.float32), y[test]) == pytest.approx(score, abs=0.02)
        thin = clone(model).fit(sparse.csr_matrix(X[train]), y[train])
        assert thin.score(sparse.csr_matrix(X[test]), y[test]) == pytest.approx(score, abs=0.05)
        blocks = da.from_array(X[train], chunks=(700, 6)), da.from_array(y[train], chunks=700)
        spread = clone(model).fit(*blocks)
        np.testing.assert_allclose(spread.predict(X[test]), full.predict(X[test]), atol=1e-7)
        np.testing.assert_allclose(
            spread.predict(blocks[0]).compute(), full.predict(X[train]), atol=1e-7
        )

    def test_streams(self):
        X, y = two_directions(3600, 4)
        model = SpikedRFRegressor(60, random_state=0)
        stream = clone(model).partial_fit(X[:1200], y[:1200])
        first = stream.layer_.copy()
        assert stream.bounds_ is not None
        alone = clone(model).fit(X[:1200], y[:1200])
        np.testing.assert_allclose(stream.predict(X), alone.predict(X), atol=1e-8)
        stream.partial_fit(X[1200:2400], y[1200:2400])
        np.testing.assert_array_equal(stream.layer_, first)
        assert stream.score(X[2400:], y[2400:]) > alone.score(X[2400:], y[2400:])
        other = clone(stream).set_params(n_steps=0).partial_fit(X[:1200], y[:1200])
        with pytest.raises(ValueError, match="first layers, bounds"):
            stream.merge(other)

    def test_other_losses(self):
        X, y = two_directions(3400, 4)
        y = y + 30.0 * (default_rng(2).random(3400) < 0.02)
        # Of the state 0 the gain is 2.5 or 1.4 standard errors, as the last digit of tanh goes.
        model = SpikedRFRegressor(60, loss="huber", random_state=1)
        fit = clone(model).fit(X[:3000], y[:3000])
        plain = clone(model).set_params(n_steps=0).fit(X[:3000], y[:3000])
        true = X[3000:, 0] * X[3000:, 1]
        error = [np.mean((m.predict(X[3000:]) - true) ** 2) for m in (fit, plain)]
        assert fit.step_size_ > 0
        assert error[0] < 0.8 * error[1]


class TestClasses:
    def test_two(self):
        X, y = two_directions(4000, 6)
        label = np.where(y > 0, "up", "down")
        model = SpikedRFClassifier(80, random_state=0)
        fit = clone(model).fit(X[:3200], label[:3200])
        plain = clone(model).set_params(n_steps=0).fit(X[:3200], label[:3200])
        assert fit.score(X[3200:], label[3200:]) > plain.score(X[3200:], label[3200:]) + 0.05
        assert fit.step_gain_ > 2 * fit.step_gain_sem_
        assert set(np.argsort(fit.feature_importances_)[-2:]) == {0, 1}

    def test_noise_takes_no_step(self):
        rng = default_rng(0)
        X, y = rng.standard_normal((1500, 6)), rng.integers(0, 3, 1500)
        model = SpikedRFClassifier(40, random_state=0).fit(X, y)
        assert model.step_size_ == 0.0
        assert model.bounds_ is None


class TestFeatures:
    def test_a_plan(self):
        X, y = two_directions(3600)
        features = SpikedRandomFeatures(100, random_state=0).fit(X[:3000], y[:3000])
        assert features.step_size_ > 0
        assert features.steps_["kind"][0] == "plain"
        assert set(np.argsort(features.feature_importances_)[-2:]) == {0, 1}
        model = SpikedRFRegressor(100, random_state=0).fit(X[:3000], y[:3000])
        np.testing.assert_array_equal(features.layer_, model.layer_)
        np.testing.assert_array_equal(features.transform(X), model.transform(X))

    def test_a_step_of_one_as_ever(self):
        X, y = two_directions(1500, 4)
        auto = SpikedRandomFeatures(20, n_steps=1, metric=None, random_state=0).fit(X, y)
        one = SpikedRandomFeatures(20, step_size=1.0, random_state=0).fit(X, y)
        np.testing.assert_array_equal(auto.weights_, one.weights_)
        assert auto.step_size_ == 1.0


@pytest.mark.parametrize(
    ("u", "steps", "eta"), [((1.0,), 3, 1.0), ((1.0, -1.0), 2, 1.5)], ids=["K=1", "K=2"]
)
def test_spikes_of_several_steps_are_those_of_the_theory(u, steps, eta):
    """The overlap with the target, theory.md, section 13, within three standard errors."""
    d, p, alpha0, noise, replicates = 200, 800, 4, 0.1, 12
    # The estimator's targets have variance one.
    scale = np.sqrt((1 - np.exp(-2.0)) / 2 + noise**2)

    def target(s):
        return np.sin(s) / scale

    along, gram, _ = spikes(
        np.tanh,
        lambda z: 1 - np.tanh(z) ** 2,
        target,
        u=np.array(u),
        pi=np.full(len(u), 1 / len(u)),
        eta=eta,
        steps=steps,
        alpha0=alpha0,
        noise=noise / scale,
    )
    measured = []
    for seed in range(replicates):
        rng = default_rng(seed)
        X = rng.standard_normal((steps * alpha0 * d, d))
        y = np.sin(X[:, 0]) + noise * rng.standard_normal(len(X))
        features = SpikedRandomFeatures(
            p,
            step_size=eta,
            n_steps=steps,
            metric=None,
            readout=u,
            bias=False,
            scale=False,
            random_state=seed,
        ).fit(X, y)
        means = [features.weights_[features.readout_ == value].mean(axis=0) for value in u]
        bulk = [features.weights_[features.readout_ == value].var(axis=0).sum() for value in u]
        # Of the square of a mean over neurons the bulk's part is known.
        lengths = [m @ m - b * len(u) / p for m, b in zip(means, bulk, strict=True)]
        measured.append([[m[0] for m in means], lengths])
    mean, sem = np.mean(measured, 0), np.std(measured, 0, ddof=1) / np.sqrt(replicates)
    expected = np.array([along, along**2 + np.diag(gram)])
    assert (np.abs(mean - expected) < 3 * sem).all(), (mean, expected, sem)


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"n_steps": -1}, ValueError, "n_steps must be an integer >= 0 or 'auto', got -1"),
        ({"n_steps": 1.5}, TypeError, "n_steps must be an integer >= 0 or 'auto', got 1.5"),
        ({"n_steps": True}, TypeError, "n_steps must be an integer"),
        ({"n_steps": "many"}, ValueError, "n_steps must be an integer >= 0 or 'auto', got 'many'"),
        ({"metric": "round"}, ValueError, "metric must be 'auto', None, 'full' or 'diagonal'"),
        ({"n_steps": 4, "step_size": 1.0}, ValueError, r"step_size=1.0 belongs to the one step"),
        ({"metric": "full", "update": "rank_one"}, ValueError, "update='rank_one' belongs to"),
        ({"n_steps": 3, "W0": np.ones((9, 4))}, ValueError, "W0 belongs to the one step"),
        ({"n_steps": 2, "activation": "sign"}, ValueError, "cannot take a gradient step"),
    ],
)
def test_misuse(setting, error, message):
    X, y = two_directions(50, 4)
    for model in (SpikedRandomFeatures(9), SpikedRFRegressor(9), SpikedRFClassifier(9)):
        target = y > 0 if isinstance(model, SpikedRFClassifier) else y
        with pytest.raises(error, match=message):
            clone(model).set_params(**setting).fit(X, target)


def test_what_cannot_take_several_steps_says_so():
    X, y = two_directions(60, 4)
    with pytest.raises(ValueError, match="partial_fit takes at most one step"):
        SpikedRandomFeatures(9, n_steps=3).partial_fit(X, y)
    wide = sparse.random(40, 3000, density=0.01, format="csr", random_state=0)
    with pytest.raises(ValueError, match="X must have at most 2048 columns for several steps"):
        SpikedRFRegressor(9, n_steps=3).fit(wide, y[:40])
    with pytest.raises(ValueError, match="fresh rows each needs as many distinct rows"):
        SpikedRFRegressor(9, n_steps=80, metric=None, step_size=1.0).fit(X, y)
    assert SpikedRFRegressor(9, random_state=0).fit(wide, y[:40]).metric_ is None
