"""Fits beside the products and factorisations they are made of, and beside scikit-learn.

Run with one BLAS thread, else the products use every core and the rest one:
OPENBLAS_NUM_THREADS=1 python -m pytest bench/test_estimators.py --benchmark-group-by=group

The peak of memory allocated by each (beyond the data, MB) is the `peak` of
--benchmark-json, and printed with -s.
"""

import tracemalloc

import numpy as np
import pytest
from scipy import linalg
from scipy.linalg import blas
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline

from spikedrf import SpikedRFRegressor

ROWS, INPUTS, WIDTH = 10_000, 50, 1000
KERNEL_ROWS = 4000
STEP, RIDGE = 5.0, 0.1
RIDGES = np.logspace(-5, 3, 17)
GAMMA = 1.0 / (2.0 * INPUTS)


def rows(seed, n=ROWS):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, INPUTS))
    return X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(n)


X, Y = rows(0)
X_TEST, Y_TEST = rows(1, 2000)


def model(**setting):
    return SpikedRFRegressor(WIDTH, random_state=0, step_fraction=1.0, **setting)


class WholeMatrices:
    """The same fit as anybody would write it, every n x p matrix in memory."""

    def __init__(self):
        # W0 and the readout are drawn and dealt as the estimator does.
        plain = model(step_size=0.0, alpha=RIDGE).fit(X[:10], Y[:10])
        self.W = np.column_stack([plain.weights_, plain.offsets_])
        self.u = plain.readout_
        self.X = np.column_stack([X, np.ones(ROWS)])
        self.y = (Y - Y.mean()) / Y.std()

    def slopes(self):
        phi = np.tanh(self.X @ self.W.T)
        residual = self.y - phi @ self.u / WIDTH
        return residual[:, None] * (1.0 - phi**2)

    def stepped(self, slopes):
        return self.W + STEP / ROWS * self.u[:, None] * (slopes.T @ self.X)

    def centred(self, W):
        phi = np.tanh(self.X @ W.T)
        return phi - phi.mean(axis=0)

    def fit(self):
        phi = self.centred(self.stepped(self.slopes()))
        gram = phi.T @ phi / WIDTH + RIDGE * np.eye(WIDTH)
        return linalg.solve(gram, phi.T @ (Y - Y.mean()) / WIDTH, assume_a="pos")


class Parts:
    """What no fit can do without, on matrices that are there: products and a factorisation.

    In blocks of the estimator's size, each product written over the last one.
    """

    def __init__(self):
        whole = WholeMatrices()
        self.whole = whole
        self.slopes = whole.slopes()
        self.W = whole.stepped(self.slopes)
        self.phi = whole.centred(self.W)
        self.y = Y - Y.mean()
        self.alphas = RIDGES
        self.out = np.empty((2048, WIDTH))
        self.blocks = [slice(at, min(at + 2048, ROWS)) for at in range(0, ROWS, 2048)]

    def gradient(self):
        total = np.zeros_like(self.W)
        for at in self.blocks:
            x = self.whole.X[at]
            np.matmul(x, self.whole.W.T, out=self.out[: len(x)])
            total += self.slopes[at].T @ x
        return total

    def preactivations(self):
        for at in self.blocks:
            x = self.whole.X[at]
            np.matmul(x, self.W.T, out=self.out[: len(x)])

    def gram(self):
        gram = np.zeros((WIDTH, WIDTH), order="F")
        for at in self.blocks:
            blas.dsyrk(1.0, self.phi[at].T, beta=1.0, c=gram, overwrite_c=1)
        return gram / WIDTH

    def fit(self):
        self.gradient()
        self.preactivations()
        gram = self.gram()
        gram[np.diag_indices(WIDTH)] += RIDGE
        self.factor = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
        return linalg.cho_solve(self.factor, self.phi.T @ self.y / WIDTH, check_finite=False)

    def fit_and_leverages(self):
        """And the features again, to be solved for: what exact leave-one-out errors take."""
        coef = self.fit()
        for at in self.blocks:
            phi = self.phi[at]
            np.matmul(self.whole.X[at], self.W.T, out=self.out[: len(phi)])
            blas.dtrsm(1.0, self.factor[0], phi.T, trans_a=1)
        return coef

    def path(self):
        """All ridges from the eigenvectors, with the leave-one-out errors of each."""
        self.gradient()
        self.preactivations()
        value, vector = np.linalg.eigh(self.gram(), UPLO="U")
        for at in self.blocks:
            phi = self.phi[at]
            np.matmul(self.whole.X[at], self.W.T, out=self.out[: len(phi)])
            np.matmul(phi, vector, out=self.out[: len(phi)])
        rotated = vector.T @ (self.phi.T @ self.y)
        return vector @ (rotated / (value + RIDGE)) / WIDTH


@pytest.fixture(scope="module")
def whole():
    return WholeMatrices()


@pytest.fixture(scope="module")
def parts():
    return Parts()


def peak(function):
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def timed(benchmark, function, rounds=5):
    """Return the result of a run whose memory is watched, then time others."""
    result, megabytes = peak(function)
    benchmark.extra_info["peak"] = round(megabytes)
    print(f"\n{benchmark.name}: peak {megabytes:.0f} MB")
    benchmark.pedantic(function, rounds=rounds, iterations=1)
    return result, megabytes


GIVEN = {
    "sums": lambda whole, parts: model(step_size=STEP, alpha=RIDGE).partial_fit(X, Y).coef_,
    "bare products of sums": lambda whole, parts: parts.fit(),
    "fit": lambda whole, parts: model(step_size=STEP, alpha=RIDGE).fit(X, Y).coef_,
    "bare products of fit": lambda whole, parts: parts.fit_and_leverages(),
    "NumPy, whole matrices": lambda whole, parts: whole.fit(),
}


@pytest.mark.parametrize("name", GIVEN)
def test_given_step_and_ridge(benchmark, name, whole, parts):
    """`sums` is partial_fit, the fit without its leave-one-out error."""
    benchmark.group = "given step and ridge"
    coef, megabytes = timed(benchmark, lambda: GIVEN[name](whole, parts))
    expected = whole.fit()
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    if name in ("sums", "fit"):
        # A few p x p matrices and blocks of rows; the features would be 80 MB.
        assert megabytes < 8e-6 * (6 * WIDTH**2 + 4 * 2048 * WIDTH)


def sampler(kind, ridge):
    return make_pipeline(kind(gamma=GAMMA, n_components=WIDTH, random_state=0), ridge)


PATHS = {
    "fit": lambda parts: model(step_size=STEP, alpha=RIDGES).fit(X, Y),
    "bare products": lambda parts: parts.path(),
    "RBFSampler, RidgeCV": lambda parts: sampler(RBFSampler, RidgeCV(RIDGES)).fit(X, Y),
    "Nystroem, RidgeCV": lambda parts: sampler(Nystroem, RidgeCV(RIDGES)).fit(X, Y),
    "RBFSampler, Ridge": lambda parts: sampler(RBFSampler, Ridge(1.0)).fit(X, Y),
    "Nystroem, Ridge": lambda parts: sampler(Nystroem, Ridge(1.0)).fit(X, Y),
}


@pytest.mark.parametrize("name", PATHS)
def test_seventeen_ridges(benchmark, name, whole, parts):
    benchmark.group = "a given step, seventeen ridges"
    result, _ = timed(benchmark, lambda: PATHS[name](parts), rounds=3)
    if name == "bare products":
        np.testing.assert_allclose(result, whole.fit(), rtol=0, atol=1e-8)
    elif name == "fit":
        alone = model(step_size=STEP, alpha=result.alpha_).fit(X, Y)
        np.testing.assert_allclose(result.coef_, alone.coef_, rtol=0, atol=1e-8)
        assert result.loo_error_ == pytest.approx(alone.loo_error_, rel=1e-8)
        assert result.score(X_TEST, Y_TEST) > 0.8
    else:
        assert 0.1 < result.score(X_TEST, Y_TEST) < 0.6  # the linear part of the target, mostly


class Subsampled(KernelRidge):
    """As many rows as it can take."""

    def fit(self, X, y):
        return super().fit(X[:KERNEL_ROWS], y[:KERNEL_ROWS])


CHOSEN = {
    "SpikedRFRegressor": lambda: SpikedRFRegressor(WIDTH, random_state=0),
    "SpikedRFRegressor, no step": lambda: SpikedRFRegressor(WIDTH, step_size=0.0, random_state=0),
    "RBFSampler, RidgeCV": lambda: sampler(RBFSampler, RidgeCV(RIDGES)),
    "Nystroem, RidgeCV": lambda: sampler(Nystroem, RidgeCV(RIDGES)),
    "KernelRidge, 4000 rows, one ridge": lambda: Subsampled(kernel="rbf", gamma=GAMMA, alpha=0.1),
    "MLPRegressor": lambda: MLPRegressor(
        hidden_layer_sizes=(WIDTH,), early_stopping=True, max_iter=60, random_state=0
    ),
}
#: R^2 that each must reach at least; without the direction only the linear part is in reach.
REACHES = {"SpikedRFRegressor": 0.8}


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_everything_chosen(benchmark, name):
    benchmark.group = "everything chosen from the data"
    fitted, _ = timed(benchmark, lambda: CHOSEN[name]().fit(X, Y), rounds=2)
    assert fitted.score(X_TEST, Y_TEST) > REACHES.get(name, 0.0)


PREDICTIONS = {
    "SpikedRFRegressor": lambda: model(step_size=STEP, alpha=RIDGE),
    "RBFSampler, Ridge": lambda: sampler(RBFSampler, Ridge(1.0)),
    "Nystroem, Ridge": lambda: sampler(Nystroem, Ridge(1.0)),
    "MLPRegressor, two epochs": lambda: MLPRegressor(
        hidden_layer_sizes=(WIDTH,), max_iter=2, random_state=0
    ),
}


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_predict(benchmark, name):
    benchmark.group = f"predict {ROWS} rows"
    fitted = PREDICTIONS[name]().fit(X, Y)
    predicted, _ = timed(benchmark, lambda: fitted.predict(X))
    blocks = np.concatenate([fitted.predict(X[at : at + 500]) for at in range(0, ROWS, 500)])
    np.testing.assert_allclose(predicted, blocks, rtol=0, atol=1e-10)
