"""Phase diagrams of a million points: a spike for every point, and one for all of them.

    python bench/phase_diagram.py [--side 1000] [--activation tanh] [--target sin] [--workers 2]
                                  [--page docs/benchmarks.md]

Prints, or writes into the page, wall and processor time and what share of the latter goes into
tables. What is not tables is what the same points cost that share them: the first diagram, in which
each piece makes one set. Points picked at random are held against `theory.solve`.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from page import insert, markdown
from spikedrf import GradientStep, theory
from spikedrf.theory.mesh import mesh

OWN = {"alpha": 2.0, "lam": 0.1}
SHARED = {"eta": 3.0, "alpha0": 20.0}


def run(side, checked, **case):
    """Compute a diagram and check some of its points; return its wall and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    diagram = theory.phase_diagram(**case)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert diagram.success.all()
    rows, columns = np.random.default_rng(0).integers(side, size=(2, checked))
    at = case | {diagram.x_name: diagram.x[columns], diagram.y_name: diagram.y[rows]}
    step = GradientStep(at["eta"], at["alpha0"])
    functions = {name: case[name] for name in ("activation", "target")}
    expected = theory.solve(at["alpha"], lam=at["lam"], step=step, **functions).test_error
    np.testing.assert_allclose(diagram.value[rows, columns], expected, rtol=1e-9)
    return wall, cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--activation", default="tanh")
    parser.add_argument("--target", default="sin")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", type=Path, help="write the table into this page (Markdown)")
    args = parser.parse_args()
    side = args.side
    common = {"activation": args.activation, "target": args.target, "workers": args.workers}
    axes = {"alpha": np.geomspace(0.1, 10, side), "lam": np.geomspace(1e-3, 10, side)}
    shared = run(side, 50, **axes, **SHARED, **common)
    steps = {"eta": np.geomspace(0.1, 10, side), "alpha0": np.geomspace(0.1, 100, side)}
    own = run(side, 50, **steps, **OWN, **common)
    pieces = len(mesh(axes | SHARED, None, None, None).pieces())
    per_table = (own[1] - shared[1]) / side**2
    header = ["", "wall time", "processor", "a point", "of that, tables"]
    rows = [
        [
            f"{name}, {side**2:,} points",
            f"{wall:.1f} s",
            f"{cpu:.1f} s",
            f"{1e6 * cpu / side**2:.2f} µs",
            f"{tables * per_table / cpu:.1%}",
        ]
        for name, (wall, cpu), tables in (
            ("alpha x lam, one spike", shared, pieces),
            ("eta x alpha0, a spike for every point", own, side**2),
        )
    ]
    setting = f"{args.activation} on {args.target}, {args.workers} threads"
    text = f"{setting}:\n\n{markdown(header, rows)}"
    if args.page is None:
        print(text)
    else:
        insert(args.page, "phase", text)


if __name__ == "__main__":
    main()
