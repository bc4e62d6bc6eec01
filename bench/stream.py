"""A stream that no memory would hold: rows a second, and the most memory that the process ever had.

    OPENBLAS_NUM_THREADS=1 python bench/stream.py [--page docs/benchmarks.md]

Rows are drawn as they are needed and given to `SpikedRFRegressor.partial_fit`, with defaults. The
rival is what cannot be done without: of every tenth block the product with the weights and that of
the features with themselves. Times are of the processor.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from page import insert
from spikedrf import SpikedRFRegressor

LIMIT = 1e9  # bytes
SAMPLED = 10


def sample(rng, n, theta):
    X = rng.standard_normal((n, theta.size))
    return X, np.sin(2.0 * X @ theta) + 0.3 * rng.standard_normal(n)


def products(X, W, at_a_time=2048):
    """Time of the products of some rows."""
    begin = time.process_time()
    gram = np.zeros((len(W), len(W)), order="F")
    for start in range(0, len(X), at_a_time):
        z = X[start : start + at_a_time] @ W.T
        blas.dsyrk(1.0, z.T, beta=1.0, c=gram, overwrite_c=1)
    return time.process_time() - begin


def stream(rows, inputs, features, block):
    """Return R^2 on new rows, times of the first block, of the others, of their products, bytes."""
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(inputs)
    theta /= np.linalg.norm(theta)
    model = SpikedRFRegressor(features, random_state=0)
    times, bare = [], []
    for at in range(rows // block):
        X, y = sample(rng, block, theta)
        begin = time.process_time()
        model.partial_fit(X, y)
        times.append(time.process_time() - begin)
        if at % SAMPLED == 1:
            bare.append(products(X, model.weights_))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    score = model.score(*sample(rng, block, theta))
    return score, times[0], np.mean(times[1:]), np.mean(bare), peak


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--block", type=int, default=10_000, help="rows of a call")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    with threadpool_limits(1):
        score, first, each, bare, peak = stream(args.rows, args.inputs, args.features, args.block)
    # The best linear function has R^2 4 exp(-4) / ((1 - exp(-8)) / 2 + 0.09) = 0.12.
    assert score > 0.5, score
    assert peak < LIMIT, f"{peak / 1e6:.0f} MB"
    text = (
        f"{args.rows:,} x {args.inputs} rows in calls of {args.block:,}, {args.features} features: "
        f"the first call, which chooses step and ridge, takes {first:.1f} s; then "
        f"{args.block / each:,.0f} rows a second, {each / bare:.2f} of the time of the two "
        f"products alone (≤ 1.4). The process, Python and its libraries included, never had more "
        f"than {peak / 1e6:.0f} MB (≤ {LIMIT / 1e6:.0f} MB); the features would fill "
        f"{8e-9 * args.rows * args.features:.1f} GB. $R^2$ on new rows: {score:.3f}."
    )
    print(text)
    if args.page is not None:
        insert(args.page, "stream", text)


if __name__ == "__main__":
    main()
