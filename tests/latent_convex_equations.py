"""Sections 11 and 12 of theory.md together: any convex loss in latent coordinates, plainly.

The tables are those of `latent_equations`; averages over the output are sums over a grid, proximal
maps are found by Newton's method, derivatives of the bulk by differences, and the whole state is
iterated until it stands still. Nothing is shared with the package but the losses' formulas. Losses
are smooth ones.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from latent_equations import pack, tables, trapezoid, unpack

U = np.arange(-8.0, 8.01, 0.16)  # the output given class, kappa and zeta, in standard deviations
W_U = np.exp(-0.5 * U**2) / np.exp(-0.5 * U**2).sum()


def prox(loss, y, omega, V):
    """argmin_h loss(y, h) + (h - omega)^2 / (2 V)."""
    h = omega + 0.0 * y
    for _ in range(60):
        force = loss.derivative(y, h) + (h - omega) / V
        t = y * h if loss.margin else y - h
        move = force / (loss._curvature(t) + 1 / V)
        h = h - np.clip(move, -4.0, 4.0)
        if np.abs(move).max() < 1e-13:
            break
    return h


def branches(value, signs, noise, flip):
    """Labels and their chances."""
    if not signs:
        return [(value, np.ones_like(value))]
    up = (value >= 0) * 1.0 if noise == 0 else ndtr(value / noise)
    up = flip + (1 - 2 * flip) * up
    return [(np.ones_like(value), up), (-np.ones_like(value), 1 - up)]


def solve(
    case, loss, signs=False, flip=0.0, *, by_class=False, step=0.3, rest_step=0.4, rounds=300,
    tol=1e-11,
):  # fmt: skip
    """Errors and norm of the readout: `Case` of `latent_equations`, a loss of the package.

    With `by_class` the label is a number for each class: the other latents are then but a part of
    the output's variance.
    """
    groups, latents = case.r.shape
    turn, kappa, weight, means, (mu0, mu1, mu2, length), _ = tables(case, step, rest_step)
    nodes, spikes = kappa.shape
    other, classes = latents - spikes, len(means)
    zeta, w_zeta = trapezoid(other, rest_step, np.zeros((1, latents)))
    keep = w_zeta[0] > 1e-13
    zeta, w_zeta = zeta[keep], w_zeta[0][keep] / w_zeta[0][keep].sum()
    if by_class:
        zeta, w_zeta = np.zeros((1, other)), np.ones(1)
    value = np.empty((classes, nodes, len(zeta)))
    for i in range(classes):
        s = np.concatenate(
            [np.broadcast_to(kappa[:, None], (nodes, len(zeta), spikes)),
             np.broadcast_to(zeta + means[i, spikes:], (nodes, len(zeta), other))], axis=2
        )  # fmt: skip
        value[i] = case.label(s @ turn, i)
    A = np.array([turn @ a @ turn.T for a in case.A])
    delta, J = case.alpha / case.beta, len(case.w)
    loss_weight = case.weights[:, None]

    def bulk(B, g):
        G = [np.diag(case.beta * case.pi * g * case.sigma[:, j]) for j in range(J)]
        P = [np.linalg.inv(np.eye(groups) + B @ G[j]) for j in range(J)]
        return P, [P[j] @ B for j in range(J)], [G[j] @ P[j] for j in range(J)]

    def g_of(B, D, at):
        for _ in range(3000):
            C = bulk(B, at)[1]
            new = 1 / (D + sum(case.w[j] * case.sigma[:, j] * np.diag(C[j]) for j in range(J)))
            if np.abs(new / at - 1).max() < 1e-15:
                return new
            at = new
        return at

    def responses(B, D, at):
        g = g_of(B, D, at)
        M = bulk(B, g)[2]
        return sum(case.w[j] * M[j] for j in range(J)) / case.beta, case.pi * g, g

    def form(B, g):
        P, _, M = bulk(B, g)
        F = sum(np.kron(A[j], M[j]) for j in range(J))
        N = F @ np.linalg.inv(sum(np.kron(A[j], P[j]) for j in range(J)))
        out = np.zeros((len(N) + groups,) * 2)
        out[: len(N), : len(N)] = N
        out[len(N) :, len(N) :] = np.diag(case.beta * case.pi * g * case.ve)
        return out

    # Columns in the basis 1, zeta.
    def column(values, latent):
        out = np.zeros((classes, nodes, 1 + other))
        if latent is None:
            out[:, :, 0] = values
        elif latent < spikes:
            out[:, :, 0] = values * kappa[:, latent]
        else:
            out[:, :, 0] = values * means[:, latent, None]
            out[:, :, 1 + latent - spikes] = values
        return out

    design = np.array([column(mu0[k], None) for k in range(groups)])
    columns = [column(mu1[k], i) for i in range(latents) for k in range(groups)]
    columns = np.array(columns + [column(length[k], None) for k in range(groups)])
    upper = list(zip(*np.triu_indices(groups), strict=True))
    flat = np.array([*(mu1[k] * mu1[j] for k, j in upper), *mu2])
    double = pack(2 * np.ones((groups, groups)) - np.eye(groups), np.ones(groups))
    features = double[:, None] * flat

    def averages(mean, V, spread):
        """E f, E zeta f, E f^2 and -E f' given class and kappa."""
        f1, f2, slope = np.zeros((3, classes, nodes))
        zf = np.zeros((classes, nodes, other))
        for i in range(classes):
            unseen = np.sum(mean[i, :, 1:] ** 2, axis=1) if by_class else 0.0
            root = np.sqrt(spread + unseen)[:, None, None]
            center = mean[i, :, :1] + mean[i, :, 1:] @ zeta.T
            pull = V[:, None, None] * loss_weight[i]
            total, square, along = np.zeros((3, nodes, len(zeta)))
            for y, chance in branches(value[i], signs, case.noise, flip):
                # Noise of real labels and the spread of the output are one: f sees y - omega.
                wide = root if signs else np.sqrt(root**2 + case.noise**2)
                at = center[:, :, None] + wide * U
                f = (prox(loss, y[:, :, None], at, pull) - at) / V[:, None, None]
                total += chance * (f @ W_U)
                square += chance * (f**2 @ W_U)
                along += chance * (f @ (W_U * U)) * (root / wide)[:, 0]
            f1[i], f2[i] = total @ w_zeta, square @ w_zeta
            zf[i] = total @ (w_zeta[:, None] * zeta)
            # Far out, where features have died, rounding may leave anything.
            slope[i] = np.maximum(-(along @ w_zeta) / root[:, 0, 0], 1e-9)
            if by_class:
                zf[i] = -slope[i][:, None] * mean[i, :, 1:]
        return f1, zf, f2, slope

    def slopes(function, B, D):
        """Derivatives by B_kl (symmetric) and D_k, fourth order differences."""
        x, out = pack(B, D), []
        for index in range(x.size):
            t = 1e-3 * pack(np.sqrt(np.outer(np.diag(B), np.diag(B))), D)[index]

            def moved(by, index=index):
                y = x.copy()
                y[index] += by
                return np.asarray(function(*unpack(y, groups)))

            out.append((8 * (moved(t) - moved(-t)) - moved(2 * t) + moved(-2 * t)) / (12 * t))
        return np.array(out)

    # As if the loss were the square one, with nothing learned yet.
    m, P = np.zeros(groups), np.zeros(len(columns))
    V1, V2, g = np.eye(groups), np.ones(groups), np.ones(groups)
    q = pack(0.1 * np.eye(groups), 0.1 * np.ones(groups))
    for round_ in range(rounds):
        mean = np.tensordot(m, design, 1) + np.tensordot(P, columns, 1)
        V = features.T @ pack(V1, V2)
        f1, zf, f2, slope = averages(mean, V, features.T @ q)
        w = delta * weight * slope
        B, D = unpack(flat @ w.sum(axis=0), groups)
        D = D + case.lam
        fresh_V1, fresh_V2, g = responses(B, D, g)
        # Step B with the linearised f: labels mean + f/slope, weights slope.
        N = form(B, g)
        eigenvalue, vector = np.linalg.eigh(0.5 * (N + N.T))
        root = vector * np.sqrt(np.maximum(eigenvalue, 0.0))
        scale = np.sqrt(w)[:, :, None]
        wanted = mean + np.concatenate([f1[:, :, None], zf], axis=2) / slope[:, :, None]
        left = (scale * design).reshape(groups, -1).T
        right = (scale * columns).reshape(len(columns), -1).T @ root
        size = len(columns)
        matrix = np.block([[left, right], [np.zeros((size, groups)), np.eye(size)]])
        found = np.linalg.lstsq(
            matrix, np.append((scale * wanted).ravel(), np.zeros(size)), rcond=1e-13
        )[0]
        fresh_m, fresh_P = found[:groups], root @ found[groups:]
        new_mean = np.tensordot(fresh_m, design, 1) + np.tensordot(fresh_P, columns, 1)
        hats = np.sum(w[:, :, None] * columns * (wanted - new_mean), axis=(1, 2, 3))

        def psi(b, d, hats=hats, g=g):
            return hats @ form(b, g_of(b, d, g)) @ hats

        def all_responses(b, d, g=g):
            return pack(*responses(b, d, g)[:2])

        signal = -slopes(psi, B, D) / double
        linear = slopes(all_responses, B, D).T
        fresh_q = signal - linear @ (delta * flat @ np.sum(weight * f2, axis=0))
        share = 1.0 if round_ < 2 else 0.7
        state = [m, P, V1, V2, q]
        moved = 0.0
        for old, new in zip(state, [fresh_m, fresh_P, fresh_V1, fresh_V2, fresh_q], strict=True):
            moved = max(moved, np.abs(new - old).max() / (1e-3 + np.abs(new).max()))
            old += share * (new - old)
        if moved < tol:
            break
    else:
        raise AssertionError(f"the state still moves by {moved}")
    mean = np.tensordot(m, design, 1) + np.tensordot(P, columns, 1)
    V, spread = features.T @ pack(V1, V2), features.T @ q
    test, train, test_loss, train_loss, wrong = np.zeros((5, classes))
    for i in range(classes):
        at = weight[i][:, None] * w_zeta
        center = mean[i, :, :1] + mean[i, :, 1:] @ zeta.T
        unseen = np.sum(mean[i, :, 1:] ** 2, axis=1) if by_class else 0.0
        root = np.sqrt(spread + unseen)[:, None]
        pull = V[:, None, None] * loss_weight[i]
        wide = root if signs else np.sqrt(root**2 + case.noise**2)
        omega = center[:, :, None] + wide[:, :, None] * U
        for y, chance in branches(value[i], signs, case.noise, flip):
            label = y[:, :, None]
            h = prox(loss, label, omega, pull)
            test_loss[i] += np.sum(at * chance * (loss.value(label, omega) @ W_U))
            train_loss[i] += np.sum(at * chance * (loss.value(label, h) @ W_U))
            wrong[i] += np.sum(at * chance * ndtr(-y * center / root))
            if signs:
                force = -loss.derivative(y, 0.0 * y)
                shifted = center + pull[:, :, 0] * force
                train[i] += np.sum(at * chance * ndtr(-y * shifted / root))
            else:
                test[i] += np.sum(at * chance * ((label - omega) ** 2 @ W_U))
                train[i] += np.sum(at * chance * ((label - h) ** 2 @ W_U))
    if signs:
        test = wrong
    return {
        "test": float(test.sum()),
        "train": float(train.sum()),
        "norm": float(q[-groups:].sum()),
        "test_loss": float(test_loss.sum()),
        "train_loss": float(train_loss.sum()),
        "by_class": test / case.rho,
        "wrong": wrong / case.rho,
        "rounds": round_,
    }
