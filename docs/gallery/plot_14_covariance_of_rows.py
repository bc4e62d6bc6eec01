r"""
The covariance of real rows
===========================

What the theory says of random features on rows that it has read, and where it is wrong.

`Covariance.from_data` reads eigenvalues off rows, with the spread of a finite number of them taken
out, and where across the eigenspaces the linear direction of the labels lies. What no linear
function explains counts as noise. Beside it: `SpikedRFRegressor` without a step on the same rows.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from spikedrf import Covariance, SpikedRFRegressor, theory

beta, lam = 5.0, 0.1


def standardised(load):
    X, y = load(return_X_y=True)
    X = X[:, X.std(axis=0) > 0].astype(float)
    return (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()


def odd_digits(**options):
    X, y = load_digits(**options)
    return X, np.where(y % 2, 1.0, -1.0)


def measured(X, y, n):
    errors = []
    for seed in range(5):
        rows, fresh, labels, truth = train_test_split(X, y, train_size=n, random_state=seed)
        model = SpikedRFRegressor(
            round(beta * X.shape[1]), activation="tanh", step_size=0, alpha=lam, bias=False,
            random_state=seed,
        )  # fmt: skip
        errors.append(np.mean((truth - model.fit(rows, labels).predict(fresh)) ** 2))
    return np.mean(errors), np.std(errors, ddof=1) / np.sqrt(len(errors))


# %%
# Two data sets: the progression of diabetes from ten measurements, and whether a digit is odd from
# its pixels. The reading warns, with a number, where projections of the rows are not Gaussian.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, load, name in ((axes[0], load_diabetes, "diabetes"), (axes[1], odd_digits, "odd digits")):
    X, y = standardised(load)
    n, d = X.shape
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read = Covariance.from_data(X, y)
    print(f"{name}: {n} rows, {read!r}, a linear function explains {read.explained:.2f}")
    print("   ", *(warning.message for warning in told))
    alpha = np.geomspace(1.5, 0.75 * n / d, 30)
    model = {"beta": beta, "lam": lam, "inputs": read, "target": read.linear, "noise": read.noise}
    ax.loglog(alpha, theory.solve(alpha, **model).test_error, label="theory of these rows")
    white = theory.solve(alpha, **model | {"inputs": None})
    ax.loglog(alpha, white.test_error, "--", color="0.6", label="theory of white rows")
    sizes = np.geomspace(1.5 * d, 0.75 * n, 5).astype(int)
    points = np.array([measured(X, y, size) for size in sizes])
    ax.errorbar(sizes / d, *points.T, fmt="o", color="C1", label="measured")
    ax.set(title=name, xlabel=r"rows over dimension $\alpha$")
axes[0].set_ylabel("test error over variance")
axes[0].legend()

# %%
# On the first the theory holds within the error bars from 30 rows on. The second is a different
# matter: projections of pixels are far from Gaussian, the labels are a nonlinear function of many
# directions, and the network learns much of what the theory takes for noise. The theory of Gaussian
# rows is then an upper bound in practice, not a prediction; the number in the warning says so.

plt.show()
