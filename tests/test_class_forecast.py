"""Error rates of classifiers on given features: against simulation, and what is refused."""

import numpy as np
import pytest
from scipy.special import ndtr

from spikedrf import theory
from spikedrf.losses import resolve
from spikedrf.readout.convex import fit_readout
from spikedrf.theory.class_features import ClassCurve
from spikedrf.theory.effective_ridge import Reading


class Classes:
    """Two Gaussian classes of one covariance, off the origin."""

    def __init__(self, p=100, share=0.5, seed=0):
        rng = np.random.default_rng(seed)
        self.p, self.share = p, share
        self.variance = np.arange(1, p + 1) ** -0.8
        self.mu = 0.14 * rng.standard_normal(p) * np.sqrt(self.variance)

    def draw(self, n, rng):
        y = rng.permutation(np.where(np.arange(n) < self.share * n, 1.0, -1.0))
        noise = rng.standard_normal((n, self.p)) * np.sqrt(self.variance)
        return y[:, None] * self.mu + noise + 0.3, y

    def error_rate(self, a, b):
        """Exact error rate of one readout."""
        m, width, b = self.mu @ a, np.sqrt(a @ (self.variance * a)), b + 0.3 * a.sum()
        return self.share * ndtr(-(m + b) / width) + (1.0 - self.share) * ndtr(-(m - b) / width)

    def reading(self):
        """What infinitely many rows would show of ridge regression of the labels."""
        kappa = np.geomspace(1e-7, 1e3, 600)
        s, m2, v = self.variance / self.p, self.mu**2 / self.p, 4 * self.share * (1 - self.share)
        M1 = (m2 / (s + kappa[:, None])).sum(axis=1)
        M2 = (m2 * s / (s + kappa[:, None]) ** 2).sum(axis=1)
        A = 1.0 / (M1 + 1.0 / v)
        # All rows together have the means in their covariance.
        D1 = (s / (s + kappa[:, None])).sum(axis=1) + v * (M1 - M2) / (1.0 + v * M1)
        one = np.ones((600, 1))
        error, slope = (A**2 * (M2 + 1.0 / v))[:, None], np.gradient(D1, np.log(kappa))
        return Reading(1e9, self.p, np.log(kappa), D1, slope, one[:, 0], error, 1e-6 * one, 0 * one)


@pytest.mark.parametrize(("loss", "share"), [("logistic", 0.5), ("squared_hinge", 0.3)])
def test_known_covariance_against_simulation(loss, share):
    """Within 4 standard errors of 20 fits, and 1 % for the 300 rows that are not many."""
    model = Classes(share=share)
    forecast = ClassCurve(model.reading(), resolve(loss), share).solve(300, 0.03)
    came = []
    for seed in range(20):
        Phi, y = model.draw(300, np.random.default_rng(seed))
        fit = fit_readout(Phi, y, loss, 0.03, intercept=True)
        came.append(model.error_rate(fit.a / np.sqrt(model.p), fit.b))
    sem = np.std(came, ddof=1) / np.sqrt(20)
    assert abs(forecast.error_rate - np.mean(came)) < 4.0 * sem + 0.01 * np.mean(came)
    assert sem < 0.03 * np.mean(came)


def test_rows_give_a_range_that_holds_it():
    model = Classes(p=40)
    curve = theory.from_features(*model.draw(800, np.random.default_rng(1)), loss="logistic")
    forecast = curve.solve([300, 2000], 0.05)
    for i, n in enumerate((300, 2000)):
        came = []
        for seed in range(8):
            Phi, y = model.draw(n, np.random.default_rng(seed))
            fit = fit_readout(Phi, y, "logistic", 0.05, intercept=True)
            came.append(model.error_rate(fit.a / np.sqrt(40), fit.b))
        assert forecast.lower[i] < np.mean(came) < forecast.upper[i]
        assert forecast.upper[i] < 1.6 * forecast.lower[i]
    best = curve.solve(300)
    assert best.error_rate <= forecast.error_rate[0] * (1.0 + 1e-3)
    assert best.lam > 0.0


def test_rows_that_the_equations_do_not_hold_for_are_refused():
    rng = np.random.default_rng(2)
    model = Classes(p=30)
    Phi, y = model.draw(600, rng)
    heavy_tails = np.where(rng.random(600) < 0.1, 8.0, 1.0)[:, None] * Phi
    wider = np.where(y[:, None] > 0, 3.0, 1.0) * (Phi - 0.3)
    for features, message in (
        (heavy_tails, "not Gaussian given the class"),
        (wider, "same covariance in both classes"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.from_features(features, y, loss="logistic")


def test_bad_arguments():
    model = Classes(p=10)
    Phi, y = model.draw(60, np.random.default_rng(3))
    with pytest.raises(ValueError, match="'squared_hinge', got 'hinge'"):
        theory.from_features(Phi, y, loss="hinge")
    with pytest.raises(ValueError, match=r"two values.*with 3 values"):
        theory.from_features(Phi, np.arange(60) % 3, loss="logistic")
    with pytest.raises(ValueError, match="intercept must be True"):
        theory.from_features(Phi, y, loss="logistic", intercept=False)
    with pytest.raises(ValueError, match=r"sample_weight None.*weights"):
        theory.from_features(Phi, y, loss="logistic", sample_weight=np.ones(60))
    curve = theory.from_features(Phi, y, loss="logistic")
    with pytest.raises(ValueError, match="n must be > 0"):
        curve.solve(0)
    with pytest.raises(ValueError, match="level must be < 1"):
        curve.solve(10, level=1.0)
