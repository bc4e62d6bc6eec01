"""Fits beside the products and factorisations they are made of, and beside scikit-learn.

Beside each time stands the peak of the memory that was asked for beyond the data.
"""

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
BLOCK = 2048
KERNEL_ROWS = 4000
STEP, RIDGE = 5.0, 0.1
RIDGES = np.logspace(-5, 3, 17)
GAMMA = 1.0 / (2.0 * INPUTS)
SIZE = f"n {ROWS}, d {INPUTS}, p {WIDTH}"

PRODUCTS = "its products and factorisation"
WHOLE = "NumPy, whole matrices"
#: A few p x p matrices and blocks of rows; the features would be 76 MiB.
STREAMED = 8 * (6 * WIDTH**2 + 4 * BLOCK * WIDTH)


def rows(seed, n=ROWS):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, INPUTS))
    return X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(n)


X, Y = rows(0)
X_TEST, Y_TEST = rows(1, 2000)


def model(**setting):
    return SpikedRFRegressor(WIDTH, random_state=0, step_fraction=1.0, scale=False, **setting)


def sampler(kind, ridge):
    return make_pipeline(kind(gamma=GAMMA, n_components=WIDTH, random_state=0), ridge)


class Subsampled(KernelRidge):
    """As many rows as it can take."""

    def fit(self, X, y):
        return super().fit(X[:KERNEL_ROWS], y[:KERNEL_ROWS])


def network(**setting):
    return MLPRegressor(hidden_layer_sizes=(WIDTH,), random_state=0, **setting)


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
        self.out = np.empty((BLOCK, WIDTH))
        self.blocks = [slice(at, min(at + BLOCK, ROWS)) for at in range(0, ROWS, BLOCK)]

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


# ---- A given step -------------------------------------------------------------------------------

GIVEN = {
    "partial_fit": {
        "spikedrf": lambda whole, parts: (
            model(step_size=STEP, alpha=RIDGE).partial_fit(X, Y).readout_coef_
        ),
        PRODUCTS: lambda whole, parts: parts.fit(),
        WHOLE: lambda whole, parts: whole.fit(),
    },
    "fit, which adds leave-one-out errors": {
        "spikedrf": lambda whole, parts: model(step_size=STEP, alpha=RIDGE).fit(X, Y).readout_coef_,
        PRODUCTS: lambda whole, parts: parts.fit_and_leverages(),
    },
}


@pytest.mark.parametrize(
    ("row", "entrant"), [(row, entrant) for row in GIVEN for entrant in GIVEN[row]]
)
def test_given_step_and_ridge(race, row, entrant, whole, parts):
    expected = whole.fit()

    def check(coef):
        np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-8 * np.abs(expected).max())

    part = entrant == PRODUCTS
    more = {"group": f"fit, a given step and ridge, {SIZE}", "row": row, "check": check}
    more |= {"part": part, "target": 1.4 if part else None}
    more |= {"memory": STREAMED if entrant == "spikedrf" else np.inf}
    race(entrant, lambda: GIVEN[row][entrant](whole, parts), **more)


@pytest.mark.parametrize("entrant", ["spikedrf", PRODUCTS])
def test_seventeen_ridges(race, entrant, whole, parts):
    more = {"group": f"fit, a given step, seventeen ridges, {SIZE}", "row": "", "memory": np.inf}
    if entrant == PRODUCTS:

        def check(coef):
            np.testing.assert_allclose(coef, whole.fit(), rtol=0, atol=1e-8)

        race(entrant, parts.path, check=check, part=True, target=1.4, **more)
        return

    def check(fitted):
        alone = model(step_size=STEP, alpha=fitted.alpha_).fit(X, Y)
        np.testing.assert_allclose(fitted.readout_coef_, alone.readout_coef_, rtol=0, atol=1e-8)
        assert fitted.loo_error_ == pytest.approx(alone.loo_error_, rel=1e-8)
        assert fitted.score(X_TEST, Y_TEST) > 0.8

    race(entrant, lambda: model(step_size=STEP, alpha=RIDGES).fit(X, Y), check=check, **more)


# ---- Beside scikit-learn, at equal width --------------------------------------------------------

CHOSEN = {
    "spikedrf": lambda: SpikedRFRegressor(WIDTH, random_state=0),
    "RBFSampler, RidgeCV": lambda: sampler(RBFSampler, RidgeCV(RIDGES)),
    "Nystroem, RidgeCV": lambda: sampler(Nystroem, RidgeCV(RIDGES)),
    f"KernelRidge, {KERNEL_ROWS} rows, one ridge": lambda: Subsampled(
        kernel="rbf", gamma=GAMMA, alpha=0.1
    ),
    "MLPRegressor": lambda: network(early_stopping=True, max_iter=60),
}
FITS = {
    "step and ridge chosen": CHOSEN,
    "no step, ridge chosen": {
        "spikedrf": lambda: SpikedRFRegressor(WIDTH, step_size=0.0, random_state=0)
    },
    "step and ridge given": {
        "spikedrf": lambda: model(step_size=STEP, alpha=RIDGE),
        "RBFSampler, Ridge": lambda: sampler(RBFSampler, Ridge(1.0)),
        "Nystroem, Ridge": lambda: sampler(Nystroem, Ridge(1.0)),
    },
}


@pytest.mark.parametrize(
    ("row", "entrant"), [(row, entrant) for row in FITS for entrant in FITS[row]]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit(race, row, entrant):
    stepped = entrant == "spikedrf" and not row.startswith("no step")

    def check(fitted):  # without the direction only the linear part of the target is in reach
        assert fitted.score(X_TEST, Y_TEST) > (0.8 if stepped else 0.0)

    def note(fitted):
        return f"$R^2$ {fitted.score(X_TEST, Y_TEST):.2f}"

    more = {"group": f"fit beside scikit-learn, {SIZE}", "row": row}
    run = FITS[row][entrant]
    race(entrant, lambda: run().fit(X, Y), check=check, note=note, memory=np.inf, **more)


@pytest.mark.parametrize("entrant", ["spikedrf", "its final fit alone"])
def test_selection(race, entrant):
    """All steps chosen, beside a fit without any: choosing costs at most three times that."""
    alone = entrant != "spikedrf"
    setting = {"n_steps": 0} if alone else {}

    def check(fitted):
        assert fitted.score(X_TEST, Y_TEST) > (0.0 if alone else 0.8)
        assert (len(fitted.steps_) > 2) != alone

    more = {"group": f"fit, steps and ridge chosen, {SIZE}", "row": "", "check": check}
    more |= {"part": alone, "target": 4.0 if alone else None, "memory": np.inf}
    race(entrant, lambda: SpikedRFRegressor(WIDTH, random_state=0, **setting).fit(X, Y), **more)


PREDICTIONS = {
    "spikedrf": FITS["step and ridge given"]["spikedrf"],
    "RBFSampler, Ridge": FITS["step and ridge given"]["RBFSampler, Ridge"],
    "Nystroem, Ridge": FITS["step and ridge given"]["Nystroem, Ridge"],
    f"KernelRidge, {KERNEL_ROWS} rows": CHOSEN[f"KernelRidge, {KERNEL_ROWS} rows, one ridge"],
    "MLPRegressor": lambda: network(max_iter=2),
}


@pytest.mark.parametrize("entrant", PREDICTIONS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_predict(race, entrant):
    fitted = PREDICTIONS[entrant]().fit(X, Y)
    blocks = np.concatenate([fitted.predict(X[at : at + 500]) for at in range(0, ROWS, 500)])

    def check(predicted):
        np.testing.assert_allclose(predicted, blocks, rtol=0, atol=1e-10)

    more = {"group": f"predict beside scikit-learn, {SIZE}", "row": f"{ROWS} rows"}
    race(entrant, lambda: fitted.predict(X), check=check, memory=np.inf, **more)
