"""Forecasts from a tenth of the rows, beside measured errors: the tables of docs/forecasts.md.

    OPENBLAS_NUM_THREADS=1 python bench/forecast_table.py FOLDER --page docs/forecasts.md

FOLDER holds CSV files (kin40k.csv.gz, ...) whose last column is the target. The four largest sets
that scikit-learn brings along are taken too, classes as numbers, and three functions with noise.
Of each set a fifth is for testing and a random tenth of the rest is fitted. What is measured is the
least error of the same first layer's readout, refitted to two, five and ten times these rows, and
that of a fit anew, first layer included, to ten times these rows. Of sets of less than 3000 rows
the readout is tested on all rows but the tenth, a fifth of them at a time. Other splits follow for
the number of ranges that hold it, other numbers of features, and plain features beside the theory
of rows with their covariance, which sees no fit. ``--keep FILE`` keeps each result, so that a run
that was ended goes on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr
from sklearn import datasets

from spikedrf import Covariance, SpikedRFRegressor, theory
from spikedrf.estimators.forecast import curve_of

TIMES = (2, 5, 10)
WIDTHS = (0.5, 2.0)
BEGIN, END = "<!-- {} -->", "<!-- end of {} -->"


#: Sets of fewer rows are tested on all of them.
SMALL, FIFTHS = 3000, 5
#: The four largest real sets that scikit-learn has in its package.
LOADED = {
    "digits (the digit)": "load_digits",
    "breast cancer (the class)": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "wine (the class)": "load_wine",
}
FUNCTIONS = {"friedman1": 1.0, "friedman2": 50.0, "friedman3": 0.1}


def data_sets(folder: Path) -> Iterator[tuple[str, Callable[[], tuple[Any, Any]]]]:
    """Name eight sets and three functions, and say how each is read."""

    def read(path: Path) -> tuple[Any, Any]:
        with gzip.open(path, "rt") as file:
            rows = np.loadtxt(file, delimiter=",", skiprows=1)
        return rows[:, :-1], rows[:, -1]

    for path in sorted(folder.glob("*.csv.gz")):
        yield path.name.split(".")[0], lambda path=path: read(path)
    for name, loader in LOADED.items():
        yield name, partial(getattr(datasets, loader), return_X_y=True)
    for name, noise in FUNCTIONS.items():
        yield name, partial(getattr(datasets, f"make_{name}"), 20000, noise=noise, random_state=0)


class Split:
    """A tenth of the rows, more of them, and rows to test on."""

    def __init__(self, X: Any, y: Any, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(X))
        self.X, self.y = X[order], y[order]
        self.many = len(X) * 4 // 5
        self.few = self.many // 10
        self.variance = float(np.var(self.y[self.few if len(X) < SMALL else self.many :]))

    def fitted(self, rows: int, features: int, seed: int, **parameters: Any) -> SpikedRFRegressor:
        model = SpikedRFRegressor(features, random_state=seed, **parameters)
        return model.fit(self.X[:rows], self.y[:rows])

    def came(self, Phi: Any, rows: int) -> float:
        """Lowest test error, over the variance, of ridge regression over ridges three a decade."""
        every = np.arange(len(self.y))
        if len(every) >= SMALL:
            parts = [(every[:rows], every[self.many :])]
        else:
            rest = [every[self.few + i :: FIFTHS] for i in range(FIFTHS)]
            parts = [(np.setdiff1d(every, test)[:rows], test) for test in rest]
        squares = np.concatenate([self._squares(Phi, *part) for part in parts], axis=1)
        return float(squares.mean(axis=1).min()) / self.variance

    def _squares(self, Phi: Any, kept: Any, test: Any) -> Any:
        """Squared test errors, shape (ridges, tests)."""
        mean, mean_y = Phi[kept].mean(axis=0), self.y[kept].mean()
        F = (Phi[kept] - mean) / np.sqrt(Phi.shape[1])
        value, U = np.linalg.eigh(F.T @ F)
        value = np.maximum(value, 0.0)
        rotated = U.T @ (F.T @ (self.y[kept] - mean_y))
        its = (Phi[test] - mean) @ U / np.sqrt(Phi.shape[1])
        truth = self.y[test] - mean_y
        ridges = np.logspace(-5, 4, 28)[:, None]
        return (truth - (rotated / (value + ridges)) @ its.T) ** 2

    def anew(self, rows: int, features: int, seed: int) -> float:
        predicted = self.fitted(rows, features, seed).predict(self.X[self.many :])
        return float(np.mean((self.y[self.many :] - predicted) ** 2)) / self.variance


def said(forecast: Any, variance: float) -> list[float]:
    """``1 - R^2`` and its range; the error itself and its range, over the tests' variance."""
    of_r2 = [1.0 - forecast.r2, 1.0 - forecast.r2_upper, 1.0 - forecast.r2_lower]
    errors = [forecast.test_error, forecast.lower, forecast.upper]
    return [float(v) for v in (*of_r2, *(e / variance for e in errors))]


def noise(model: SpikedRFRegressor) -> float:
    """Relative standard error of the mean squared error that the forecast is made from."""
    read = curve_of(model.forecast_statistics_, single=True)._reading
    error = np.where(read.room > 0.5, read.error[:, 0] / read.room, np.inf)
    return float(read.sem[np.argmin(error), 0])


def of_rows(split: Split, features: int, seed: int, anew: bool) -> dict[str, Any]:
    start = time.process_time()
    model = split.fitted(split.few, features, seed)
    fitted = time.process_time() - start
    start = time.process_time()
    model.forecast(np.geomspace(split.few / 10, 1e7, 50))
    cost = (time.process_time() - start) / fitted
    Phi = model.transform(split.X).astype(np.float64)
    out: dict[str, Any] = {"rows": split.few, "cost": cost, "noise": noise(model)}
    out |= {"forecast": {}, "came": {}}
    for times in TIMES:
        n = min(times * split.few, split.many)
        out["forecast"][str(times)] = said(model.forecast(n), split.variance)
        out["came"][str(times)] = split.came(Phi, n)
    if anew:
        out["anew"] = split.anew(split.many, features, seed)
    return out


def of_widths(split: Split, features: int, seed: int) -> dict[str, Any]:
    """Forecasts of half and twice the features at five times the rows; layers fitted to the few."""
    n = 5 * split.few
    model = split.fitted(split.few, features, seed)
    out: dict[str, Any] = {}
    for ratio in WIDTHS:
        p = int(ratio * features)
        other = split.fitted(split.few, p, seed)
        Phi = other.transform(split.X).astype(np.float64)
        forecast = model.forecast(n, n_components=p)
        out[str(ratio)] = [*said(forecast, split.variance), split.came(Phi, n)]
    return out


def of_plain(split: Split, features: int, seed: int) -> dict[str, Any]:
    """Features without a step: their forecast, and the theory of the rows' covariance."""
    model = split.fitted(split.few, features, seed, n_steps=0)
    Phi = model.transform(split.X).astype(np.float64)
    X, y = split.X[: split.few], split.y[: split.few]
    kept = np.ptp(X, axis=0) > 0.0
    X = (X[:, kept] - X[:, kept].mean(axis=0)) / X[:, kept].std(axis=0)
    y = (y - y.mean()) / y.std()
    d = X.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = Covariance.from_data(X, y)
        solved = theory.solve(
            split.many / d,
            beta=features / d,
            lam=np.logspace(-6, 3, 28),
            activation="tanh",
            inputs=read,
            target=read.link,
            noise=read.link_noise,
        )
    return {
        "forecast": said(model.forecast(split.many), split.variance),
        "came": split.came(Phi, split.many),
        "theory": float(np.nanmin(solved.test_error)),
        "non_gaussian": float(read.non_gaussian),
    }


def cell(said: list[float]) -> str:
    return f"{said[0]:.4f} ({said[1]:.4f} to {said[2]:.4f})"


def counted(pairs: list[tuple[list[float], float]]) -> str:
    near = sum(abs(said[0] / came - 1.0) < 0.1 for said, came in pairs)
    held = sum(said[1] <= came <= said[2] for said, came in pairs)
    near_error = sum(abs(said[3] / came - 1.0) < 0.1 for said, came in pairs)
    held_error = sum(said[4] <= came <= said[5] for said, came in pairs)
    return (
        f"{near} of {len(pairs)} forecasts of 1 - R^2 are within 10 % of the measured value and "
        f"{held} ranges hold it; of the mean squared error itself {near_error} and {held_error}"
    )


def table_of_rows(names: list[str], kept: dict[str, Any], splits: int) -> str:
    head = "".join(f" | forecast x{t} | measured" for t in TIMES)
    lines = [f"| set | rows | noise{head} | anew x10 |", "|" + "---|" * (4 + 2 * len(TIMES))]
    for name in names:
        r = kept[f"{name} rows 0"]
        cells = [name, str(r["rows"]), f"{r['noise']:.0%}"]
        for times in TIMES:
            cells += [cell(r["forecast"][str(times)]), f"{r['came'][str(times)]:.4f}"]
        lines.append("| " + " | ".join([*cells, f"{r['anew']:.4f}"]) + " |")
    first = [kept[f"{name} rows 0"] for name in names]
    many, few = ([r["cost"] for r in first if (r["rows"] > 500) == big] for big in (True, False))
    lines.append("")
    real = [name for name in names if name not in FUNCTIONS]
    for label, some in (("the real sets", real), ("the functions", list(FUNCTIONS))):
        for when, seeds in (("in this split", 1), (f"over {splits} splits", splits)):
            every = [kept[f"{name} rows {s}"] for s in range(seeds) for name in some]
            pairs = [(r["forecast"]["10"], r["came"]["10"]) for r in every]
            lines.append(f"* Of {label}, {when}, at ten times the rows: {counted(pairs)}.")
        sure = sum(2.0 * ndtr(0.1 / kept[f"{name} rows 0"]["noise"]) - 1.0 for name in some)
        lines.append(
            f"* With no other error than the noise {sure:.1f} of these {len(some)} "
            f"are to be expected."
        )
    lines.append("")
    lines.append(
        f"Fifty values of n cost {min(many):.1%} to {max(many):.1%} of the fit; of fits to less "
        f"than 150 rows, which take a tenth of a second or less, {min(few):.0%} to {max(few):.0%}."
    )
    return "\n".join(lines)


def table_of_widths(names: list[str], kept: dict[str, Any], features: int) -> str:
    head = "".join(f" | forecast, {int(w * features)} features | measured" for w in WIDTHS)
    lines = [f"| set{head} |", "|" + "---|" * (1 + 2 * len(WIDTHS))]
    pairs = []
    for name in names:
        cells = [name]
        for ratio in WIDTHS:
            r = kept[f"{name} widths"][str(ratio)]
            pairs.append((r[:6], r[6]))
            cells += [cell(r), f"{r[6]:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{counted(pairs)}."])


def table_of_plain(names: list[str], kept: dict[str, Any]) -> str:
    lines = [
        "| set | measured | forecast from a tenth | theory before any fit | non_gaussian |",
        "|" + "---|" * 5,
    ]
    pairs = []
    for name in names:
        r = kept[f"{name} plain"]
        pairs.append((r["forecast"], r["came"]))
        cells = [name, f"{r['came']:.4f}", cell(r["forecast"]), f"{r['theory']:.4f}"]
        lines.append("| " + " | ".join([*cells, f"{r['non_gaussian']:.2f}"]) + " |")
    return "\n".join([*lines, "", f"{counted(pairs)}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    kept: dict[str, Any] = {}
    if args.keep and args.keep.exists():
        kept = json.loads(args.keep.read_text())

    def once(key: str, make: Callable[[], Any]) -> None:
        if key not in kept:
            kept[key] = make()
            print(key, json.dumps(kept[key]), flush=True)
            if args.keep:
                args.keep.write_text(json.dumps(kept))

    sets = list(data_sets(args.folder))
    names, half = [name for name, _ in sets], args.features // 2
    for seed in range(args.splits):
        for name, get in sets:
            split = Split(*get(), seed)
            once(f"{name} rows {seed}", partial(of_rows, split, args.features, seed, seed == 0))
            if seed == 0:
                once(f"{name} plain", partial(of_plain, split, args.features, 0))
                once(f"{name} widths", partial(of_widths, split, half, 0))
    texts = {
        "rows": table_of_rows(names, kept, args.splits),
        "widths": table_of_widths(names, kept, half),
        "plain": table_of_plain(names, kept),
    }
    print("\n\n".join(texts.values()))
    if args.page:
        page = args.page.read_text()
        for name, text in texts.items():
            begin, end = BEGIN.format(name), END.format(name)
            before, rest = page.split(begin)
            page = f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"
        args.page.write_text(page)


if __name__ == "__main__":
    main()
