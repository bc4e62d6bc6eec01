"""How often the ranges of forecasts hold the measured value: the table of docs/forecasts.md.

    OPENBLAS_NUM_THREADS=1 python bench/forecast_coverage.py FOLDER --page docs/forecasts.md

Features drawn at random, 300 of them, of the sets of forecast_table.py and five synthetic ones;
`theory.from_features` on 150 and on 400 random rows; ridge regression on one to ten times these
rows, at its best ridge, on rows of neither. Several splits of each set.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from forecast_table import BEGIN, END, data_sets
from spikedrf import theory
from spikedrf.features import feature_map

FEATURES, ROWS, TIMES, TESTS = 300, (150, 400), (1, 2, 5, 10), 1500


def synthetic() -> Iterator[tuple[str, Callable[[], tuple[Any, Any]]]]:
    """Name sets that had no part in the choice of the method's constants."""

    def smooth(rng: Any) -> tuple[Any, Any]:
        X = rng.standard_normal((12000, 6))
        y = np.exp(-(X[:, 0] ** 2)) + 0.3 * X[:, 1] * X[:, 2] * X[:, 3]
        return X, y + 0.05 * rng.standard_normal(12000)

    def noisy(rng: Any) -> tuple[Any, Any]:
        X = rng.uniform(-1.0, 1.0, (12000, 20))
        y = np.sin(np.pi * X) @ (1.0 / np.arange(1, 21))
        return X, y + 0.5 * rng.standard_normal(12000)

    def network(rng: Any) -> tuple[Any, Any]:
        X, W = rng.standard_normal((12000, 10)), rng.standard_normal((10, 30))
        return X, np.maximum(X @ W, 0.0) @ rng.standard_normal(30)

    def uneven(rng: Any) -> tuple[Any, Any]:
        X = rng.laplace(size=(12000, 12))
        noise = 0.2 * (1.0 + np.abs(X[:, 0])) * rng.standard_t(5.0, 12000)
        return X, np.tanh(X[:, 0] + X[:, 1]) + np.cos(X[:, 2]) + noise

    def heavy(rng: Any) -> tuple[Any, Any]:
        X = np.exp(0.7 * rng.standard_normal((12000, 8)))
        return X, np.log1p(X[:, 0] * X[:, 1]) + X[:, 2] / X[:, 3] + 0.2 * rng.standard_normal(12000)

    for number, make in enumerate((smooth, noisy, network, uneven, heavy)):
        yield make.__name__, lambda make=make, number=number: make(np.random.default_rng(number))


def least_error(Phi: Any, y: Any, rows: int, test: slice) -> float:
    mean, mean_y = Phi[:rows].mean(axis=0), y[:rows].mean()
    F = (Phi[:rows] - mean) / np.sqrt(Phi.shape[1])
    value, U = np.linalg.eigh(F.T @ F)
    value, rotated = np.maximum(value, 0.0), U.T @ (F.T @ (y[:rows] - mean_y))
    tests, truth = (Phi[test] - mean) @ U / np.sqrt(Phi.shape[1]), y[test] - mean_y
    ridges = np.logspace(-5, 4, 28)
    return float(min(np.mean((truth - tests @ (rotated / (value + r))) ** 2) for r in ridges))


def trial(X: Any, y: Any, rows: int, seed: int) -> list[tuple[int, float, bool, bool]]:
    """Return, for each multiple of the rows, the ratio to the measured error, and if it is held."""
    rng = np.random.default_rng([seed, rows])
    order = rng.permutation(len(X))[: 10 * rows + TESTS]
    many = min(10 * rows, len(order) * 4 // 5)
    X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0.0, X.std(axis=0), 1.0)
    x = np.column_stack([np.clip(X[order], -6.0, 6.0), np.ones(len(order))])
    W = rng.standard_normal((FEATURES, x.shape[1]))
    W[:, :-1] /= np.linalg.norm(W[:, :-1], axis=1)[:, None]
    Phi, labels, test = feature_map(x, W, "tanh"), y[order], slice(many, None)
    curve = theory.from_features(Phi[:rows], labels[:rows])
    out = []
    for times in TIMES:
        if times * rows > many:
            continue
        f = curve.solve(times * rows)
        came = least_error(Phi, labels, times * rows, test)
        share = came / float(np.var(labels[test]))
        held = 1.0 - f.r2_upper <= share <= 1.0 - f.r2_lower
        out.append((times, f.test_error / came, f.lower <= came <= f.upper, held))
    return out


def table(found: dict[tuple[str, int], list[tuple[float, bool, bool]]]) -> str:
    lines = [
        "| sets | rows | trials | median of forecast over measured | typical error "
        "| range holds it | range of R^2 holds it |",
        "|" + "---|" * 7,
    ]
    for (kind, times), some in found.items():
        ratio = np.log([r for r, _, _ in some])
        held, held_r2 = (np.mean([t[i] for t in some]) for i in (1, 2))
        lines.append(
            f"| {kind} | x{times} | {len(some)} | {np.exp(np.median(ratio)):.2f} | "
            f"{np.median(np.abs(ratio)):.0%} | {held:.0%} | {held_r2:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    found: dict[tuple[str, int], list[tuple[float, bool, bool]]] = {}
    kinds = (("of the page", data_sets(args.folder)), ("synthetic", synthetic()))
    for kind, sets in kinds:
        for times in TIMES:
            found[kind, times] = []
        for name, get in sets:
            X, y = get()
            for rows in ROWS:
                for seed in range(args.splits):
                    for times, *rest in trial(X, y, rows, seed):
                        found[kind, times].append(tuple(rest))
            print(name, flush=True)
    text = table(found)
    print(text)
    if args.page:
        begin, end = BEGIN.format("coverage"), END.format("coverage")
        before, rest = args.page.read_text().split(begin)
        args.page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
