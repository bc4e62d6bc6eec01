"""Section 12 of theory.md, latent coordinates, written out slowly and plainly.

Several directions of the target, classes of inputs, a bulk with nodes, neurons of unequal length.
Trapezoid rules for every Gaussian average of the latents, Legendre panels for the neurons' own, one
equation after the other for the rest. Nothing is shared with the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import fsolve

from brute_force import functions

REACH = 9.0  # latents run over nine standard deviations beside the means of the classes


@dataclass
class Case:
    """One point, in the latents e_1..e_L.

    Neurons of group k are `r[k] . e + Sigma_k^{1/2} N(0, I/d)`. The bulk has the values
    `sigma[k, j]`, weights `w[j]` in the trace and matrices `A[j]` (L x L) for the latents; by
    default it is isotropic, `sigma = c`. `ve[k]` is d times the variance of the length. Inputs of
    class i have mean `means[i]` and proportion `rho[i]`, and weigh `weights[i]` in the loss. The
    label is `label(s, i) + noise N(0, 1)`.

    Instead of independent lengths there are `lengths = (cross, own, left)`, correlated with the
    bulk: weights `cross[j, l, k]` between the latents and the length of group k, `own[j, k, i]`
    between lengths, for functions of the bulk as `A[j]` is, and a variance `left[k]` beside it.

    Instead of nodes there is `exact(B, G)`, which returns the trace `Tr M/d` (K x K) and `M`
    between the latents (L x K x L x K) of `M = ((G Sigma)^{-1} + B)^{-1}`, for bulks that have none
    in common.

    In the limit the means `m_k` of the readout cost nothing. With `d` they do what they do in a
    network of that dimension: `mu0_k` are columns like others, of weights with variance one.

    `standard` lists the latents that have columns mu1_k s_l, all by default. `extra[e, k]` are
    further columns with weights of variance 1/d: coefficients of mu1_k s_1 .. mu1_k s_L, rho_k.
    """

    alpha: float
    beta: float
    lam: float
    activation: str
    label: Callable[[np.ndarray, int], np.ndarray]
    r: np.ndarray
    c: np.ndarray | float | None = None
    sigma: np.ndarray | None = None
    w: np.ndarray | None = None
    A: np.ndarray | None = None
    pi: np.ndarray | None = None
    ve: np.ndarray | float = 0.0
    lengths: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    means: np.ndarray | None = None
    rho: np.ndarray | None = None
    weights: np.ndarray | None = None
    noise: float = 0.0
    standard: Sequence[int] | None = None
    extra: np.ndarray | None = None
    d: float | None = None
    exact: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None

    def __post_init__(self):
        self.r = np.atleast_2d(np.asarray(self.r, dtype=float))
        groups, latents = self.r.shape
        if self.sigma is None:
            c = np.broadcast_to(np.asarray(self.c, dtype=float), groups)
            self.sigma, self.w, self.A = c[:, None], np.ones(1), np.eye(latents)[None]
        self.sigma = np.asarray(self.sigma, dtype=float).reshape(groups, -1)
        self.w, self.A = np.asarray(self.w, dtype=float), np.asarray(self.A, dtype=float)
        assert np.allclose(self.A.sum(axis=0), np.eye(latents))
        self.c = self.sigma @ self.w
        self.pi = np.full(groups, 1 / groups) if self.pi is None else np.asarray(self.pi)
        self.ve = np.broadcast_to(np.asarray(self.ve, dtype=float), groups)
        if self.means is None:
            self.means = np.zeros((1, latents))
        self.means = np.asarray(self.means, dtype=float)
        classes = len(self.means)
        self.rho = np.full(classes, 1 / classes) if self.rho is None else np.asarray(self.rho)
        self.weights = np.ones(classes) if self.weights is None else np.asarray(self.weights)
        if self.standard is None:
            self.standard = tuple(range(latents))
        if self.extra is None:
            self.extra = np.empty((0, groups, latents + 1))


# --------------------------------------------------------------------------------------------------
# Tables


def neuron_averages(activation, shift, scale):
    """E f, E z f, E (z^2 - 1) f, E f^2 of f(shift + scale z), z ~ N(0, 1)."""
    f = functions[activation]
    node, weight = np.polynomial.legendre.leggauss(24)
    kink = np.clip(-shift / scale, -11.0, 11.0)
    out = np.zeros((4, shift.size))
    for left, right in ((-11.0, kink), (kink, 11.0)):
        for i in range(14):
            low, high = left + (right - left) * i / 14, left + (right - left) * (i + 1) / 14
            low, high = (np.broadcast_to(x, shift.shape)[:, None] for x in (low, high))
            z = 0.5 * (low + high) + 0.5 * (high - low) * node
            w = 0.5 * (high - low) * weight * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
            y = f(shift[:, None] + scale * z)
            for row, t in enumerate((y, z * y, (z * z - 1) * y, y * y)):
                out[row] += np.sum(w * t, axis=1)
    return out


def trapezoid(dimensions, step, means):
    """A product grid that covers all classes, and the weights that each gives its points."""
    axes = []
    for axis in range(dimensions):
        low, high = means[:, axis].min() - REACH, means[:, axis].max() + REACH
        axes.append(np.arange(low, high + step, step))
    points = np.array(list(product(*axes)), dtype=float)
    away = points[None] - means[:, None, :dimensions]
    weights = np.prod(step * np.exp(-0.5 * away**2) / np.sqrt(2 * np.pi), axis=2)
    return points, weights


def tables(case, step, rest_step):
    """Everything on the nodes of kappa, the latents turned so that the spikes' come first."""
    groups, latents = case.r.shape
    # A basis of the spikes' span, then of what is left.
    _, size, turn = np.linalg.svd(case.r)
    spikes = int(np.sum(size > 1e-12))
    r, means = case.r @ turn.T, case.means @ turn.T
    kappa, weight = trapezoid(spikes, step, means)
    weight = weight * case.rho[:, None]
    zeta, w = trapezoid(latents - spikes, rest_step, np.zeros((1, latents)))
    w = w[0]
    mu0, mu1, mu2, length = np.empty((4, groups, len(kappa)))
    for k in range(groups):
        scale = np.sqrt(case.c[k])
        e0, e1, e2, square = neuron_averages(case.activation, kappa @ r[k, :spikes], scale)
        mu0[k], mu1[k], length[k] = e0, e1 / scale, 0.5 * e2
        mu2[k] = np.maximum(square - e0**2 - e1**2, 0.0)  # mu2 squared
    # E y, E y zeta_l and what is left of E y^2, given kappa and the class.
    classes = len(case.means)
    label = np.empty((classes, len(kappa), 2 + latents - spikes))
    for i in range(classes):
        for n, at in enumerate(kappa):
            s = np.concatenate(
                [np.broadcast_to(at, (len(zeta), spikes)), zeta + means[i, spikes:]], axis=1
            )
            y = case.label(s @ turn, i)
            first = np.array([w @ y, *(w @ (zeta * y[:, None]))])
            label[i, n] = [*first, w @ (y - first[0] - zeta @ first[1:]) ** 2]
    return turn, kappa, weight, means, (mu0, mu1, mu2, length), label


# --------------------------------------------------------------------------------------------------
# Steps A, B and C


def pack(matrix, vector):
    return np.concatenate([matrix[np.triu_indices(len(vector))], vector])


def unpack(x, groups):
    matrix = np.zeros((groups, groups))
    upper = np.triu_indices(groups)
    matrix[upper] = x[:-groups]
    matrix.T[upper] = x[:-groups]
    return matrix, x[-groups:]


def solve(case, step=0.05, rest_step=0.25):
    """Test error, train error and norm; more by name."""
    groups, latents = case.r.shape
    turn, kappa, weight, means, (mu0, mu1, mu2, length), label = tables(case, step, rest_step)
    spikes = kappa.shape[1]
    A = np.array([turn @ A @ turn.T for A in case.A])
    delta, J = case.alpha / case.beta, len(case.w)
    omega = case.weights[:, None]

    def variance(V1, V2):
        return np.einsum("kn,ln,kl->n", mu1, mu1, V1) + V2 @ mu2

    def bulk(B, g):
        G = [np.diag(case.beta * case.pi * g * case.sigma[:, j]) for j in range(J)]
        P = [np.linalg.inv(np.eye(groups) + B @ G[j]) for j in range(J)]
        return P, [P[j] @ B for j in range(J)], [G[j] @ P[j] for j in range(J)]

    def response(B, g):
        if case.exact is not None:
            G = case.beta * case.pi * g
            trace, _ = case.exact(B, G)
            return trace / case.beta, case.pi * g, np.diag(trace @ B) / G
        _, C, M = bulk(B, g)
        V1 = sum(case.w[j] * M[j] for j in range(J)) / case.beta
        inner = sum(case.w[j] * case.sigma[:, j] * np.diag(C[j]) for j in range(J))
        return V1, case.pi * g, inner

    def averages(V1, V2):
        # One over one plus V, with a weight in the loss.
        pull = np.sum(weight * omega / (1 + omega * variance(V1, V2)), axis=0)
        return delta * np.einsum("kn,ln,n->kl", mu1, mu1, pull), case.lam + delta * mu2 @ pull

    # Step A: iterate, then polish.
    B, D = averages(np.zeros((groups, groups)), np.zeros(groups))
    g = 1 / D
    for _ in range(400):
        V1, V2, inner = response(B, g)
        B, D = averages(V1, V2)
        g = 1 / (D + inner)

    def violation(x):
        B, g = unpack(x, groups)
        V1, V2, inner = response(B, g)
        new_B, D = averages(V1, V2)
        return pack(B - new_B, g * (D + inner) - 1)

    x, _, _, _ = fsolve(violation, pack(B, g), xtol=1e-14, full_output=True)
    assert np.abs(violation(x)).max() < 1e-9 * (1 + np.abs(x).max()), violation(x)
    B, g = unpack(x, groups)
    V1, V2, inner = response(B, g)
    D = averages(V1, V2)[1]

    # The quadratic form N of the columns: latents first (latent, group), then lengths, then extra.
    def form(B, g):
        inner = form_of_columns(B, g)
        means = np.diag(case.beta * case.pi * g * (case.d or 0.0))
        return block_diag(inner, means) if case.d is not None else inner

    def form_of_columns(B, g):
        own = case.beta * case.pi * g
        if case.exact is not None:
            F = np.einsum("la,akbi,mb->lkmi", turn, case.exact(B, own)[1], turn)
            F = F.reshape(latents * groups, -1)
            N = np.linalg.inv(np.linalg.inv(F) - np.kron(np.eye(latents), B))
            whole = np.zeros((len(F) + groups, len(F) + groups))
            whole[: len(F), : len(F)] = N
            whole[len(F) :, len(F) :] = np.diag(own * case.ve)
            return whole
        P, _, M = bulk(B, g)
        F = sum(np.kron(A[j], M[j]) for j in range(J))
        if case.lengths is not None:
            cross, self_, left = case.lengths
            cross = np.einsum("ml,jlk->jmk", turn, cross)
            beside = sum(np.einsum("li,ki->lki", cross[j], M[j]) for j in range(J))
            beside = beside.reshape(latents * groups, groups)
            alone = sum(self_[j] * M[j] for j in range(J))
            alone = alone + np.diag(case.beta * case.pi * g * left)
            whole = np.linalg.inv(np.block([[F, beside], [beside.T, alone]]))
            feedback = np.kron(np.eye(latents), B)
            whole[: len(F), : len(F)] -= feedback
            return np.linalg.inv(whole)
        Z = sum(np.kron(A[j], P[j]) for j in range(J))  # 1 - (I x B) F
        N = F @ np.linalg.inv(Z)
        keep = np.ravel([[groups * i + k for k in range(groups)] for i in standard])
        N = N[np.ix_(keep, keep)] if len(keep) else np.empty((0, 0))
        blocks = [N, np.diag(own * case.ve), *(np.diag(own) for _ in case.extra)]
        size = sum(len(b) for b in blocks)
        out, at = np.zeros((size, size)), 0
        for b in blocks:
            out[at : at + len(b), at : at + len(b)] = b
            at += len(b)
        return out

    # Columns that the reader leaves out are named before the turn.
    standard = tuple(case.standard)
    if len(standard) < latents:
        assert np.allclose(np.abs(turn), np.abs(turn).round()), "turn the latents yourself"
        standard = tuple(int(np.argmax(np.abs(turn[:, i]))) for i in standard)

    # Every column as a function of (class, node): its mean, and its slopes in the other latents.
    other = latents - spikes
    classes, nodes = weight.shape

    def column(values, latent):
        """A function of kappa times a latent (or one), in the basis 1, zeta."""
        out = np.zeros((classes, nodes, 1 + other))
        if latent is None:
            out[:, :, 0] = values
        elif latent < spikes:
            out[:, :, 0] = values * kappa[:, latent]
        else:
            out[:, :, 0] = values * means[:, latent, None]
            out[:, :, 1 + latent - spikes] = values
        return out

    design = [column(mu0[k], None) for k in range(groups)]
    columns = [column(mu1[k], i) for i in standard for k in range(groups)]
    columns += [column(length[k], None) for k in range(groups)]
    for e in case.extra:
        for k in range(groups):
            along = e[k, :latents] @ turn.T
            columns.append(
                sum(along[i] * column(mu1[k], i) for i in range(latents))
                + e[k, latents] * column(length[k], None)
            )
    if case.d is not None:
        columns, design = columns + design, []
    V = variance(V1, V2)
    pull = weight * omega / (1 + omega * V)

    # Step B, as one least-squares problem.
    N = form(B, g)
    value, vector = np.linalg.eigh(0.5 * (N + N.T))
    root = vector * np.sqrt(np.maximum(value, 0.0))
    scale = np.sqrt(delta * pull)[:, :, None]
    right = np.array([(scale * c).ravel() for c in columns]).T @ root
    left = np.array([(scale * c).ravel() for c in design]).T.reshape(right.shape[0], -1)
    size = right.shape[1]
    matrix = np.block([[left, right], [np.zeros((size, left.shape[1])), np.eye(size)]])
    wanted = np.concatenate([(scale * label[:, :, :-1]).ravel(), np.zeros(size)])
    solution = np.linalg.lstsq(matrix, wanted, rcond=1e-13)[0]
    m, coefficients = solution[: len(design)], root @ solution[len(design) :]
    mean = sum(x * c for x, c in zip(coefficients, columns, strict=True))
    mean = mean + sum(x * c for x, c in zip(m, design, strict=True))
    rest = label[:, :, :-1] - mean
    hats = np.array([delta * np.sum(pull[:, :, None] * c * rest) for c in columns])

    # Step C. T given class and node, noise included.
    T = np.sum(rest**2, axis=2) + label[:, :, -1] + case.noise**2
    square = weight * omega**2 / (1 + omega * V) ** 2

    def g_of(B, D):
        at = g
        for _ in range(1000):
            before, at = at, 1 / (D + response(B, at)[2])
            if np.abs(at / before - 1).max() < 1e-15:
                break
        return at

    def psi(B, D):
        return hats @ form(B, g_of(B, D)) @ hats

    def slope(function, B, D, index):
        """Derivative by B_kl (symmetric) or D_k, fourth order central differences."""

        def moved(t):
            x = pack(B, D)
            x[index] += t
            return np.asarray(function(*unpack(x, groups)))

        t = 1e-3 * pack(np.sqrt(np.outer(np.diag(B), np.diag(B))), D)[index]
        return (8 * (moved(t) - moved(-t)) - moved(2 * t) + moved(-2 * t)) / (12 * t)

    def all_responses(B, D):
        at = g_of(B, D)
        V1, V2, _ = response(B, at)
        return pack(V1, V2)

    unknowns = groups * (groups + 1) // 2 + groups
    # Moving B_kl moves B_lk: the matrix of derivatives has half of that off the diagonal.
    double = pack(2 * np.ones((groups, groups)) - np.eye(groups), np.ones(groups))
    signal = -np.array([slope(psi, B, D, i) for i in range(unknowns)]) / double
    linear = np.array([slope(all_responses, B, D, i) for i in range(unknowns)]).T
    features = np.array(
        [
            *(
                double[i] * mu1[k] * mu1[j]
                for i, (k, j) in enumerate(zip(*np.triu_indices(groups), strict=True))
            ),
            *mu2,
        ]
    )  # q(kappa) = features . q
    pairs = list(zip(*np.triu_indices(groups), strict=True))
    flat = np.array([*(mu1[k] * mu1[j] for k, j in pairs), *mu2])
    feedback = delta * flat @ (square.sum(axis=0)[:, None] * features.T)
    source = delta * flat @ np.sum(square * T, axis=0)
    # q = signal - linear (source + feedback q)
    q = np.linalg.solve(np.eye(unknowns) + linear @ feedback, signal - linear @ source)
    q1, q2 = unpack(q, groups)
    spread = features.T @ q
    total = T + spread
    by_class = np.sum(weight * total, axis=1) / np.where(case.rho > 0, case.rho, 1)
    # Wrong signs of labels that the class gives, +-1: the output is Gaussian given class and kappa.
    from scipy.special import ndtr

    sign = np.sign(label[:, :, 0])
    width = np.sqrt(np.sum(mean[:, :, 1:] ** 2, axis=2) + spread)
    wrong = np.sum(weight * ndtr(-sign * mean[:, :, 0] / width), axis=1)
    return {
        "test": float(np.sum(weight * total)),
        "train": float(np.sum(weight * total / (1 + omega * V) ** 2)),
        "norm": float(q2.sum()),
        "by_class": by_class,
        "wrong": wrong / np.where(case.rho > 0, case.rho, 1),
        "m": m,
        "q1": q1,
        "q2": q2,
        "V1": V1,
        "V2": V2,
    }
