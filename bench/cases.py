"""What `compare_builds.py` times: calls by public names that every release has.

python bench/cases.py                   answer requests on stdin, see `serve`
"""

import json
import sys
from time import process_time

import numpy as np

from spikedrf import GradientStep, Spike, SpikedRandomFeatures, SpikedRFRegressor, theory

STEP = GradientStep(eta=2.0, alpha0=1.0)
SPIKE = Spike(r=1.2, c=1.1, gamma=0.8)
GROUPS = Spike(r=[1.2, -0.9], c=[1.1, 1.0], gamma=0.8)


def point(**more):
    """One point in one call."""
    return lambda: theory.solve(2.0, lam=0.1, noise=0.1, workers=1, **more).test_error


def grid(points, **more):
    """About so many points in alpha and lam."""
    side = round(points**0.5)
    alpha, lam = np.linspace(0.1, 5.0, side)[:, None], np.geomspace(1e-2, 1.0, side)
    return lambda: theory.solve(alpha, lam=lam, noise=0.1, workers=1, **more).test_error


def steps(points, **more):
    """A first layer for every point."""
    step = GradientStep(np.linspace(0.1, 4.0, points), 20.0)
    return lambda: theory.solve(1.5, lam=0.1, step=step, noise=0.1, workers=1, **more).test_error


def gradient(points, **more):
    alpha = np.linspace(0.5, 4.0, points)
    return lambda: theory.gradient(
        alpha, lam=0.1, noise=0.1, workers=1, wrt=("alpha", "lam"), **more
    )["lam"]


def optimum(**more):
    return lambda: theory.optimise(2.0, noise=0.2, workers=1, **more).test_error


def spectrum(step):
    x = np.linspace(0.02, 4.0, 200)
    return lambda: theory.spectrum(x, alpha=2.0, step=step, workers=1).density


def transform_of_spectrum():
    z = np.linspace(0.1, 4.0, 300) + 0.05j
    return lambda: theory.stieltjes(z, alpha=2.0, step=STEP, workers=1).view(float)


def diagram():
    alpha, eta = np.linspace(0.5, 4.0, 40), np.linspace(0.0, 3.0, 20)
    return lambda: theory.phase_diagram(alpha=alpha, eta=eta, lam=0.1, alpha0=1.0, workers=1).value


def rows(n, d, p):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    W0 = rng.standard_normal((p, d + 1)) / np.sqrt(d + 1)
    return X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(n), W0


def features():
    """The feature map, of a first layer that took a step."""
    X, y, W0 = rows(4000, 100, 400)
    model = SpikedRandomFeatures(400, step_size=1.0, W0=W0).fit(X, y)
    return lambda: model.transform(X)


def layer():
    """The gradient step alone."""
    X, y, W0 = rows(4000, 100, 400)
    return lambda: SpikedRandomFeatures(400, step_size=1.0, W0=W0).fit(X, y).weights_


def regressor(**more):
    """One step and ridge regression."""
    X, y, W0 = rows(2000, 20, 300)
    given = {"step_size": 1.0, "alpha": 0.1, "step_fraction": 0.5, "random_state": 0} | more
    return lambda: SpikedRFRegressor(300, W0=W0, **given).fit(X, y).predict(X)


#: Each makes its call when it is first asked for.
CASES = {
    "one point, no step": lambda: point(),
    "one point, gradient step": lambda: point(step=STEP),
    "one point, spike": lambda: point(step=SPIKE),
    "one point, two groups": lambda: point(step=GROUPS),
    "one point, relu": lambda: point(step=STEP, activation="relu"),
    "one point, network's bulk": lambda: point(step=STEP, bulk="network"),
    "100 points, spike": lambda: grid(100, step=SPIKE),
    "10,000 points, spike": lambda: grid(10_000, step=SPIKE),
    "2,500 points, two groups": lambda: grid(2500, step=GROUPS),
    "100 steps": lambda: steps(100),
    "1,000 steps": lambda: steps(1000),
    "100 steps, relu": lambda: steps(100, activation="relu"),
    "gradient, one point": lambda: gradient(1, step=SPIKE),
    "gradient, 200 points": lambda: gradient(200, step=STEP),
    "optimise, lam": lambda: optimum(step=SPIKE),
    "optimise, lam and eta": lambda: optimum(step=STEP, over=("lam", "eta")),
    "Huber, one point": lambda: point(step=STEP, loss="huber"),
    "Huber, 36 points": lambda: grid(36, step=SPIKE, loss="huber"),
    "logistic, one point": lambda: point(step=STEP, loss="logistic", labels="sign"),
    "logistic, 16 points": lambda: grid(16, step=SPIKE, loss="logistic", labels="sign"),
    "spectrum, no step": lambda: spectrum(None),
    "spectrum, spike": lambda: spectrum(SPIKE),
    "stieltjes": transform_of_spectrum,
    "phase diagram": diagram,
    "feature map": features,
    "gradient step": layer,
    "regressor, one step": regressor,
    "regressor, no step": lambda: regressor(step_size=0.0),
    "regressor, nine ridges": lambda: regressor(alpha=np.geomspace(1e-2, 10.0, 9)),
}


def serve(requests, replies):
    """Write the names of all cases, then answer requests, one a line.

    ``["case", 0]`` asks for the answer of a case, as a list of numbers; ``["case", n]`` for the CPU
    seconds of n calls. What a build cannot do is answered by the sentence that it says.
    """
    print(json.dumps(list(CASES)), file=replies, flush=True)
    made = {}
    for line in requests:
        name, calls = json.loads(line)
        try:
            if name not in made:
                made[name] = CASES[name]()
            if calls == 0:
                reply = np.ravel(made[name]()).tolist()
            else:
                start = process_time()
                for _ in range(calls):
                    made[name]()
                reply = process_time() - start
        except Exception as error:
            reply = f"{type(error).__name__}: {error}"
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
