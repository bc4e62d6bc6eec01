"""R^2 on held-out rows of real data, beside what scikit-learn offers; prints the table of the docs.

    python bench/estimator_table.py FOLDER [--jobs 2] [--splits 5] [--features 1000]

FOLDER holds the data sets as `name.csv.gz`, the target in the last column. Every model sees the
same standardised rows; random features and networks have the same width.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from spikedrf import SpikedRFRegressor

RIDGES = np.logspace(-6, 3, 19)
KERNEL_ROWS = 4000


class Subsampled:
    """Kernel ridge regression on as many rows as it can take."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        rows = np.random.default_rng(0).permutation(len(X))[:KERNEL_ROWS]
        self.model.fit(X[rows], y[rows])
        return self

    def score(self, X, y):
        return self.model.score(X, y)


def models(p, d, seed):
    def spiked(activation, step_size):
        return SpikedRFRegressor(p, activation=activation, step_size=step_size, random_state=seed)

    gamma = 1.0 / (2.0 * d)
    kernel = GridSearchCV(
        KernelRidge(kernel="rbf", gamma=gamma), {"alpha": [1e-3, 1e-2, 0.1]}, cv=3
    )
    return {
        "tanh, no step": spiked("tanh", 0.0),
        "tanh": spiked("tanh", "auto"),
        "relu, no step": spiked("relu", 0.0),
        "relu": spiked("relu", "auto"),
        "RBFSampler": make_pipeline(
            RBFSampler(gamma=gamma, n_components=p, random_state=seed), RidgeCV(RIDGES)
        ),
        "Nystroem": make_pipeline(
            Nystroem(gamma=gamma, n_components=p, random_state=seed), RidgeCV(RIDGES)
        ),
        "KernelRidge (4000 rows)": Subsampled(kernel),
        "MLPRegressor": MLPRegressor(
            hidden_layer_sizes=(p,), early_stopping=True, max_iter=60, random_state=seed
        ),
        "HistGradientBoosting": HistGradientBoostingRegressor(random_state=seed),
    }


def measure(folder, name, seed, p):
    table = np.loadtxt(folder / f"{name}.csv.gz", delimiter=",")
    X, X_test, y, y_test = train_test_split(
        table[:, :-1], table[:, -1], test_size=0.2, random_state=seed
    )
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    # A unit of the target that suits every model, the network's learning rate among them.
    centre, unit = y.mean(), y.std()
    y, y_test = (y - centre) / unit, (y_test - centre) / unit
    out = {}
    for label, model in models(p, X.shape[1], seed).items():
        begin = time.perf_counter()
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of the MLP at max_iter
            model.fit(X, y)
        fitted = time.perf_counter()
        score = model.score(X_test, y_test)
        out[label] = score, fitted - begin, time.perf_counter() - fitted
    return name, out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--features", type=int, default=1000)
    args = parser.parse_args()
    names = sorted(path.name.split(".")[0] for path in args.folder.glob("*.csv.gz"))
    results = Parallel(n_jobs=args.jobs)(
        delayed(measure)(args.folder, name, seed, args.features)
        for seed in range(args.splits)
        for name in names
    )
    print("| model | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for label in results[0][1]:
        cells = []
        for name in names:
            rows = np.array([out[label] for n, out in results if n == name])
            score, fit, predict = rows.mean(axis=0)
            sem = rows[:, 0].std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
            cells.append(f"{score:.3f} ± {sem:.3f} ({fit:.1f} s, {predict:.2f} s)")
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
    # What the defaults promise, asserted where it is measured.
    for name in names:
        for activation in ("tanh", "relu"):
            gain = np.mean(
                [
                    out[activation][0] - out[f"{activation}, no step"][0]
                    for n, out in results
                    if n == name
                ]
            )
            assert gain > -0.01, f"{activation} on {name}: a step lost {-gain:.3f} R^2"


if __name__ == "__main__":
    main()
