"""Networks drawn at random beside the theory: the table of docs/limits.md.

    OPENBLAS_NUM_THREADS=1 python bench/network_table.py FOLDER [--page docs/limits.md]

FOLDER keeps what has been simulated, a JSON file for each network and dimension, so that the
command goes on where it stopped. `--dimensions`, `--seconds` and `--networks` say how much is
simulated: each network at each dimension has as many replicates as that time allows, or fewer if
the standard error of the test error is below half a percent before.

A power law is twenty eigenvalues, j to minus the exponent, each on a twentieth of the dimensions:
the limit needs large eigenspaces. With d eigenvalues and an exponent above one quarter it has none,
as moments of the eigenvalues that a step depends on grow without bound.

Two readout values have mean functions that are nearly proportional after a short step. The limit
fits their difference at no cost, with means m that cost m^2/(pi p) in a network of p neurons: for
these networks the slow reference solver has that cost in the equations, the column "at that d".
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from page import insert, markdown
from spikedrf import Covariance, GradientStep, simulate, theory

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from latent_equations import Case, solve  # the slow reference solver

SEED = 20261127
COUNT = 24
ACTIVATIONS = ("tanh", "relu", "gelu", "softplus", "silu", "erf")
ODD = ("tanh", "erf")
# The simulation's batch for an infinite one.
LARGE = 30.0
LEVELS = 20


def target(parts: list[float]) -> Any:
    """First, second and third Hermite polynomial with these coefficients."""
    c1, c2, c3 = parts
    return lambda x: c1 * x + c2 * (x * x - 1.0) / 2**0.5 + c3 * (x**3 - 3.0 * x) / 6**0.5


def draw(index: int) -> dict[str, Any]:
    """Draw a network: every choice independent of the others, by the seed and the index alone.

    Several values of the readout need an odd activation, on a covariance values of one size.
    """
    rng = np.random.default_rng([SEED, index])
    activation = str(rng.choice(ACTIVATIONS))
    white = bool(rng.random() < 0.5)
    groups = 2 if activation in ODD and rng.random() < 0.5 else 1
    sizes = rng.uniform(0.5, 1.5, 2)
    u = [1.0] if groups == 1 else [1.0, -1.0 if not white else -float(round(sizes[0], 2))]
    finite = round(float(np.exp(rng.uniform(np.log(0.3), np.log(10)))), 2)
    alpha0 = float(rng.choice([finite, np.inf], p=[0.8, 0.2]))
    return {
        "activation": activation,
        "target": [round(float(x), 2) for x in rng.uniform([0.5, -0.5, -0.4], [1.0, 0.5, 0.4])],
        "alpha0": alpha0,
        "eta": round(float(np.exp(rng.uniform(np.log(0.5), np.log(4)))), 2),
        "u": u,
        "noise": round(float(rng.uniform(0.0, 0.3)), 2),
        "init": str(rng.choice(["sphere", "gaussian"])),
        "exponent": None if white else round(float(rng.uniform(0.3, 1.0)), 2),
        "alpha": round(float(np.exp(rng.uniform(np.log(0.5), np.log(3)))), 2),
        "beta": round(float(rng.uniform(0.5, 1.5)), 2),
        "lam": round(float(np.exp(rng.uniform(np.log(0.03), np.log(0.3)))), 3),
    }


def model(case: dict[str, Any]) -> dict[str, Any]:
    inputs = None
    if case["exponent"] is not None:
        inputs = Covariance(np.arange(1.0, LEVELS + 1.0) ** -case["exponent"])
    names = ("activation", "noise", "beta", "lam")
    return {
        "target": target(case["target"]), "inputs": inputs, **{name: case[name] for name in names}
    }  # fmt: skip


def predict(case: dict[str, Any], d: int) -> dict[str, float]:
    """Test errors: of the spiked model, of section 14, and with the gain of longer rows."""
    # The batch that is simulated.
    alpha0 = case["alpha0"] if np.isfinite(case["alpha0"]) else LARGE
    step = GradientStep(case["eta"], alpha0, u=case["u"])
    out = {}
    for name, more in (
        ("isotropic", {"init": case["init"]}),
        ("section 14", {"bulk": "network", "init": case["init"]}),
        ("theory", {"bulk": "network", "init": case["init"] + "+gain"}),
    ):
        solution = theory.solve(case["alpha"], step=step, **more, **model(case))
        out[name] = float(solution.test_error) if solution.success else float("nan")
    out["limit"] = out["theory"]
    if len(case["u"]) > 1 and case["exponent"] is None:
        out["theory"] += with_cost_of_means(case, d)
    return out


def with_cost_of_means(case: dict[str, Any], d: int) -> float:
    """Change of the test error by what the means of a network of this dimension cost."""
    alpha0 = case["alpha0"] if np.isfinite(case["alpha0"]) else LARGE
    step, g = GradientStep(case["eta"], alpha0, u=case["u"]), target(case["target"])
    given = step, case["activation"], g, case["noise"]
    bulk, spike = theory.trained_bulk(*given), step.spike(*given[1:])
    across = np.sqrt(1.0 - spike.gamma**2)
    v, xi = np.array([[spike.gamma, across], [across, -spike.gamma]])  # by theta and the rest
    A = np.multiply.outer(bulk.vv, np.outer(v, v)) + np.multiply.outer(bulk.xx, np.outer(xi, xi))
    A += np.multiply.outer(bulk.vx, np.outer(v, xi) + np.outer(xi, v))
    network, limit = (
        solve(
            Case(
                case["alpha"], case["beta"], case["lam"], case["activation"],
                lambda s, _: g(s[:, 0]), r=np.outer(spike.r, v), sigma=bulk.value.T, w=bulk.trace,
                A=A, noise=case["noise"], d=dimension,
            ),
            step=0.15,
        )["test"]
        for dimension in (d, None)
    )  # fmt: skip
    return float(network - limit)


def measure(case: dict[str, Any], d: int, seconds: float, seed: int) -> dict[str, Any]:
    """Simulate in portions until the time is up or the standard error is small enough."""
    alpha0 = case["alpha0"] if np.isfinite(case["alpha0"]) else LARGE
    step = GradientStep(case["eta"], alpha0, u=case["u"])
    start, errors, portion = time.process_time(), [], 0
    while portion < 100:
        run = simulate(
            case["alpha"], d=d, step=step, model="network", init=case["init"], replicates=4,
            n_test=5000, rng=np.random.default_rng([SEED, seed, d, portion]), workers=1,
            **model(case),
        )  # fmt: skip
        errors.append([run.test_error, run.test_error_sem])
        portion += 1
        mean, sem = combined(errors)
        if time.process_time() - start > seconds or (portion > 3 and sem < 0.005 * mean):
            break
    mean, sem = combined(errors)
    return {"mean": mean, "sem": sem, "replicates": 4 * portion}


def combined(portions: list[list[float]]) -> tuple[float, float]:
    """Mean and standard error of portions of four replicates each."""
    mean, sem = np.array(portions).T
    if len(mean) < 4:
        return float(mean.mean()), float(np.sqrt(np.sum(sem**2)) / len(mean))
    # Of all replicates: variance within portions and between their means.
    n = 4 * len(mean)
    within = np.sum(4 * 3 * sem**2)
    between = np.sum(4 * (mean - mean.mean()) ** 2)
    return float(mean.mean()), float(np.sqrt((within + between) / (n - 1) / n))


def rows(folder: Path, count: int, dimensions: list[int]) -> list[list[str]]:
    out = []
    for index in range(count):
        case = draw(index)
        cells = [
            str(index + 1), case["activation"], "/".join(f"{x:g}" for x in case["target"]),
            f"{case['alpha0']:g}", f"{case['eta']:g}", "/".join(f"{x:g}" for x in case["u"]),
            f"{case['noise']:g}", case["init"],
            "white" if case["exponent"] is None else f"{case['exponent']:g}",
            f"{case['alpha']:g}, {case['beta']:g}, {case['lam']:g}",
        ]  # fmt: skip
        known = {d: folder / f"{index}-{d}.json" for d in dimensions}
        found = {
            d: predict(case, d) | json.loads(path.read_text())
            for d, path in known.items()
            if path.exists()
        }
        if not found:
            continue
        last = found[max(found)]
        cells += [f"{last[name]:.4f}" for name in ("isotropic", "section 14", "limit", "theory")]
        away = []
        for d in dimensions:
            if d not in found:
                away.append("-")
                continue
            each = found[d]
            apart = each["mean"] / each["theory"] - 1.0
            sem = each["sem"] / each["theory"]
            away.append(f"{100 * apart:+.1f}({100 * sem:.1f})")
        cells += [f"{last['mean']:.4f}", ", ".join(away), verdict(last)]
        out.append(cells)
    return out


def verdict(found: dict[str, Any]) -> str:
    apart = abs(found["mean"] - found["theory"])
    if apart <= 0.01 * found["theory"]:
        return "1%"
    return "3 se" if apart <= 3.0 * found["sem"] else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--networks", type=int, default=COUNT)
    parser.add_argument("--known", action="store_true", help="simulate nothing")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for d in args.dimensions:
        for index in range(args.networks):
            path = args.folder / f"{index}-{d}.json"
            if path.exists() or args.known:
                continue
            found = measure(draw(index), d, args.seconds, index)
            path.write_text(json.dumps(found))
            print(index, d, found, flush=True)
    header = [
        "", "activation", "target", "alpha0", "eta", "u", "noise", "init", "inputs",
        "alpha, beta, lam", "isotropic", "section 14", "theory", "at that d", "networks",
        "networks less theory, % (d = " + ", ".join(map(str, args.dimensions)) + ")", "within",
    ]  # fmt: skip
    found = rows(args.folder, args.networks, args.dimensions)
    count = {which: sum(row[-1] == which for row in found) for which in ("1%", "3 se", "no")}
    text = markdown(header, found)
    text += (
        f"\n\nOf {len(found)} networks {count['1%']} are within 1% of the theory, {count['3 se']} "
        f"within three standard errors, {count['no']} are not."
    )
    print(text)
    if args.page:
        insert(args.page, "networks", text)


if __name__ == "__main__":
    main()
