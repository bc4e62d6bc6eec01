"""How to choose the size of the step: rules compared, the table of docs/real_data.md.

    OPENBLAS_NUM_THREADS=1 python bench/step_selection.py FOLDER --jobs 2 --page docs/real_data.md

Every rule has the same candidates, no step among them, and is judged by R^2 on rows that it never
saw. FOLDER holds data sets as `name.csv.gz`, the target in the last column; without it only
synthetic data are used: 50 inputs, 1 to 100 rows for each of them. With --keep FILE what is
finished is kept, and not done again.
"""

import argparse
import json
from pathlib import Path
from unittest import mock

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from estimator_table import from_file
from page import insert, markdown
from spikedrf import SpikedRFRegressor
from spikedrf.estimators import cross_fitting

FEATURES = 400
INPUTS, TEST = 50, 5000
RATIOS = (1, 3, 10, 30, 100)
ACTIVATIONS = ("tanh", "relu")

#: Of inputs x and standard normal noise e. Of the last the inputs have three finite moments.
TARGETS = {
    "noise": lambda x, e: e,
    "linear": lambda x, e: x[:, 0] + 0.5 * e,
    "sine": lambda x, e: np.sin(2.0 * x[:, 0]) + 0.3 * e,
    "even": lambda x, e: (x[:, 0] ** 2 - 1.0) / np.sqrt(2.0) + 0.3 * e,
    "product": lambda x, e: x[:, 0] * x[:, 1] + 0.3 * e,
    "additive": lambda x, e: np.tanh(2.0 * x[:, :5]).sum(axis=1) + 0.5 * e,
    "heavy tails": lambda x, e: np.sin(2.0 * x[:, 0]) + 0.3 * e,
}

#: What each rule does; those of cross-fitting differ in the margin that a step must gain by.
RULES = {
    "reuse": "all rows for step and readout, chosen by the readout's leave-one-out error",
    "half": "half of the rows for the step, the rest for the readout and its leave-one-out error",
    "half, refit": "the step that `half` has chosen, taken again on all rows",
    "0 sem": "cross-fitting, the best",
    "1 sem": "cross-fitting, if better than none by a standard error",
    "2 sem": "by two: `step_fraction='auto'`",
    "3 sem": "by three",
}


def synthetic(target, ratio, seed):
    rng = np.random.default_rng([seed, ratio, list(TARGETS).index(target)])
    n = INPUTS * ratio
    shape = n + TEST, INPUTS
    heavy = target == "heavy tails"
    X = rng.standard_t(4, shape) / np.sqrt(2.0) if heavy else rng.standard_normal(shape)
    y = TARGETS[target](X, rng.standard_normal(n + TEST))
    return X[:n], y[:n], X[n:], y[n:]


def real(path, seed):
    X, y = from_file(path)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=seed)
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), y, scaler.transform(X_test), y_test


def compare(case, activation, seed, folder):
    """R^2 of every rule, and that without a step."""
    name, ratio = case
    data = real(folder / f"{name}.csv.gz", seed) if ratio is None else synthetic(*case, seed)
    X, y, X_test, y_test = data

    def fit(**setting):
        one = {"n_steps": 1, "metric": None, "activation": activation, "random_state": seed}
        model = SpikedRFRegressor(FEATURES, **one, **setting)
        return model.fit(X, y)

    with threadpool_limits(1):
        plain = fit(step_size=0.0)
        with mock.patch.object(cross_fitting, "MARGIN", -np.inf):
            stepped = fit()  # the best step, whatever it gains
        half = fit(step_fraction=0.5)
        refit = fit(step_size=half.step_size_) if half.step_size_ else plain
        fits = {"reuse": fit(step_fraction=1.0), "half": half, "half, refit": refit}
        for margin in range(4):
            taken = stepped.step_gain_ > margin * stepped.step_gain_sem_
            fits[f"{margin} sem"] = stepped if taken else plain
        score = {rule: model.score(X_test, y_test) for rule, model in fits.items()}
        score["plain"] = plain.score(X_test, y_test)
        score["stepped"] = stepped.score(X_test, y_test)
    return {"case": case, "activation": activation, "seed": seed, "score": score}


def summary(results):
    """Each rule against the best of all of them, and against no step."""
    rows = []
    for rule, words in RULES.items():
        score = np.array([r["score"][rule] for r in results])
        best = np.array([max(r["score"].values()) for r in results])
        loss = np.array([r["score"]["plain"] for r in results]) - score
        rows.append(
            [
                rule,
                words,
                f"{(best - score).mean():.4f}",
                f"{np.count_nonzero(loss > 0.01)} of {len(results)}",
                f"{loss.max():.3f}",
            ]
        )
    header = ["rule", "", "short of the best", "lose more than .01", "largest loss"]
    return markdown(header, rows)


def gains(results):
    """Mean R^2 less that without a step, by rows for each input or by data set."""
    groups = {}
    for r in results:
        name, ratio = r["case"]
        label = name if ratio is None else f"synthetic, n = {ratio} d"
        groups.setdefault((label, r["activation"]), []).append(r["score"])
    rows = []
    for (label, activation), scores in groups.items():
        cells = [f"{label}, {activation}", f"{np.mean([s['plain'] for s in scores]):.3f}"]
        for rule in RULES:
            cells.append(f"{np.mean([s[rule] - s['plain'] for s in scores]):+.3f}")
        rows.append(cells)
    return markdown(["", "no step", *RULES], rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--activations", nargs="+", choices=ACTIVATIONS, default=ACTIVATIONS)
    parser.add_argument("--seeds", type=int, default=8, help="fewer where rows are many")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    cases = [
        ((target, ratio), seed)
        for ratio in RATIOS
        for target in TARGETS
        for seed in range(args.seeds if ratio <= 10 else -(-args.seeds // 3))
    ]
    if args.folder is not None:
        names = sorted(path.name.split(".")[0] for path in args.folder.glob("*.csv.gz"))
        cases += [((name, None), seed) for name in names for seed in range(-(-args.seeds // 4))]
    todo = [(case, activation, seed) for activation in args.activations for case, seed in cases]
    done = {}
    if args.keep is not None and args.keep.exists():
        for line in args.keep.read_text("utf-8").splitlines():
            r = json.loads(line)
            done[tuple(r["case"]), r["activation"], r["seed"]] = r
    parallel = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for r in parallel(delayed(compare)(*key, args.folder) for key in todo if key not in done):
        done[tuple(r["case"]), r["activation"], r["seed"]] = r
        if args.keep is not None:
            with args.keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(r) + "\n")
    results = [done[key] for key in todo]
    text = summary(results) + "\n\n" + gains(results)
    print(text)
    if args.page is not None:
        insert(args.page, "rules", text)


if __name__ == "__main__":
    main()
