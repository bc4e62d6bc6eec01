"""Classes of real data, held out: the tables of docs/real_data_classification.md.

    OPENBLAS_NUM_THREADS=1 python bench/classifier_table.py FOLDER --jobs 2 \\
        --page docs/real_data_classification.md

The data sets are those that ship with scikit-learn and, with FOLDER, the numbers in its
`name.csv.gz` (target in the last column), above or below the median. Every model sees the same
standardised rows and chooses its penalty by cross-fitting; random features and networks have the
same width. Times are CPU seconds on one thread. With --keep FILE what is finished is kept, and not
done again; with --so-far the tables are of what is kept.
"""

import argparse
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import spikedrf
from estimator_table import from_file, measured
from page import insert, markdown
from spikedrf import SpikedRFClassifier

#: The C of the rivals, of whom all but the support vectors are searched by log loss.
PENALTIES = np.logspace(-2, 4, 5)
#: Rows of a file that are used, half of them to test.
MOST_ROWS = 6000
NO_STEP, ONE_STEP, SEVERAL = "no step", "one step", "several steps (default)"
#: Splits on which the step is also chosen by the loss itself, a whole fit for each candidate.
BY_THE_LOSS = 1


def above_median(path):
    X, y = from_file(path)
    rows = np.random.default_rng(0).permutation(len(X))[:MOST_ROWS]
    return X[rows], (y[rows] > np.median(y[rows])).astype(int)


BUNDLED = {
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
}


def models(p, d, seed):
    def spiked(**setting):
        return SpikedRFClassifier(p, random_state=seed, **setting)

    def searched(model, name, scoring="neg_log_loss"):
        return GridSearchCV(model, {name: PENALTIES}, cv=5, scoring=scoring)

    linear = LogisticRegression(max_iter=1000)
    features = RBFSampler(gamma=1.0 / (2.0 * d), n_components=p, random_state=seed)
    return {
        NO_STEP: spiked(n_steps=0),
        ONE_STEP: spiked(n_steps=1, metric=None),
        SEVERAL: spiked(),
        "LogisticRegression": searched(linear, "C"),
        "RBFSampler, LogisticRegression": searched(
            make_pipeline(features, linear), "logisticregression__C"
        ),
        "SVC": searched(SVC(), "C", scoring="accuracy"),
        "MLPClassifier": MLPClassifier(
            hidden_layer_sizes=(p,), early_stopping=True, max_iter=200, random_state=seed
        ),
        "HistGradientBoosting": HistGradientBoostingClassifier(random_state=seed),
    }


def timed(model, X, y):
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of lbfgs and the MLP at max_iter
        begin = time.process_time()
        model.fit(X, y)
        return time.process_time() - begin


def scores(model, X, y):
    """Accuracy and log loss; a search would score by what it searched for."""
    loss = np.nan
    if hasattr(model, "predict_proba"):
        loss = log_loss(y, model.predict_proba(X), labels=model.classes_)
    return float(np.mean(model.predict(X) == y)), loss


def chosen_by_the_loss(model, X, y):
    """The step, of all that the model has tried, of the smallest cross-fitted loss."""
    sizes = model.step_sizes_.tolist()
    fits = [clone(model).set_params(step_size=eta) for eta in sizes]
    seconds = sum(timed(fit, X, y) for fit in fits)
    return min(fits, key=lambda fit: fit.cv_loss_), seconds


def measure(name, load, seed, p, labels):
    X, y = load()
    share = 0.25 if name in BUNDLED else 0.5
    X, X_test, y, y_test = train_test_split(X, y, test_size=share, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    out = {"name": name, "seed": seed, "features": p, "shape": X.shape, "step": {}, "loss": {}}
    for label, model in models(p, X.shape[1], seed).items():
        if label not in labels:
            continue
        seconds = timed(model, X, y)
        out[label] = *scores(model, X_test, y_test), seconds
        if label in (ONE_STEP, SEVERAL):
            out["step"][label] = model.step_size_
        if label == ONE_STEP and seed < BY_THE_LOSS:
            other, more = chosen_by_the_loss(model, X, y)
            out["loss"][label] = scores(other, X_test, y_test)[1], more / seconds
    return out


def mean_and_error(values, digits):
    text = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return text
    return f"{text}\u00a0±\u00a0{np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def comparison(results, names, corner, show):
    rows = [
        [
            label,
            *(show(np.array([m[label] for m in results if m["name"] == name])) for name in names),
        ]
        for label in models(1, 1, 0)
    ]
    shapes = {m["name"]: m["shape"] for m in results}
    header = [f"{name} ({shapes[name][0]} x {shapes[name][1]})" for name in names]
    return markdown([corner, *header], rows)


def log_losses(values):
    return "–" if np.isnan(values[:, 1]).any() else mean_and_error(values[:, 1], 3)


def steps(results, names):
    """How the step is chosen, beside choosing it by the loss, on splits where both were done."""
    rows = []
    for name in names:
        ours = [m for m in results if m["name"] == name]
        both = [m for m in ours if ONE_STEP in m["loss"]]
        compared = (
            [m[NO_STEP][1] for m in both],
            [m[ONE_STEP][1] for m in both],
            [m["loss"][ONE_STEP][0] for m in both],
        )
        rows.append(
            [
                name,
                *(
                    f"{sum(m['step'][label] > 0 for m in ours)} of {len(ours)}"
                    for label in (ONE_STEP, SEVERAL)
                ),
                *(mean_and_error(values, 3) for values in compared),
                f"{np.median([m['loss'][ONE_STEP][1] for m in both]):.1f}",
            ]
        )
    header = ["log loss", "one step taken", "several taken", "no step", "one step"]
    header += ["one step by the loss", "time ratio"]
    return markdown(header, rows)


def check(results, names):
    """What the defaults promise, where it is measured."""
    for name in names:
        ours = [m for m in results if m["name"] == name]
        for label in (ONE_STEP, SEVERAL):
            loss = np.mean([m[label][1] - m[NO_STEP][1] for m in ours])
            assert loss < 0.02, f"{label} on {name}: costs {loss:.3f} of log loss"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--features", type=int, default=300)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--so-far", action="store_true")
    args = parser.parse_args()
    files = {} if args.folder is None else args.folder.glob("*.csv.gz")
    files = {path.name.split(".")[0]: path for path in sorted(files)}
    sets = {name: (lambda path=path: above_median(path)) for name, path in files.items()}
    sets = BUNDLED | sets
    labels = list(models(1, 1, 0))
    every = measure, labels, sets, range(args.splits), args.features, args.jobs, args.keep
    results = measured(*every, args.so_far)
    parts = {}
    done = {m["name"] for m in results}
    for group, names in (("bundled", list(BUNDLED)), ("files", list(files))):
        if names and done.issuperset(names):
            parts |= {
                f"{group} accuracy": comparison(
                    results, names, "accuracy, %", lambda v: mean_and_error(100.0 * v[:, 0], 1)
                ),
                f"{group} loss": comparison(results, names, "log loss", log_losses),
                f"{group} time": comparison(
                    results, names, "fit, s", lambda v: f"{v[:, 2].mean():.2f}"
                ),
            }
    parts["steps"] = steps(results, [name for name in sets if name in done])
    parts["how"] = (
        f"{args.splits} random splits, {args.features} features or neurons; mean ± "
        f"standard error; CPU seconds on one thread of {platform.machine()}, searches included; "
        f"spikedrf {spikedrf.__version__}, scikit-learn {sklearn.__version__}, NumPy "
        f"{np.__version__}."
    )
    for name, text in parts.items():
        print(text, end="\n\n", flush=True)
        if args.page is not None:
            insert(args.page, name, text)
    check(results, [name for name in sets if name in done])


if __name__ == "__main__":
    main()
