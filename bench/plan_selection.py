"""How the plan of several steps is chosen: rules that cheat, that waste, and the one that is used.

    OPENBLAS_NUM_THREADS=1 python bench/plan_selection.py FOLDER --page docs/real_data.md

The same moves, judged by other rows. Every rule sees the same standardised rows and has the same
neurons; its layer then takes a ridge readout on all rows, by the leave-one-out error.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from estimator_table import BUNDLED, from_file
from page import insert, markdown
from spikedrf import SpikedRFRegressor
from spikedrf.activations import resolve
from spikedrf.estimators.layer import draw_weights
from spikedrf.estimators.moves import Draw, Mover
from spikedrf.estimators.search import MARGIN, MOST_STEPS, PLAIN_RIDGES, Judge, search
from spikedrf.estimators.trials import Data, Fold

P = 300
MOST_ROWS = 2000
RULES = {
    "same rows": "the rows that take the moves and fit the readout judge them",
    "half": "half of the rows judge, the others take the moves",
    "a fifth": "a fifth judges: the best plan, however little it gains",
    "a fifth, 2 sem": "if it gains more than two standard errors: the rule from 3000 rows on",
    "default": "the same, three folds from 1000 to 3000 rows, one step below",
}
SETS = ("friedman1", "products", "sine, n = 2 d", "noise, n = 40 d", "noise, n = 2 d")


def parts(x, y, share, seed):
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = np.split(order, [int(share * len(x))])
    return Fold(*(Data(np.ascontiguousarray(x[rows]), y[rows], None) for rows in (kept, held)))


def readout(layer, X, y, X_test, y_test):
    model = SpikedRFRegressor(len(layer), W0=layer, step_size=0.0, scale=False)
    return model.fit(X, y).score(X_test, y_test)


def measure(load, seed):
    X, y = load()
    size = min(MOST_ROWS, int(0.8 * len(X)))
    X, X_test, y, y_test = train_test_split(X, y, train_size=size, random_state=seed)
    scaler = StandardScaler().fit(X)
    X, X_test = (np.clip(scaler.transform(Z), -10.0, 10.0) for Z in (X, X_test))
    y, y_test = (y - y.mean()) / y.std(), (y_test - y.mean()) / y.std()
    x = np.column_stack([X, np.ones(len(X))]).astype(np.float32)
    labels = y[:, None].astype(np.float32)
    rng = np.random.RandomState(seed)
    d = X.shape[1]
    drawn = Draw(draw_weights(rng, P, d, np.float32), rng.standard_normal(P).astype(np.float32))
    plain = draw_weights(rng, P, d + 1, np.float32)
    every = Data(x, labels, None)
    folds = {
        "same rows": Fold(every, every),
        "half": parts(x, labels, 0.5, seed),
        "a fifth": parts(x, labels, 0.2, seed),
    }
    out = {"no step": readout(plain, X, y, X_test, y_test)}
    for rule, fold in folds.items():
        judge = Judge([fold], Mover(drawn, resolve("tanh"), True), None)
        reference = judge.layers([plain], PLAIN_RIDGES)
        best = search(judge, ("full", "diagonal"), MOST_STEPS).best
        out[rule] = readout(best.states[0].fit.layer, X, y, X_test, y_test)
        gain, sem = judge.gain(best.squares, reference.squares)
    taken = gain > MARGIN * sem and len(best.plan) > 1
    out["a fifth, 2 sem"] = out["a fifth"] if taken else out["no step"]
    own, still = (SpikedRFRegressor(P, n_steps=n, random_state=seed) for n in ("auto", 0))
    out["default"] = own.fit(X, y).score(X_test, y_test)
    out["its loss"] = still.fit(X, y).score(X_test, y_test) - out["default"]
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    files = [] if args.folder is None else sorted(args.folder.glob("*.csv.gz"))
    sets = {path.name.split(".")[0]: (lambda path=path: from_file(path)) for path in files}
    sets |= {name: BUNDLED[name] for name in SETS}
    rows, loss = [], {rule: [] for rule in RULES}
    for name, load in sets.items():
        with threadpool_limits(1):
            results = [measure(load, 2000 + seed) for seed in range(args.splits)]
        mean = {key: np.mean([r[key] for r in results]) for key in results[0]}
        rows.append([name, f"{mean['no step']:.3f}", *(f"{mean[rule]:.3f}" for rule in RULES)])
        for rule in RULES:
            loss[rule] += [
                r["its loss"] if rule == "default" else r["no step"] - r[rule] for r in results
            ]
        print(rows[-1], flush=True)
    summary = [
        [rule, text, f"{-np.mean(loss[rule]):.3f}", f"{max(loss[rule]):.3f}"]
        for rule, text in RULES.items()
    ]
    text = markdown(["rule", "", "mean gain over no step", "largest loss"], summary)
    text += "\n\n" + markdown(["", "no step", *RULES], rows)
    print(text)
    if args.page is not None:
        insert(args.page, "plan_rules", text)
    assert max(loss["default"]) < 0.01


if __name__ == "__main__":
    main()
