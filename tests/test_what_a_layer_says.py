"""What order parameters say beside the error: ensembles, transfer, sensitivity, small steps."""

import numpy as np
import pytest

from spikedrf import (
    Covariance,
    GradientStep,
    Mixture,
    MultiIndex,
    SmallStep,
    Spike,
    Transfer,
    theory,
)

SPIKE = Spike(1.2, 1.1, 0.8)
MODEL = {"target": "sin", "noise": 0.3, "step": SPIKE}


def rows(rng, p, d):
    W = rng.standard_normal((p, d))
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def spiked(rng, p, d, r=1.2, c=1.1):
    """Rows with a spike along the first axis."""
    W = np.sqrt(c) * rows(rng, p, d)
    W[:, 0] += r
    return W


def fitted(Phi, y, lam):
    p = Phi.shape[1]
    return np.linalg.solve(Phi.T @ Phi / p + lam * np.eye(p), Phi.T @ y / np.sqrt(p))


@pytest.mark.parametrize(
    ("alpha", "lam", "single", "cross"),
    [(2.0, 0.1, 0.235374, 0.177662), (1.0, 0.01, 0.462021, 0.215897)],
)
def test_ensembles_of_the_specification(alpha, lam, single, cross):
    found = theory.ensemble(alpha, lam=lam, networks=4, **MODEL)
    assert found.success
    assert found.single_error == pytest.approx(single, abs=0.51e-6)
    assert found.cross_error == pytest.approx(cross, abs=0.51e-6)
    assert found.test_error == pytest.approx(cross + (single - cross) / 4, abs=1e-6)
    parts = found.bias + found.of_samples + found.of_noise + found.of_initialisation
    assert parts + 0.09 == pytest.approx(found.single_error, rel=1e-9)


def test_ensembles_in_solve():
    found = theory.solve([1.0, 2.0], lam=0.1, ensemble=3, **MODEL)
    same = theory.ensemble([1.0, 2.0], lam=0.1, networks=3, **MODEL)
    np.testing.assert_allclose(found.test_error, same.test_error, rtol=1e-12)
    np.testing.assert_allclose(found.excess_error, same.test_error - 0.09, rtol=1e-10)
    assert found[1].ensemble.cross_error == same.cross_error[1]
    one = theory.solve(2.0, lam=0.1, ensemble=1, **MODEL)
    assert one.test_error == pytest.approx(theory.solve(2.0, lam=0.1, **MODEL).test_error, rel=1e-9)


def drawn(seed, K, n_test=3000, d=150, alpha=2.0, beta=1.0, lam=0.1, noise=0.3):
    """Errors of two networks on one sample: of each, across, and of two samples."""
    rng = np.random.default_rng(seed)
    n, p = round(alpha * d), round(beta * d)
    theta = np.zeros(d)
    theta[:2] = 0.8, 0.6

    def sample(n):
        X = rng.standard_normal((n, d))
        clean = np.sin(X @ theta)
        return X, clean, clean + noise * rng.standard_normal(n)

    def layer():
        r = np.repeat([1.2, -0.7][:K], p // K)
        W = np.sqrt(1.1) * rows(rng, p, d)
        W[:, 0] += r
        return W

    X_test, clean, y_test = sample(n_test)
    layers = [layer() for _ in range(4)]
    outputs = []
    for X, _, y in (sample(n), sample(n)):
        own = [
            np.maximum(X_test @ W.T, 0) @ fitted(np.maximum(X @ W.T, 0), y, lam) / np.sqrt(p)
            for W in (layers.pop(), layers.pop())
        ]
        outputs.append(own)
    (a, b), (c, _) = outputs
    return [
        np.mean((a - y_test) ** 2), np.mean((a - y_test) * (b - y_test)),
        np.mean((a - clean) * (c - clean)),
    ]  # fmt: skip


@pytest.mark.parametrize("K", [1, 2])
def test_ensembles_of_networks(K):
    """Twenty draws at d = 150, relu, K groups; |z| < 4, and 2% for 3/d."""
    step = Spike([1.2, -0.7][:K], 1.1, 0.8)
    found = theory.ensemble(2.0, lam=0.1, activation="relu", **MODEL | {"step": step})
    errors = np.array([drawn(seed, K) for seed in range(20)])
    mean, sem = errors.mean(axis=0), errors.std(axis=0, ddof=1) / np.sqrt(len(errors))
    for value, ours, error in zip(
        (found.single_error, found.cross_error, found.bias), mean, sem, strict=True
    ):
        assert abs(value - ours) < 4 * error + 0.02 * value, (mean, sem)


def test_ensembles_of_other_inputs():
    """Classes that are one, eigenvalues that are equal: nothing changes; many samples, no noise."""
    plain = theory.ensemble(2.0, lam=0.1, **MODEL)
    for inputs in (Covariance([2.0, 2.0]), Mixture([[0.0], [0.0]])):
        same = theory.ensemble(2.0, lam=0.1, inputs=inputs, **MODEL)
        assert same.cross_error == pytest.approx(plain.cross_error, rel=1e-9)
    spread = theory.ensemble(2.0, lam=0.1, inputs=Covariance([2.0, 0.5]), **MODEL)
    assert spread.bias + 0.09 < spread.cross_error < spread.single_error
    many = theory.ensemble(np.inf, lam=0.1, **MODEL)
    assert many.of_samples == many.of_noise == 0.0
    large = theory.ensemble(1e7, lam=0.1, **MODEL)
    assert large.cross_error == pytest.approx(many.cross_error, rel=1e-5)
    axes = theory.ensemble([1.0, 2.0], lam=0.1, networks=[[1], [5], [np.inf]], **MODEL)
    assert axes.test_error.shape == (3, 2)
    assert (np.diff(axes.test_error, axis=0) < 0).all()


def test_transfer():
    """The numbers of the specification, and no step, which some transfers are worse than."""
    step = Transfer(GradientStep(2.0, 4.0), "tanh", 0.1, overlap=np.array([0.0, 0.5, 0.8, 1.0]))
    model = {"lam": 0.1, "target": "sin", "noise": 0.3}
    found = theory.solve(1.0, step=step, **model)
    np.testing.assert_allclose(found.test_error, [0.46716, 0.40849, 0.31709, 0.23370], atol=0.51e-5)
    assert theory.solve(1.0, **model).test_error == pytest.approx(0.44697, abs=0.51e-5)
    several = Transfer([GradientStep(1.0, 4.0)] * 2, "tanh", 0.1, overlap=0.8)
    spike = several.first_layer("tanh").spike
    own = theory.solve(1.0, step=[GradientStep(1.0, 4.0)] * 2, lam=0.1, noise=0.1).spike
    assert (spike.r[0], spike.gamma) == pytest.approx((own.r, 0.8 * own.gamma), rel=1e-12)


def test_transfer_of_networks():
    """Twelve trained networks at d = 250, |z| < 4, and 2% for the network's own bulk."""
    d, overlap, errors = 250, 0.5, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        W, n0 = rows(rng, d, d), 4 * d
        X = rng.standard_normal((n0, d))
        y = np.tanh(X[:, 0]) + 0.1 * rng.standard_normal(n0)
        slope = 1 - np.tanh(X @ W.T) ** 2
        # The output at the start is of order 1/sqrt p.
        W = W + 2.0 / n0 * (slope * y[:, None]).T @ X
        theta = np.zeros(d)
        theta[:2] = overlap, np.sqrt(1 - overlap**2)
        X, X_test = rng.standard_normal((d, d)), rng.standard_normal((2000, d))
        y, y_test = (np.sin(x @ theta) + 0.3 * rng.standard_normal(len(x)) for x in (X, X_test))
        a = fitted(np.tanh(X @ W.T), y, 0.1)
        errors.append(np.mean((np.tanh(X_test @ W.T) @ a / np.sqrt(d) - y_test) ** 2))
    mean, sem = np.mean(errors), np.std(errors, ddof=1) / np.sqrt(12)
    assert abs(mean - 0.40849) < 4 * sem + 0.02 * mean


def test_sensitivity():
    """The numbers of the specification."""
    found = theory.sensitivity(2.0, lam=0.1, target="sin", noise=0.2, step=SPIKE)
    assert found.success
    assert found.total == pytest.approx(0.454774, abs=0.6e-6)
    assert found.along == pytest.approx(0.323572, abs=0.6e-6)


@pytest.mark.parametrize("classes", [False, True])
def test_sensitivity_of_networks(classes):
    """Gradients of sixteen drawn networks, d = 200, |z| < 4 and 2%."""
    d, n, found = 200, 400, []
    mean = np.array([[0.5, 0.8], [-0.5, -0.8]]) if classes else np.zeros((2, 2))

    def inputs(rng, n):
        X = rng.standard_normal((n, d))
        X[:, :2] += mean[rng.integers(0, 2, n)]
        return X

    for seed in range(16):
        rng = np.random.default_rng(seed)
        W = spiked(rng, d, d)
        X, X_test = inputs(rng, n), inputs(rng, 500)
        y = np.sin(0.8 * X[:, 0] + 0.6 * X[:, 1]) + 0.2 * rng.standard_normal(n)
        a = fitted(np.tanh(X @ W.T), y, 0.1)
        gradient = (1 - np.tanh(X_test @ W.T) ** 2) * a / np.sqrt(d) @ W
        found.append([np.sum(gradient**2) / 500, np.mean(gradient[:, 0] ** 2)])
    target = MultiIndex(lambda s: np.sin(0.8 * s[..., 0] + 0.6 * s[..., 1]))
    law = {"inputs": Mixture(mean)} if classes else {}
    step = Spike(1.2, 1.1, [1.0, 0.0])
    ours = theory.sensitivity(2.0, lam=0.1, target=target, noise=0.2, step=step, **law)
    average, sem = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 4
    for value, theirs, error in zip((ours.total, ours.along), average, sem, strict=True):
        assert abs(value - theirs) < 4 * error + 0.02 * value, (average, sem)


def test_sensitivity_in_a_plane():
    """A thin plane is a line, and turning it changes nothing."""
    model = {"lam": 0.1, "target": "sin", "noise": 0.2}
    line = theory.sensitivity(2.0, step=Spike([1.2, -0.9], [1.1, 1.0], 0.8), **model)
    thin = Spike([[1.2, 1e-6], [-0.9, 1e-6]], [1.1, 1.0], [0.8, 0.0], span=2)
    plane = theory.sensitivity(2.0, step=thin, **model)
    assert plane.total == pytest.approx(line.total, rel=1e-7)
    assert plane.along == pytest.approx(line.along, rel=1e-7)


def polynomial(z):
    """He1 + He2/2 + He3/6."""
    return z + (z**2 - 1) / 2 + (z**3 - 3 * z) / 6


def test_small_steps():
    """The numbers of the specification."""
    model = {"lam": 0.1, "beta": 1.5, "activation": "relu", "target": polynomial, "noise": 0.3}
    step = SmallStep(order=2, gamma=0.8)
    assert step.solve(1.0, **model).test_error == pytest.approx(1.020781, abs=0.51e-6)
    assert step.solve(3.0, **model).test_error == pytest.approx(0.917811, abs=0.51e-6)
    linear, variance = step.left_over("relu", polynomial, 0.3)
    assert linear == pytest.approx(0.6, rel=1e-12)
    # E g^2 = 1 + 1/2 + 1/6, less what is learned.
    assert variance == pytest.approx(5 / 3 - 0.64 - 0.8**4 / 2, rel=1e-12)


def test_small_steps_of_networks():
    """Features and the powers of the direction that they have learned, d = 200, |z| < 4 and 2%."""
    d, errors = 200, []
    theta = np.zeros(d)
    theta[:2] = 0.8, 0.6
    for seed in range(16):
        rng = np.random.default_rng(seed)
        W = rows(rng, 300, d)
        X, X_test = rng.standard_normal((600, d)), rng.standard_normal((2000, d))
        y, y_test = (polynomial(x @ theta) + 0.3 * rng.standard_normal(len(x)) for x in (X, X_test))

        def features(x, W=W):
            s = x[:, :1]
            powers = 30.0 * np.sqrt(300) * np.hstack([np.ones_like(s), s, s**2 - 1])
            return np.hstack([np.maximum(x @ W.T, 0), powers])

        Phi = features(X)
        a = np.linalg.solve(
            Phi.T @ Phi / 300 + 0.1 * np.eye(Phi.shape[1]), Phi.T @ y / np.sqrt(300)
        )
        errors.append(np.mean((features(X_test) @ a / np.sqrt(300) - y_test) ** 2))
    mean, sem = np.mean(errors), np.std(errors, ddof=1) / 4
    assert abs(mean - 0.917811) < 4 * sem + 0.02 * mean, (mean, sem)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.ensemble(1.0, lam=0.1, networks=0), "networks must be >= 1"),
        (lambda: theory.solve(1.0, lam=0.1, ensemble=2, loss="huber"), "ensemble is for loss="),
        (lambda: theory.solve(1.0, lam=0.1, ensemble=[1, 2]), "ensemble must not add axes"),
        (
            lambda: theory.solve(
                1.0, lam=0.1, ensemble=2, step=GradientStep(1.0, 1.0), bulk="network"
            ),
            "ensemble is for bulk='isotropic', got 'network'",
        ),
        (lambda: theory.sensitivity(1.0, lam=0.1, inputs=Covariance([2.0, 1.0])),
         "inputs must have no covariance"),
        (lambda: theory.sensitivity(1.0, lam=0.1, activation="sign"), "sign"),
        (lambda: Transfer(GradientStep(1.0, 1.0), overlap=1.5), "overlap must be >= -1"),
        (lambda: Transfer(3.0), "step must be"),
        (lambda: Transfer(GradientStep(1.0, 1.0), noise=[0.1, 0.2]), "noise of the first task"),
        (lambda: SmallStep(order=0, gamma=0.5), "order must be 1 to"),
        (lambda: SmallStep(order=1.5, gamma=0.5), "order must be an integer"),
        (lambda: SmallStep(order=2), "give alpha0 or gamma, one of them"),
        (lambda: SmallStep(order=2, gamma=1.5), "gamma must be"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
