"""R^2 on held-out rows beside what scikit-learn offers: the tables of docs/real_data.md.

    OPENBLAS_NUM_THREADS=1 python bench/estimator_table.py FOLDER --page docs/real_data.md

FOLDER holds the data sets as `name.csv.gz`, the target in the last column. Every model sees the
same standardised rows: random 6000 of a file, or 80% if these are fewer. Random features have the
same width, an MLP 200 units; xRFM, RealMLP-TD (pytabkit) and GFDL (gfdl, from Python 3.12 on)
take part if they are installed. Times are CPU seconds on one thread. With --keep FILE what is
finished is kept, and not done again; with --so-far the tables are of what is kept. --only and
--sets do a part of it, such as what needs another Python.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import scipy
import sklearn
from joblib import Parallel, delayed
from sklearn import datasets
from sklearn.base import BaseEstimator, RegressorMixin
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

import spikedrf
from page import insert, markdown
from spikedrf import SpikedRFRegressor

RIDGES = np.logspace(-6, 3, 19)
KERNEL_ROWS = 4000
#: Splits that nothing was tuned on begin with this seed.
FRESH = 1000
#: Rows of a file that models are fitted to.
MOST_ROWS = 6000
NO_STEP, ONE_STEP, SEVERAL = "no step", "one step", "several steps (default)"
MLP, XRFM_NAME = "MLPRegressor, 200 iterations", "xRFM"
REALMLP, GFDL = "RealMLP-TD", "GFDL, ridge by three folds"


class Subsampled(RegressorMixin, BaseEstimator):
    """Kernel ridge regression on as many rows as it can take."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        rows = np.random.default_rng(0).permutation(len(X))[:KERNEL_ROWS]
        self.model.fit(X[rows], y[rows])
        return self

    def predict(self, X):
        return self.model.predict(X)


class XRFM(RegressorMixin, BaseEstimator):
    """xRFM as it comes, a fifth of the rows to choose by."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, X, y):
        import torch
        from xrfm import xRFM

        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        rows = np.random.default_rng(self.seed).permutation(len(X))
        held, kept = np.split(rows, [len(X) // 5])

        def tensor(array):
            return torch.tensor(array, dtype=torch.float32)

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.model_ = xRFM(device="cpu", tuning_metric="mse").fit(
                tensor(X[kept]), tensor(y[kept, None]), tensor(X[held]), tensor(y[held, None])
            )
        return self

    def predict(self, X):
        import torch

        return np.asarray(self.model_.predict(torch.tensor(X, dtype=torch.float32))).ravel()


class RealMLP(RegressorMixin, BaseEstimator):
    """RealMLP with its tuned defaults, which holds out a fifth of the rows."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, X, y):
        import torch
        from pytabkit import RealMLP_TD_Regressor

        torch.set_num_threads(1)
        self.model_ = RealMLP_TD_Regressor(device="cpu", random_state=self.seed, n_threads=1)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.model_.fit(X, y)
        return self

    def predict(self, X):
        return np.asarray(self.model_.predict(X)).ravel()


def gfdl(p, seed):
    """A network of random features with direct links, with its ridge searched."""
    from gfdl.model import GFDLRegressor

    model = GFDLRegressor((p,), activation="tanh", weight_scheme="normal", seed=seed, reg_alpha=1.0)
    return GridSearchCV(model, {"reg_alpha": [1e-2, 1.0, 1e2]}, cv=3)


def models(p, n, d, seed):
    def spiked(**setting):
        return SpikedRFRegressor(p, random_state=seed, **setting)

    def mlp(iterations):
        return MLPRegressor(hidden_layer_sizes=(200,), max_iter=iterations, random_state=seed)

    gamma = 1.0 / (2.0 * d)
    kernel = GridSearchCV(
        KernelRidge(kernel="rbf", gamma=gamma), {"alpha": [1e-3, 1e-2, 0.1, 1.0]}, cv=3
    )
    fixed = (
        RBFSampler(gamma=gamma, n_components=p, random_state=seed),
        Nystroem(gamma=gamma, n_components=min(p, n), random_state=seed),
    )
    every = {
        NO_STEP: spiked(n_steps=0),
        ONE_STEP: spiked(n_steps=1, metric=None),
        SEVERAL: spiked(),
        "RBFSampler, RidgeCV": make_pipeline(fixed[0], RidgeCV(RIDGES)),
        "Nystroem, RidgeCV": make_pipeline(fixed[1], RidgeCV(RIDGES)),
        "KernelRidge, at most 4000 rows": Subsampled(kernel),
        MLP: mlp(200),
        "MLPRegressor, 500 iterations": mlp(500),
        "HistGradientBoosting": HistGradientBoostingRegressor(random_state=seed),
    }
    if importlib.util.find_spec("xrfm") is not None:
        every[XRFM_NAME] = XRFM(seed)
    if importlib.util.find_spec("pytabkit") is not None:
        every[REALMLP] = RealMLP(seed)
    if importlib.util.find_spec("gfdl") is not None:
        every[GFDL] = gfdl(p, seed)
    return every


LABELS = [*models(1, 1, 1, 0)]
LABELS += [label for label in (XRFM_NAME, REALMLP, GFDL) if label not in LABELS]


def from_file(path):
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1], table[:, -1]


def one_direction(n, d):
    """A direction that is no axis: trees would find one of these at once."""
    rng = np.random.default_rng(0)
    X, theta = rng.standard_normal((n, d)), rng.standard_normal(d)
    along = X @ theta / np.linalg.norm(theta)
    return X, np.sin(2.0 * along) + 0.3 * rng.standard_normal(n)


def noise(n, d):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), rng.standard_normal(n)


def teacher(n, d, neurons):
    """A narrow network in directions that are no axes."""
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((n, d)), rng.standard_normal((d, neurons)) / np.sqrt(d)
    y = np.tanh(2.0 * X @ W) @ rng.choice([-1.0, 1.0], neurons)
    return X, y + 0.2 * rng.standard_normal(n)


def products(n, d):
    """Two products of inputs beside what is linear."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + X[:, 2] * X[:, 3] + X[:, 4] + 0.3 * rng.standard_normal(n)


#: What scikit-learn brings along or generates, and what is hard to get right.
BUNDLED = {
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "friedman1": lambda: datasets.make_friedman1(2000, 10, noise=1.0, random_state=0),
    "friedman2": lambda: datasets.make_friedman2(2000, noise=100.0, random_state=0),
    "friedman3": lambda: datasets.make_friedman3(2000, noise=0.1, random_state=0),
    "sine, n = 40 d": lambda: one_direction(2000, 50),
    "sine, n = 2 d": lambda: one_direction(250, 125),
    "teacher": lambda: teacher(5000, 20, 5),
    "products": lambda: products(5000, 10),
    "noise, n = 40 d": lambda: noise(2000, 50),
    "noise, n = 2 d": lambda: noise(250, 125),
}


def measure(name, load, seed, p, labels):
    X, y = load()
    size = min(MOST_ROWS, int(0.8 * len(X)))
    X, X_test, y, y_test = train_test_split(X, y, train_size=size, random_state=FRESH + seed)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    # A unit of the target that suits every model, the network's learning rate among them.
    centre, unit = y.mean(), y.std()
    y, y_test = (y - centre) / unit, (y_test - centre) / unit
    out = {"name": name, "seed": seed, "features": p, "shape": X.shape}
    for label, model in models(p, *X.shape, seed).items():
        if label not in labels:
            continue
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of the MLP at max_iter
            begin = time.process_time()
            model.fit(X, y)
            fitted = time.process_time()
            score = model.score(X_test, y_test)
            done = time.process_time()
        out[label] = score, fitted - begin, done - fitted
    return out


def add(done, result):
    """Add what was measured on a split to what is known of it."""
    known = done.setdefault((result["name"], result["seed"]), {})
    for key, value in result.items():
        known[key] = known.get(key, {}) | value if isinstance(value, dict) else value


def measured(measure, labels, sets, seeds, p, jobs, keep, so_far=False):
    """Measure all splits of all data sets; what is kept is not done again, or is all there is."""
    done = {}
    if keep is not None and keep.exists():
        for line in keep.read_text("utf-8").splitlines():
            result = json.loads(line)
            if result["features"] == p:
                add(done, result)
    todo = []
    for seed in () if so_far else seeds:
        for name in sets:
            missing = [label for label in labels if label not in done.get((name, seed), ())]
            if missing:
                todo.append((name, seed, missing))
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for result in parallel(delayed(measure)(n, sets[n], seed, p, some) for n, seed, some in todo):
        add(done, result)
        if keep is not None:
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
    return [m for (name, seed), m in done.items() if name in sets and seed in seeds]


def present(results, names):
    """The models of a table, in their order."""
    ours = [m for m in results if m["name"] in names]
    return [label for label in LABELS if any(label in m for m in ours)]


def table(results, names, *, times):
    """One row a model: mean R^2 and its standard error over the splits; times if asked for."""
    labels = present(results, names)
    mean = {
        (label, name): np.array([m[label] for m in results if m["name"] == name and label in m])
        for label in labels
        for name in names
    }
    splits = {name: sum(m["name"] == name for m in results) for name in names}
    # Of models that were measured on all splits.
    best = {
        name: max(v[:, 0].mean() for (_, n), v in mean.items() if n == name and len(v) == many)
        for name, many in splits.items()
    }
    rows = []
    for label in labels:
        cells = [label]
        for name in names:
            values = mean[label, name]
            if not len(values):
                cells.append("–")
                continue
            score, fit, predict = values.mean(axis=0)
            text = f"{score:.3f}"
            if len(values) == splits[name] and score > best[name] - 0.0005:
                text = f"**{text}**"
            if len(values) > 1:
                text += f"\u00a0±\u00a0{values[:, 0].std(ddof=1) / np.sqrt(len(values)):.3f}"
            if len(values) < splits[name]:
                text += f" ({len(values)} of {splits[name]} splits)"
            cells.append(text + (f"<br>{fit:.1f}, {predict:.2f} s" if times else ""))
        rows.append(cells)
    header = []
    for name in names:
        shape = next(m["shape"] for m in results if m["name"] == name)
        many = f"{splits[name]} split" + ("s" if splits[name] > 1 else "")
        header.append("{}<br>{} x {}<br>{}".format(name, *shape, many))
    return markdown(["model", *header], rows)


#: What the defaults reach on rows of these, at least.
REACHED = {"kin40k": 0.98, "pol": 0.985, "pumadyn32nm": 0.93, "elevators": 0.875}


def check(results, names):
    """What the defaults promise, where it is measured."""
    seconds = {}
    for name in names:
        ours = [m for m in results if m["name"] == name]
        mean = {
            label: np.mean([m[label] for m in ours if label in m], axis=0)
            for label in present(results, [name])
        }
        gain = mean[SEVERAL][0] - mean[NO_STEP][0]
        assert gain > -0.01, f"{name}: steps lost {-gain:.3f} R^2"
        assert mean[SEVERAL][0] > REACHED.get(name, -np.inf), f"{name}: {mean[SEVERAL][0]}"
        seconds[name] = {label: mean[label][1] for label in mean}
    whole = [seconds[name] for name in REACHED if name in seconds]
    for name in REACHED:
        if name in seconds:
            print(f"{name}: {seconds[name][SEVERAL] / seconds[name][MLP]:.2f} of the MLP's time")
    if whole:
        fit = {label: sum(each[label] for each in whole) for label in whole[0]}
        print(f"fit beside the MLP: {fit[SEVERAL] / fit[MLP]:.2f}")
        assert fit[SEVERAL] < fit[MLP]
        if XRFM_NAME in fit:
            print(f"fit beside xRFM: {fit[SEVERAL] / fit[XRFM_NAME]:.2f}")
            assert fit[SEVERAL] < 0.5 * fit[XRFM_NAME]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--so-far", action="store_true")
    parser.add_argument("--only", nargs="+", default=LABELS, metavar="MODEL")
    parser.add_argument("--sets", nargs="+", metavar="SET")
    args = parser.parse_args()
    files = {} if args.folder is None else args.folder.glob("*.csv.gz")
    files = {path.name.split(".")[0]: path for path in sorted(files)}
    sets = {name: (lambda path=path: from_file(path)) for name, path in files.items()} | BUNDLED
    if args.sets is not None:
        sets = {name: load for name, load in sets.items() if name in args.sets}
    labels = [label for label in models(1, 1, 1, 0) if label in args.only]
    every = measure, labels, sets, range(args.splits), args.features, args.jobs, args.keep
    results = measured(*every, args.so_far)
    if (args.only != LABELS or args.sets is not None) and not args.so_far:
        return  # a part of the whole, which --so-far puts together
    how = (
        f"{args.features} features; mean of $R^2$ over random splits ± its standard "
        f"error, the best of all splits in bold; fit and predict in CPU seconds on one thread of "
        f"{platform.machine()}; spikedrf {spikedrf.__version__}, scikit-learn "
        f"{sklearn.__version__}, NumPy {np.__version__}, SciPy {scipy.__version__}."
    )
    done = {m["name"] for m in results}
    parts = {}
    if done.issuperset(BUNDLED):
        parts["bundled"] = table(results, list(BUNDLED), times=False)
    if files and done.issuperset(files):
        parts["files"] = table(results, list(files), times=True) + "\n\n" + how
    for name, text in parts.items():
        print(text, end="\n\n", flush=True)
        if args.page is not None:
            insert(args.page, name, text)
    check(results, [name for name in (*files, *BUNDLED) if name in done])


if __name__ == "__main__":
    main()
