"""Forecasts from a tenth of the rows, against what came: the table of docs/forecasts.md.

    OPENBLAS_NUM_THREADS=1 python bench/forecast_table.py FOLDER --page docs/forecasts.md

FOLDER holds CSV files (kin40k.csv.gz, ...) whose last column is the target; sets of scikit-learn
are taken too. Of each set a fifth is for testing; a random tenth of the rest is fitted, and the
same first layer's readout is then fitted to two, five and ten times these rows.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

from spikedrf import SpikedRFRegressor

TIMES = (2, 5, 10)
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def data_sets(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path, "rt") as file:
            rows = np.loadtxt(file, delimiter=",", skiprows=1)
        yield path.name.split(".")[0], rows[:, :-1], rows[:, -1]
    for number, noise in ((1, 1.0), (2, 50.0), (3, 0.1)):
        make = getattr(datasets, f"make_friedman{number}")
        yield f"friedman{number}", *make(8000, noise=noise, random_state=0)
    yield "digits (the digit)", *datasets.load_digits(return_X_y=True)


def best_readout(Phi: Any, y: Any, Phi_test: Any, y_test: Any) -> float:
    """Lowest test error of ridge regression over ridges two a decade."""
    mean, mean_y = Phi.mean(axis=0), y.mean()
    F = (Phi - mean) / np.sqrt(Phi.shape[1])
    value, U = np.linalg.eigh(F.T @ F)
    rotated, test = U.T @ (F.T @ (y - mean_y)), (Phi_test - mean) @ U / np.sqrt(Phi.shape[1])
    ridges = np.logspace(-4, 4, 17)
    errors = [np.mean((y_test - mean_y - test @ (rotated / (value + lam))) ** 2) for lam in ridges]
    return float(min(errors))


def row(name: str, X: Any, y: Any, features: int, **parameters: Any) -> dict[str, Any]:
    order = np.random.default_rng(0).permutation(len(X))[:20000]
    X, y = X[order], y[order]
    many = len(X) * 4 // 5
    few, test = many // 10, slice(many, None)
    start = time.process_time()
    model = SpikedRFRegressor(features, random_state=0, **parameters).fit(X[:few], y[:few])
    fitted = time.process_time() - start
    start = time.process_time()
    model.forecast(np.geomspace(few / 10, 1e7, 50))
    cost = (time.process_time() - start) / fitted
    Phi, variance = model.transform(X), float(np.var(y[test]))
    out: dict[str, Any] = {"name": name, "rows": few, "cost": cost, "came": [], "forecast": []}
    for times in TIMES:
        n = min(times * few, many)
        came = best_readout(Phi[:n], y[:n], Phi[test], y[test]) / variance
        f = model.forecast(n)
        out["came"].append(came)
        out["forecast"].append(
            [v / float(np.var(y[:few])) for v in (f.test_error, f.lower, f.upper)]
        )
    return out


def table(rows: list[dict[str, Any]]) -> str:
    head = "".join(f" | forecast x{t} | came" for t in TIMES)
    lines = [f"| set | rows{head} |", "|" + "---|" * (2 + 2 * len(TIMES))]
    for r in rows:
        cells = [r["name"], str(r["rows"])]
        for came, (value, low, high) in zip(r["came"], r["forecast"], strict=True):
            cells += [f"{value:.4f} ({low:.4f} to {high:.4f})", f"{came:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    last = [(r["came"][-1], *r["forecast"][-1]) for r in rows]
    near = sum(abs(value / came - 1.0) < 0.1 for came, value, _, _ in last)
    inside = sum(low <= came <= high for came, _, low, high in last)
    lines += [
        "",
        f"At ten times the rows {near} of {len(rows)} forecasts are within 10 % of what came, and "
        f"{inside} of {len(rows)} ranges hold it. Fifty values of n cost "
        f"{min(r['cost'] for r in rows):.1%} to {max(r['cost'] for r in rows):.1%} of the fit.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    rows = []
    for name, X, y in data_sets(args.folder):
        rows.append(row(name, X, y, args.features))
        print(rows[-1], flush=True)
    text = table(rows)
    print(text)
    if args.page:
        before, rest = args.page.read_text().split(BEGIN)
        args.page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
