"""Cases of theory.md, section 12, as a user writes them and as `latent_equations` takes them.

`python tests/latent_cases.py` writes the reference values to `data/latent_cases.json`.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np

from brute_force import derivatives, functions
from latent_convex_equations import solve as solve_convex
from latent_equations import Case, solve
from spikedrf import Covariance, GradientStep, Mixture, MultiIndex, Spike, losses

PATH = Path(__file__).parent / "data" / "latent_cases.json"
CONVEX_PATH = PATH.with_name("latent_convex_cases.json")


def two(s):
    return s[..., 0] * s[..., 1] + np.sin(s[..., 1])


def three(s):
    return s[..., 0] * s[..., 1] + 0.5 * s[..., 2] + np.sin(s[..., 1])


def by_class(s, k):
    return np.tanh(s[..., 0] + s[..., 1]) + 0.5 * (np.asarray(k) == 2)


COVARIANCE = {"eigenvalues": [2.0, 1.0, 0.5], "dimensions": [0.2, 0.4, 0.4]}
TILTED = COVARIANCE | {"target": [[0.7, 0.1], [0.2, 0.3], [0.1, 0.6]]}
EIGHT = {"eigenvalues": [3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.3, 0.2]}
PAIR = {"means": [[1.0, 0.6], [-1.0, -0.6]], "labels": [1.0, -1.0]}
TRIPLE = {
    "means": [[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]],
    "proportions": [0.5, 0.3, 0.2],
    "labels": by_class,
}
STEP = GradientStep(eta=1.5, alpha0=4.0, u=(1.0, -0.8), pi=(0.6, 0.4))

# alpha, then the arguments of `theory.solve`, plainly: inputs as ("covariance", arguments).
CASES = {
    "two classes, tanh": (2.0, {
        "beta": 1.2, "inputs": ("mixture", PAIR), "step": Spike(1.0, 1.1, [1.0, 0.0]),
    }),
    "three classes, relu, K = 2": (2.0, {
        "activation": "relu", "inputs": ("mixture", TRIPLE), "noise": 0.1,
        "step": Spike((1.2, -0.8), (1.05, 1.2), [0.6, 0.5], (0.6, 0.4)),
    }),
    "weights of classes, gelu": (1.5, {
        "activation": "gelu", "beta": 0.8, "step": Spike(1.3, 1.1, [0.7, 0.5]), "noise": 0.2,
        "inputs": ("mixture", PAIR | {"proportions": [0.8, 0.2], "weights": [0.5, 2.0]}),
    }),
    "two directions, tanh, K = 2": (2.0, {
        "target": (two, 2), "noise": 0.1,
        "step": Spike((1.5, -1.0), (1.05, 1.2), [0.7, 0.5], (0.6, 0.4)),
    }),
    "two directions, a step, relu": (2.5, {
        "activation": "relu", "target": (two, 2), "beta": 0.7, "step": STEP, "noise": 0.1,
    }),
    "three directions, no step": (2.0, {"target": (three, 3), "beta": 2.0}),
    "covariance, no step, tanh": (2.0, {
        "target": "sin", "inputs": ("covariance", COVARIANCE), "noise": 0.1,
    }),
    "covariance, no step, relu, gaussian": (1.0, {
        "activation": "relu", "target": "tanh", "inputs": ("covariance", COVARIANCE),
        "init": "gaussian", "beta": 1.5,
    }),
    "eight nodes, a step, tanh": (2.0, {
        "target": "sin", "inputs": ("covariance", EIGHT), "step": GradientStep(1.5, 4.0),
    }),
    "covariance, a step, gelu, K = 2": (2.0, {
        "activation": "gelu", "target": (two, 2), "inputs": ("covariance", TILTED), "step": STEP,
        "noise": 0.1,
    }),
    "covariance, a step, gelu, K = 2, gaussian": (2.0, {
        "activation": "gelu", "target": (two, 2), "inputs": ("covariance", TILTED), "step": STEP,
        "noise": 0.1, "init": "gaussian",
    }),
    "covariance and classes, relu, K = 3": (3.0, {
        "activation": "relu", "beta": 2.0, "noise": 0.1, "inputs": ("mixture covariance", TRIPLE),
        "step": Spike((1.5, 0.2, -1.0), (1.05, 1.2, 0.9), [0.7, 0.4], (0.5, 0.3, 0.2)),
    }),
    "white, gaussian, relu, a step": (3.0, {
        "activation": "relu", "target": "tanh", "init": "gaussian", "step": GradientStep(2.0, 5.0),
        "noise": 0.1,
    }),
}  # fmt: skip

# The same under other losses, and with signs for labels: what `theory.solve` takes beside.
RARE = PAIR | {"proportions": [0.75, 0.25], "weights": [0.5, 2.0]}
CONVEX = {
    "two classes, logistic": (2.0, {
        "beta": 1.2, "inputs": ("mixture", PAIR), "step": Spike(1.0, 1.1, [1.0, 0.0]),
        "loss": losses.Logistic(),
    }),
    "a rare class, logistic, gelu, K = 2": (2.0, {
        "activation": "gelu", "inputs": ("mixture", RARE), "loss": losses.Logistic(),
        "step": Spike((1.3, -0.7), (1.1, 0.9), [0.7, 0.5], (0.6, 0.4)), "flip": 0.05,
    }),
    "a rare class, pseudo-Huber, tanh": (1.5, {
        "inputs": ("mixture", RARE), "loss": losses.PseudoHuber(0.8), "noise": 0.5, "beta": 0.7,
        "step": Spike(1.3, 1.1, [0.7, 0.5]),
    }),
    "classes and a covariance, logistic, relu, gaussian": (2.0, {
        "activation": "relu", "inputs": ("mixture covariance", PAIR), "loss": losses.Logistic(),
        "step": GradientStep(1.0, 4.0), "init": "gaussian", "beta": 1.5,
    }),
    "covariance, no step, noisy signs": (2.0, {
        "target": "sin", "inputs": ("covariance", COVARIANCE), "noise": 0.5,
        "loss": losses.Logistic(), "labels": "sign",
    }),
    "eight nodes, a step, pseudo-Huber": (2.0, {
        "target": "sin", "inputs": ("covariance", EIGHT), "step": GradientStep(1.5, 4.0),
        "loss": losses.PseudoHuber(0.5), "noise": 0.4,
    }),
    "two directions, noisy signs, K = 2": (2.0, {
        "target": (two, 2), "noise": 0.7, "loss": losses.Logistic(), "labels": "sign", "flip": 0.05,
        "step": Spike((1.5, -1.0), (1.05, 1.2), [0.8, 0.6], (0.6, 0.4)),
    }),
    "two directions, pseudo-Huber": (2.0, {
        "target": (two, 2), "noise": 0.3, "loss": losses.PseudoHuber(1.0),
        "step": Spike(1.2, 1.1, [0.6, -0.8]),
    }),
}  # fmt: skip


def arguments(name: str) -> tuple[float, dict]:
    """Return alpha and what a user gives."""
    alpha, case = (CASES | CONVEX)[name]
    kind, given = case.get("inputs", (None, None))
    inputs = {
        None: lambda: None,
        "covariance": lambda: Covariance(**given),
        "mixture": lambda: Mixture(**given),
        "mixture covariance": lambda: Mixture(**given, covariance=Covariance(**COVARIANCE)),
    }[kind]()
    target = case.get("target", "tanh")
    if not isinstance(target, str):
        target = MultiIndex(target[0], directions=target[1])
    return alpha, {"lam": 0.1, "beta": 1.0} | case | {"inputs": inputs, "target": target}


def reference_case(name: str) -> Case:
    """Section 12 by hand: the latents are the target's directions, then what a spike adds."""
    alpha, case = (CASES | CONVEX)[name]
    kind, given = case.get("inputs", (None, {}))
    target, directions = case.get("target", "tanh"), 1
    if isinstance(target, str):
        g = functions[target]
        label = lambda s, i: g(s[..., 0])  # noqa: E731
    else:
        function, directions = target
        label = lambda s, i: function(s[..., :directions])  # noqa: E731
    latents = directions
    rho, means, weights = np.ones(1), np.zeros((1, latents)), np.ones(1)
    if kind is not None and "mixture" in kind:
        means = np.array(given["means"])
        latents = means.shape[1]
        rho = np.array(given.get("proportions", np.full(len(means), 1 / len(means))))
        weights = np.array(given.get("weights", np.ones(len(means))))
        labels = given["labels"]
        if callable(labels):
            label = lambda s, i: labels(s[..., :latents], i)  # noqa: E731
        else:
            label = lambda s, i: np.full(s.shape[:-1], labels[i])  # noqa: E731
    values, w = np.ones(1), np.ones(1)
    share = np.ones((1, latents))
    if kind is not None and "covariance" in kind:
        spectrum = COVARIANCE if kind == "mixture covariance" else given
        values = np.array(spectrum["eigenvalues"])
        w = np.array(spectrum.get("dimensions", np.full(values.size, 1 / values.size)))
        values = values / (w @ values)
        share = np.array(spectrum.get("target", np.repeat(w[:, None], latents, axis=1)))
    noise = case.get("noise", 0.0)
    # One more latent: what of the spike is outside. A[j] in this basis, and the spike in it.
    size = latents + 1
    A = np.zeros((values.size, size, size))
    for j in range(values.size):
        A[j, range(latents), range(latents)] = share[j]
        A[j, latents, latents] = w[j]
    step = case.get("step")
    if step is None:
        r, pi, v, sigma = np.zeros(1), np.ones(1), np.zeros(size), values[None]
    elif isinstance(step, Spike):
        r, c, pi = (np.atleast_1d(x) for x in (step.r, step.c, 1.0 if step.pi is None else step.pi))
        gamma = np.zeros(latents)
        gamma[: np.size(step.gamma)] = step.gamma
        v = np.append(gamma, np.sqrt(1 - gamma @ gamma))
        sigma = c[:, None] * values
    else:
        f, df = (
            functions[case.get("activation", "tanh")],
            derivatives[case.get("activation", "tanh")],
        )
        z = np.arange(-10, 10, 0.002) + 0.001
        wz = 0.002 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        h0, h1, h2 = wz @ f(z), wz @ (z * f(z)), wz @ ((z * z - 1) * f(z))
        chk = wz @ df(z) ** 2 - (wz @ df(z)) ** 2
        u, eta = np.atleast_1d(step.u), step.eta
        pi = np.full(u.size, 1 / u.size) if step.pi is None else step.pi
        axis = np.arange(-9, 9.01, 0.2)
        points = np.array(list(product(axis, repeat=latents)))
        of = np.prod(0.2 * np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi), axis=1)
        b, s0, s2 = np.zeros(latents), 0.0, noise**2
        for i in range(len(rho)):
            s = points + means[i]
            res = label(s, i) - pi @ u * h0
            b += rho[i] * (of * res) @ s
            s0 += rho[i] * of @ res
            s2 += rho[i] * of @ res**2
        pull = np.sqrt(sum(values[j] ** 2 * (b @ (share[j] * b)) for j in range(values.size))
                       + s2 / step.alpha0 * (w @ values**2))  # fmt: skip
        r = eta * u * h1 * pull
        x = eta * u[:, None]
        sigma = (
            values * (1 + x * s0 * h2 * values) ** 2 + (x * values) ** 2 * s2 * chk / step.alpha0
        )
        # Omega b and the noise, by eigenspace; the unit vector beyond the latents is what is left.
        along = sum(values[j] * share[j] * b for j in range(values.size)) / pull
        A = np.zeros_like(A)
        batch = s2 / step.alpha0
        vv = [x**2 * (b @ (t * b) + batch * y) for x, t, y in zip(values, share, w, strict=True)]
        vv = np.array(vv) / pull**2
        left = np.sqrt(1 - along @ along)
        for j in range(values.size):
            cross = values[j] * share[j] * b / pull
            A[j, :latents, :latents] = np.diag(share[j])
            A[j, :latents, latents] = (cross - share[j] * along) / left
            A[j, latents, :latents] = A[j, :latents, latents]
            A[j, latents, latents] = (
                vv[j] - 2 * along @ cross + along @ (share[j] * along)
            ) / left**2
        v = np.append(along, left)
    c = sigma @ w
    ve = 2 * (sigma**2 @ w) / c**2 - (2 if case.get("init", "sphere") == "sphere" else 0)
    full = np.zeros((len(means), size))
    full[:, :latents] = means
    return Case(
        alpha, case.get("beta", 1.0), 0.1, case.get("activation", "tanh"), label,
        r=np.outer(r, v), sigma=sigma, w=w, A=A, pi=pi, ve=ve, means=full, rho=rho,
        weights=weights, noise=noise,
    )  # fmt: skip


def reference(name: str, step: float = 0.07, rest_step: float = 0.3) -> dict:
    """Solve a case by `latent_equations`."""
    return solve(reference_case(name), step, rest_step)


def convex_reference(name: str, step: float = 0.2, rest_step: float = 0.2) -> dict:
    """Solve a case of `CONVEX` by `latent_convex_equations`."""
    case = CONVEX[name][1]
    by_class = isinstance(case.get("inputs", (0, {}))[1].get("labels"), list)
    signs = case["loss"].margin or case.get("labels") == "sign"
    point = reference_case(name)
    if not point.r[:, -1].any():  # the spike is among the target's directions
        point.r, point.means = point.r[:, :-1], point.means[:, :-1]
        point.A = point.A[:, :-1, :-1]
    return solve_convex(
        point, case["loss"], signs, case.get("flip", 0.0), by_class=by_class,
        step=step, rest_step=rest_step,
    )  # fmt: skip


def stored(path: Path = PATH) -> dict:
    """Return the reference values, as stored."""
    return json.loads(path.read_text())


def write_convex() -> None:
    out = {}
    for name in CONVEX:
        exact, rough = convex_reference(name), convex_reference(name, 0.27, 0.26)
        move = max(abs(rough[k] / exact[k] - 1) for k in ("test", "train", "norm"))
        print(f"{name}: {exact['test']:.6f} {exact['train']:.6f} {exact['norm']:.6f}", move,
              flush=True)  # fmt: skip
        assert move < 1e-7
        out[name] = {key: np.asarray(value).tolist() for key, value in exact.items()}
    CONVEX_PATH.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    write_convex()
    out = {}
    for name in CASES:
        exact = reference(name)
        rough = reference(name, 0.09, 0.36)
        move = max(abs(rough[k] / exact[k] - 1) for k in ("test", "train", "norm"))
        print(
            f"{name}: {exact['test']:.6f} {exact['train']:.6f} {exact['norm']:.6f}",
            move,
            flush=True,
        )
        assert move < 3e-9
        out[name] = {
            key: np.asarray(exact[key]).tolist() for key in ("test", "train", "norm", "by_class")
        }
        if CASES[name][1].get("inputs", (0, {}))[1].get("labels") == [1.0, -1.0]:
            out[name]["wrong"] = exact["wrong"].tolist()
    PATH.write_text(json.dumps(out, indent=1) + "\n")
