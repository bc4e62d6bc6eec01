"""Forecasts for more rows: against closed forms, brute force and simulation."""

import numpy as np
import pytest
from scipy.optimize import brentq

from spikedrf import theory
from spikedrf.features import feature_map
from spikedrf.theory.continuation import Fit, continued
from spikedrf.theory.effective_ridge import pooled
from spikedrf.theory.features import FeatureCurve, Judged


class Gaussian:
    """Gaussian features of a known covariance, a linear target, noise."""

    def __init__(self, p=200, decay=1.2, noise=0.3, seed=0):
        rng = np.random.default_rng(seed)
        self.p, self.noise = p, noise
        self.variance = np.arange(1, p + 1) ** -decay
        w = rng.standard_normal(p)
        self.w = w / np.sqrt(self.variance @ w**2)

    def draw(self, n, rng):
        Phi = rng.standard_normal((n, self.p)) * np.sqrt(self.variance)
        return Phi, Phi @ self.w + self.noise * rng.standard_normal(n)

    def error(self, n, lam):
        """Test error of the deterministic equivalent, without an intercept."""
        t, w = self.variance / self.p, self.w * np.sqrt(self.p)
        if np.isinf(n):
            return self.noise**2
        kappa = brentq(lambda k: k * (n - np.sum(t / (t + k))) - lam, 1e-30, 1e6, xtol=1e-300)
        bias = np.sum(kappa**2 * t * w**2 / (t + kappa) ** 2)
        return (bias + self.noise**2) / (1.0 - np.sum((t / (t + kappa)) ** 2) / n)

    def test_error(self, Phi, y, lam):
        """Exact test error of one fit."""
        scaled = Phi / np.sqrt(self.p)
        a = np.linalg.solve(scaled.T @ scaled + lam * np.eye(self.p), scaled.T @ y)
        away = a / np.sqrt(self.p) - self.w
        return away @ (self.variance * away) + self.noise**2


@pytest.mark.parametrize("rows", [2000, 8000])
def test_known_covariance_at_other_numbers_of_rows(rows):
    """Within 4 standard errors, which are sqrt(2/(rows - degrees)) for Gaussian residuals."""
    model = Gaussian()
    curve = theory.from_features(*model.draw(rows, np.random.default_rng(1)), intercept=False)
    n = np.array([100.0, 400.0, 3000.0, 30000.0])
    lam = np.array([1.0, 0.1, 0.1, 0.01])
    forecast = curve.solve(n, lam)
    exact = np.array([model.error(*pair) for pair in zip(n, lam, strict=True)])
    # The unexplained part is itself partly signal, whose share fluctuates with the rows alike.
    sem = np.sqrt(2.0 / (rows - model.p))
    assert np.abs(np.log(forecast.test_error / exact)).max() < 4.0 * sem


def test_against_fits_to_fresh_rows():
    """Forecast from 600 rows for 1500, against 40 fits: |z| < 4 with both standard errors."""
    model, rng = Gaussian(), np.random.default_rng(2)
    forecast = theory.from_features(*model.draw(600, rng), intercept=False).solve(1500, 0.05)
    came = np.array([model.test_error(*model.draw(1500, rng), 0.05) for _ in range(40)])
    ours = np.log(forecast.upper / forecast.test_error) / 1.645
    sem = np.hypot(ours, came.std(ddof=1) / np.sqrt(40) / came.mean())
    assert abs(np.log(forecast.test_error / came.mean())) < 4.0 * sem
    assert sem < 0.15


def test_ranges_hold_what_came():
    """Of 40 forecasts at 90 %, from rows fewer and more than features, at most 11 miss.

    More than 11 of 40 at a rate of .1 has probability 1e-4 (binomial).
    """
    missed = 0
    for seed in range(40):
        model, rng = Gaussian(seed=seed), np.random.default_rng(100 + seed)
        rows = (150, 400)[seed % 2]
        forecast = theory.from_features(*model.draw(rows, rng), intercept=False).solve(10 * rows)
        exact = model.error(10 * rows, forecast.lam)
        missed += not forecast.lower <= exact <= forecast.upper
    assert missed <= 11


def test_present_rows_give_their_leave_one_out_error():
    rng = np.random.default_rng(3)
    Phi = rng.standard_normal((60, 20)) * np.linspace(0.2, 2.0, 20)
    y = np.sin(Phi[:, 0]) + 0.2 * rng.standard_normal(60)
    curve = theory.from_features(Phi, y)
    ridges = np.geomspace(1e-8, 10.0, 19) * 60 * Phi.var(axis=0).mean()
    for lam in ridges[[6, 10, 14]]:
        residual = []
        for i in range(60):
            kept = np.arange(60) != i
            F, t = Phi[kept] - Phi[kept].mean(axis=0), y[kept] - y[kept].mean()
            a = np.linalg.solve(F.T @ F / 20 + lam * np.eye(20), F.T @ t / 20)
            residual.append(y[i] - t.dtype.type(y[kept].mean()) - (Phi[i] - Phi[kept].mean(0)) @ a)
        # Curves are read by straight lines between points 4 % apart.
        assert curve.solve(60, lam).test_error == pytest.approx(np.mean(np.square(residual)), 2e-3)


def test_no_number_of_rows_explains_the_noise():
    """Without a ridge the limit is the unbiased variance of least squares."""
    rng = np.random.default_rng(4)
    Phi = rng.standard_normal((500, 50))
    y = Phi @ rng.standard_normal(50) + rng.standard_normal(500)
    curve = theory.from_features(Phi, y, intercept=False)
    residual = y - Phi @ np.linalg.lstsq(Phi, y, rcond=None)[0]
    spread = curve.limit()
    unbiased = residual @ residual / 450
    # The exact leave-one-out errors set the scale, within their distance of the formula.
    assert abs(np.log(spread.test_error / unbiased)) < 0.05
    assert spread.lower < unbiased < spread.upper
    assert spread.degrees_of_freedom == pytest.approx(50.0, rel=1e-2)


def test_units_do_not_matter():
    model, rng = Gaussian(p=40), np.random.default_rng(5)
    Phi, y = model.draw(300, rng)
    n = np.array([50.0, 300.0, 4000.0, np.inf])
    base = theory.from_features(Phi, y).solve(n)
    order = rng.permutation(40)
    for other, scale in (
        (theory.from_features(1e6 * Phi[:, order], y), 1.0),
        (theory.from_features(Phi + 7.0, 1e-6 * y - 3e-6), 1e-12),
        (theory.from_features(Phi, y, sample_weight=np.full(300, 5.0)), 1.0),
    ):
        np.testing.assert_allclose(other.solve(n).test_error, scale * base.test_error, rtol=1e-5)
        np.testing.assert_allclose(other.solve(n).upper, scale * base.upper, rtol=1e-4)


def test_several_targets_are_each_its_own():
    model, rng = Gaussian(p=40), np.random.default_rng(6)
    Phi, y = model.draw(300, rng)
    both = np.column_stack([y, Phi[:, 1] + rng.standard_normal(300)])
    together = theory.from_features(Phi, both).solve([100.0, 1000.0], 0.1)
    assert together.test_error.shape == (2, 2)
    for k in range(2):
        alone = theory.from_features(Phi, both[:, k]).solve([100.0, 1000.0], 0.1)
        np.testing.assert_allclose(together.test_error[:, k], alone.test_error, rtol=1e-6)


def test_error_falls_with_rows_and_the_best_ridge_is_best():
    model, rng = Gaussian(), np.random.default_rng(7)
    curve = theory.from_features(*model.draw(500, rng))
    best = curve.solve(np.geomspace(20, 1e5, 30))
    assert (np.diff(best.test_error) < 0).all()
    for lam in (1e-3, 1e-1, 10.0):
        assert (best.test_error <= curve.solve(best.n, lam).test_error * (1 + 2e-4)).all()


def test_other_widths():
    """Tanh features of Gaussian inputs, 150 measured, 400 forecast: within the 99.99 % range."""
    rng = np.random.default_rng(8)
    d, rows = 20, 1500
    X, X_test = rng.standard_normal((rows, d)), rng.standard_normal((4000, d))

    def target(x):
        return np.tanh(2.0 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2]

    y, y_test = target(X) + 0.1 * rng.standard_normal(rows), target(X_test)

    def features(p):
        W = rng.standard_normal((p, d)) / np.sqrt(d)
        return feature_map(X, W, "tanh"), feature_map(X_test, W, "tanh")

    curve = theory.from_features(features(150)[0], y)
    Phi, Phi_test = features(400)
    forecast = curve.solve(rows, n_components=400, level=0.9999)
    F = (Phi - Phi.mean(axis=0)) / 20.0
    a = np.linalg.solve(F.T @ F + forecast.lam * np.eye(400), F.T @ (y - y.mean()))
    came = np.mean((y_test - y.mean() - (Phi_test - Phi.mean(axis=0)) @ a / 20.0) ** 2) + 0.01
    assert forecast.lower < came < forecast.upper
    assert forecast.n_components == 400
    # And fewer: half of the features, where nothing has to be continued.
    half = curve.solve(rows, n_components=75).test_error
    direct = theory.from_features(features(75)[0], y).solve(rows).test_error
    assert half == pytest.approx(direct, rel=0.1)
    assert half > curve.solve(rows).test_error > forecast.test_error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be > 0"),
        ({"n": [10, -1]}, r"n must be > 0.*at index \(1,\)"),
        ({"n": 10, "lam": 0.0}, "lam must be > 0"),
        ({"n": 10, "level": 1.0}, "level must be < 1"),
        ({"n": 10, "n_components": 0}, "n_components must be >= 1"),
        ({"n": 10, "n_components": 1.5}, "n_components must be an integer"),
    ],
)
def test_bad_arguments(arguments, message):
    model = Gaussian(p=10)
    curve = theory.from_features(*model.draw(50, np.random.default_rng(0)))
    with pytest.raises((TypeError, ValueError), match=message):
        curve.solve(**arguments)


def test_bad_data():
    rng = np.random.default_rng(0)
    Phi, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    with pytest.raises(ValueError, match="'squared_hinge', got 'huber'"):
        theory.from_features(Phi, y, loss="huber")
    with pytest.raises(ValueError, match=r"Phi must have shape \(N, p\)"):
        theory.from_features(y, y)
    with pytest.raises(ValueError, match=r"y must have shape \(30,\)"):
        theory.from_features(Phi, y[:-1])
    with pytest.raises(ValueError, match="at least five rows"):
        theory.from_features(Phi[:4], y[:4])
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(30,\)"):
        theory.from_features(Phi, y, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="Phi must vary"):
        theory.from_features(np.ones((30, 3)), y)
    with pytest.raises(ValueError, match="Phi must be finite"):
        theory.from_features(np.where(Phi > 1, np.inf, Phi), y)


def test_few_rows_say_little():
    """Rows that agree by chance are no evidence: the range is as wide as that."""
    rng = np.random.default_rng(9)
    Phi = rng.standard_normal((6, 3))
    forecast = theory.from_features(Phi, np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])).solve(600)
    assert forecast.upper > 10.0 * forecast.lower
    assert forecast.r2_lower < 0.0 < forecast.r2_upper


def test_the_range_of_r2_knows_that_the_variance_is_measured_too():
    model, rng = Gaussian(p=40), np.random.default_rng(10)
    forecast = theory.from_features(*model.draw(100, rng)).solve([100.0, 1000.0])
    # Of 100 squares with a kurtosis of 15: known to sqrt(14/100)/2 = .19, so |z| < 2.1.
    assert forecast.variance_sem == pytest.approx(np.sqrt(2.0 / 100), rel=0.4)
    away = np.log(forecast.upper / forecast.test_error)
    wider = np.log((1.0 - forecast.r2_lower) / (1.0 - forecast.r2))
    np.testing.assert_allclose(wider, np.hypot(away, 1.6449 * forecast.variance_sem), rtol=1e-3)


@pytest.mark.parametrize(("rows", "bias"), [(120, 1.0), (400, 0.2)])
def test_far_beyond_the_rows(rows, bias):
    """Rows and 300 features that explain all but a hundredth: ten times the rows, 12 draws.

    At 90 % more than 4 of 12 miss with probability .004. From fewer rows than features nobody can
    say how much of the rest they explain: only the range holds it, and it is wide.
    """
    missed, ratio = 0, []
    for seed in range(12):
        model = Gaussian(p=300, decay=1.5, noise=0.1, seed=seed)
        Phi, y = model.draw(rows, np.random.default_rng(200 + seed))
        forecast = theory.from_features(Phi, y, intercept=False).solve(10 * rows)
        came = model.error(10 * rows, forecast.lam)
        missed += not forecast.lower < came < forecast.upper
        ratio.append(forecast.test_error / came)
    assert missed <= 4
    assert abs(np.mean(np.log(ratio))) < bias


def test_what_features_have_learned():
    """More rows for the features gain; what readouts lose on rows they know is forgotten."""
    model, rng = Gaussian(p=40), np.random.default_rng(11)
    plain = theory.from_features(*model.draw(200, rng))
    n = np.array([200.0, 400.0, 1e9])
    base = plain.solve(n).test_error

    def judged(error, gain=0.0, hidden=0.0):
        known = Judged(200.0, 400.0, *(np.array([value]) for value in (error, gain, hidden)))
        return FeatureCurve(plain._reading, plain.variance, intercept=True, judged=known)

    # A fit that has come to what the readings say changes next to nothing.
    same = judged(base[0]).solve(n).test_error
    np.testing.assert_allclose(same, base, rtol=0.02)
    np.testing.assert_allclose(judged(base[0], 0.5).solve(n).test_error, same * np.exp(-0.5))
    # The readings of so many rows leave it nothing to say of fresh ones.
    worse = judged(1.5 * base[0]).solve(n).test_error - base
    expected = 0.5 * base[0] * np.array([1.0, 0.125, 0.0])
    np.testing.assert_allclose(worse, expected, atol=1e-3 * base[0])
    # By a fifth worse because the features hide everything from the rows: as good as fresh ones.
    hidden = judged(1.2 * base[0], hidden=1.0).solve(1e9).test_error
    assert hidden == pytest.approx(same[2], rel=1e-6)


def test_a_fit_to_more_rows_says_where_the_curve_goes():
    """100 rows of 300 features, and the error of a fit to 1500 others: 12 draws, ten times these.

    What no number of rows can better is then known to about the doubt about the fit, and without it
    is not.
    """
    doubt, away, alone = 0.05, [], []
    for seed in range(12):
        model = Gaussian(p=300, decay=1.5, noise=0.1, seed=seed)
        rng = np.random.default_rng(300 + seed)
        reading = theory.from_features(*model.draw(100, rng), intercept=False)._reading
        ridges = np.geomspace(1e-4, 10.0, 40)
        came = min(model.error(1500, lam) for lam in ridges)
        truth = np.log(min(model.error(15000, lam) for lam in ridges))
        for fits, found in (([Fit(1500.0, came, doubt)], away), ([], alone)):
            curve = continued(reading, 300, fits)
            with np.errstate(invalid="ignore", divide="ignore"):
                left = np.where(curve.D2 < 15000, 1.0 - curve.D2 / 15000, np.nan)
            found.append(np.nanmin(curve.log_error[:, 0] - np.log(left)) - truth)
    assert np.sqrt(np.mean(np.square(away))) < 0.25
    assert np.sqrt(np.mean(np.square(away))) < 0.5 * np.sqrt(np.mean(np.square(alone)))


def test_parts_of_the_rows_put_together():
    model, rng = Gaussian(p=40), np.random.default_rng(12)
    one = theory.from_features(*model.draw(300, rng))._reading
    same = pooled([one, one], one)
    np.testing.assert_allclose(same.error, one.error)
    np.testing.assert_allclose(same.sem, one.sem / np.sqrt(2.0))
    others = [theory.from_features(*model.draw(300, rng))._reading for _ in range(8)]
    together = pooled(others, one)
    truth = model.error(np.inf, 1.0)
    at = np.searchsorted(together.D1[::-1], 38.0)
    # Eight times 260 residuals; each reading's own bias at 38 of 40 degrees of freedom is small.
    assert together.error[::-1][at, 0] == pytest.approx(truth, rel=4.0 * np.sqrt(2.0 / (8 * 260)))


@pytest.mark.parametrize("lam", [None, 1.0])
@pytest.mark.parametrize("decay", [0.0, 1.2])
def test_of_one_row_only_its_label_is_known(decay, lam):
    """An error of twice the variance, no training error; what is less than a row is no better."""
    model, rng = Gaussian(p=1000, decay=decay), np.random.default_rng(13)
    curve = theory.from_features(*model.draw(150, rng))
    forecast = curve.solve([0.25, 1.0, 1.001, 2.0], lam)
    assert forecast.test_error[1] == pytest.approx(2.0 * curve.variance[0], rel=0.05)
    assert forecast.train_error[1] == pytest.approx(0.0, abs=1e-6 * curve.variance[0])
    assert (np.diff(forecast.test_error) <= 0.0).all()
    assert (forecast.lam > 0.0).all()
    assert (forecast.r2_lower < forecast.r2).all()
    assert (forecast.r2 < forecast.r2_upper).all()


def test_any_rows_give_numbers():
    """Few or many features and rows, copies, targets of 0, 1e-8 or 1e100: ranges, and no NaN."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        rows, p = int(rng.integers(5, 60)), int(rng.integers(1, 40))
        Phi = rng.standard_normal((rows, p)) * np.exp(rng.uniform(0, 3) * rng.standard_normal(p))
        if seed % 3 == 0:
            Phi[-1], Phi[:, -1] = Phi[0], Phi[:, 0]
        y = (seed % 4 > 0) * Phi @ rng.standard_normal(p)
        y = (y + rng.choice([0.0, 1e-8, 1.0]) * rng.standard_normal(rows)) * rng.choice(
            [1.0, 1e100]
        )
        curve = theory.from_features(Phi, y, intercept=bool(seed % 2))
        for width in (None, 1, 2 * p):
            for forecast in (
                curve.solve([0.5, rows, 3.0 * rows, 1e9, np.inf], n_components=width),
                curve.solve(rows, [1e-12, 1.0, 1e12], n_components=width),
            ):
                assert not np.isnan(forecast.train_error).any()
                assert (forecast.lower <= forecast.test_error).all()
                assert (forecast.test_error <= forecast.upper).all()
                assert (forecast.r2_lower <= forecast.r2_upper).all()
