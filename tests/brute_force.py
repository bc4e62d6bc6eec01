"""The asymptotic theory written out slowly and plainly, to check the fast solver against.

Every function below transcribes one block of equations of the theory (isotropic bulk): plain
composite Gauss-Legendre panels for every Gaussian average, small dense matrices for the rest.
Nothing is shared with the compiled core and nothing is tuned for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import special

Function = Callable[[np.ndarray], np.ndarray]

Z_LIMIT = 11.0  # z-averages run over [-11, 11]: the Gaussian weight is 5e-27 there
KAPPA_LIMIT = 10.5


# --------------------------------------------------------------------------------------------
# activations and targets
# --------------------------------------------------------------------------------------------


def _normal_pdf(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def _hermite(n: int) -> Function:
    """Orthonormal probabilists' Hermite polynomial He_n(x) / sqrt(n!)."""
    coefficients = np.zeros(n + 1)
    coefficients[n] = 1 / np.sqrt(special.factorial(n))
    return lambda x: np.polynomial.hermite_e.hermeval(x, coefficients)


def _hermite_derivative(n: int) -> Function:
    """d/dx of the orthonormal polynomial: sqrt(n) times the one below."""
    below = _hermite(n - 1)
    return lambda x: np.sqrt(n) * below(x)


functions: dict[str, Function] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "erf": lambda x: special.erf(x / np.sqrt(2)),
    "erf_plain": special.erf,
    "sin": np.sin,
    "cos": np.cos,
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "abs": np.abs,
    "sign": np.sign,
    "identity": lambda x: np.array(x, dtype=float),
    **{f"hermite{n}": _hermite(n) for n in range(1, 6)},
}

# `sign` has no entry: its derivative is a delta function, whose variance is infinite.
derivatives: dict[str, Function] = {
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "relu": lambda x: np.where(x > 0, 1.0, 0.0),
    "erf": lambda x: 2 * _normal_pdf(x),
    "erf_plain": lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)),
    "sin": np.cos,
    "cos": lambda x: -np.sin(x),
    "sigmoid": lambda x: special.expit(x) * special.expit(-x),
    "softplus": special.expit,
    "gelu": lambda x: special.ndtr(x) + x * _normal_pdf(x),
    "silu": lambda x: special.expit(x) * (1 + x * special.expit(-x)),
    "leaky_relu": lambda x: np.where(x > 0, 1.0, 0.01),
    "abs": np.sign,
    "identity": lambda x: np.ones_like(x),
    **{f"hermite{n}": _hermite_derivative(n) for n in range(1, 6)},
}

OSCILLATING = frozenset({"sin", "cos"})
LINEAR = frozenset({"identity", "hermite1"})


def _function(f: str | Function) -> Function:
    return functions[f] if isinstance(f, str) else f


# --------------------------------------------------------------------------------------------
# quadrature
# --------------------------------------------------------------------------------------------


@cache
def _legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(order)


def panels(edges: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights, with the N(0,1) density, on panels (last axis: edges)."""
    x, w = _legendre(order)
    left, right = edges[..., :-1, None], edges[..., 1:, None]
    half = 0.5 * (right - left)
    nodes = 0.5 * (left + right) + half * x
    weights = half * w * _normal_pdf(nodes)
    shape = (*edges.shape[:-1], -1)
    return nodes.reshape(shape), weights.reshape(shape)


def offsets_around(scale: float, refine: float) -> np.ndarray:
    """Panel edges beside a kink: widths s, s, 2s, 4s, ... capped at 1/2, up to 2 Z_LIMIT."""
    cap = 0.5 / refine
    width = min(cap, scale / refine)
    edges = [0.0, width]
    while edges[-1] < 2 * Z_LIMIT:
        edges.append(edges[-1] + min(cap, max(width, edges[-1])))
    return np.array(edges)


def _gauss_moments(
    f: Function, shift: np.ndarray, scale: float, *, refine: float = 1.0, order: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """E f, E z f, E (f - E f - z E z f)^2 and E f^2 of f(shift + scale z), for every shift.

    The panels start at the kink shift + scale z = 0 and grow away from it on both sides.
    """
    shift = np.atleast_1d(np.asarray(shift, dtype=float))
    if scale == 0:
        value = f(shift)
        return value, np.zeros_like(value), np.zeros_like(value), value**2
    out = np.empty((4, shift.size))
    offsets = offsets_around(1 / scale, refine)
    relative = np.concatenate([-offsets[:0:-1], offsets])
    chunk = max(1, int(1e6 / (relative.size * order)))
    for start in range(0, shift.size, chunk):
        part = slice(start, start + chunk)
        kink = np.clip(-shift[part] / scale, -Z_LIMIT, Z_LIMIT)
        edges = np.clip(kink[:, None] + relative, -Z_LIMIT, Z_LIMIT)
        edges[:, 0], edges[:, -1] = -Z_LIMIT, Z_LIMIT
        z, w = panels(edges, order)
        value = f(shift[part, None] + scale * z)
        centre = f(shift[part, None])  # a constant taken out first keeps the sums accurate
        rest = value - centre
        mean = np.sum(w * rest, axis=1, keepdims=True)
        slope = np.sum(w * z * rest, axis=1, keepdims=True)
        out[0, part] = (centre + mean)[:, 0]
        out[1, part] = slope[:, 0]
        out[2, part] = np.sum(w * (rest - mean - slope * z) ** 2, axis=1)
        out[3, part] = np.sum(w * value**2, axis=1)
    return out[0], out[1], out[2], out[3]


def tables(
    kappa: np.ndarray,
    r: np.ndarray | float,
    c: np.ndarray | float,
    gamma: float,
    activation: str | Function,
    target: str | Function,
    noise: float = 0.0,
    *,
    refine: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The six tables (mu0, mu1, mu2sq, h, hz, hh) on the nodes kappa; the first three are K x N.

    mu0_k = E sigma(r_k kappa + sqrt(c_k) z),   mu1_k = E z sigma(.) / sqrt(c_k),
    mu2_k^2 = E (sigma(.) - mu0_k - sqrt(c_k) mu1_k z)^2,
    h = E g(gamma kappa + sqrt(1-gamma^2) z),   hz = E z g(.),   hh = E g(.)^2 + noise^2.
    """
    kappa = np.atleast_1d(np.asarray(kappa, dtype=float))
    r, c = np.broadcast_arrays(np.atleast_1d(r), np.atleast_1d(c))
    mu0, mu1, mu2sq = (np.empty((r.size, kappa.size)) for _ in range(3))
    for k in range(r.size):
        if activation in LINEAR:
            # round-off here would make the groups differ, and 1/lam would amplify the difference
            mu0[k], mu1[k], mu2sq[k] = r[k] * kappa, 1.0, 0.0
            continue
        root = float(np.sqrt(c[k]))
        shift = r[k] * kappa
        # without a spike every node has the same moments
        first, slope, rest, _ = _gauss_moments(
            _function(activation), shift if r[k] != 0 else np.zeros(1), root, refine=refine
        )
        mu0[k], mu1[k], mu2sq[k] = first, slope / root, rest
    across = float(np.sqrt((1 - gamma) * (1 + gamma)))
    h, hz, _, hh = _gauss_moments(_function(target), gamma * kappa, across, refine=refine)
    return mu0, mu1, mu2sq, h, hz, hh + noise**2


def kappa_rule(
    r: np.ndarray | float,
    c: np.ndarray | float,
    gamma: float,
    *,
    activation: str | Function = "tanh",
    refine: float = 1.0,
    order: int = 20,
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for averages over kappa ~ N(0,1), on [-10.5, 10.5], symmetric about 0.

    Panels start at 0 with half the finest scale s = min(sqrt(c)/|r|, sqrt(1-gamma^2)/|gamma|, 1)
    (not below 1e-9) and grow to |kappa|/12, never beyond 1/4; never beyond 1/(2|r|) where the
    activation has not yet settled (|r kappa| < 25, or everywhere if it oscillates or is unknown).
    `refine` > 1 divides every width.
    """
    r, c = np.abs(np.atleast_1d(np.asarray(r, float))), np.atleast_1d(np.asarray(c, float))
    r, c = np.broadcast_arrays(r, c)
    scales = [1.0]
    scales += [float(np.sqrt(ck) / rk) for rk, ck in zip(r, c, strict=True) if rk > 0]
    across = float(np.sqrt((1 - gamma) * (1 + gamma)))
    if across > 0 and gamma != 0:
        scales.append(across / abs(gamma))
    finest = max(min(scales), 1e-9)
    rmax = float(r.max())
    settles = isinstance(activation, str) and activation not in OSCILLATING
    edges = [0.0]
    while edges[-1] < KAPPA_LIMIT:
        at = edges[-1]
        width = min(0.25, max(finest / 2, at / 12))
        if rmax > 0 and not (settles and rmax * at > 25):
            width = min(width, 0.5 / rmax)
        edges.append(min(at + width / refine, KAPPA_LIMIT))
    nodes, weights = panels(np.array(edges), order)
    return np.concatenate([-nodes[::-1], nodes]), np.concatenate([weights[::-1], weights])


# --------------------------------------------------------------------------------------------
# from the gradient step to the spiked model
# --------------------------------------------------------------------------------------------


def spike(
    eta: float,
    alpha0: float,
    u: np.ndarray | float = 1.0,
    pi: np.ndarray | None = None,
    activation: str = "tanh",
    target: str = "tanh",
    noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, float]:
    """(r, c, gamma) of one gradient step, with nu = sqrt(t1^2 + s2/alpha0).

    r_k = eta u_k h1 nu,   c_k = (1 + eta u_k s0 h2)^2 + (eta u_k)^2 s2 chk / alpha0,
    gamma = t1 / nu;  r = 0, c = 1, gamma = 0 if alpha0 = 0, and r = 0, gamma = 0 if nu = 0.
    """
    u = np.atleast_1d(np.asarray(u, dtype=float))
    pi = np.full(u.size, 1 / u.size) if pi is None else np.asarray(pi, dtype=float)
    if alpha0 == 0:
        return np.zeros(u.size), np.ones(u.size), 0.0
    z, w = panels(np.linspace(-Z_LIMIT, Z_LIMIT, 89), 20)  # 0 is a breakpoint
    sigma, g = functions[activation](z), functions[target](z)
    h0, h1, h2 = w @ sigma, w @ (z * sigma), w @ ((z * z - 1) * sigma)
    t1 = w @ (z * g)
    t1 = t1 if abs(t1) > 1e-14 * np.sqrt(w @ (g * g)) else 0.0  # zero by symmetry
    residual = g - (pi @ u) * h0
    s0, s2 = w @ residual, w @ residual**2 + noise**2
    step = eta * u
    c = (1 + step * s0 * h2) ** 2
    if not np.isinf(alpha0):
        if activation not in derivatives:
            raise ValueError(f"the derivative of {activation!r} has infinite variance")
        slope = derivatives[activation](z)
        chk = w @ (slope - w @ slope) ** 2
        c = c + step**2 * s2 * chk / alpha0
    nu = float(np.hypot(t1, np.sqrt(s2 / alpha0)))
    r = step * h1 * nu
    return r, c, (float(t1 / nu) if nu > 0 else 0.0)


# --------------------------------------------------------------------------------------------
# small dense algebra in extended precision
# --------------------------------------------------------------------------------------------

# With several groups and nearly linear features sum_kl mu1_k mu1_l V1_kl cancels: entries of V1 of
# order 1/lam give a sum of order 1.  The equations stay as they are; the digits come from here.
REAL = np.longdouble


def _solve(matrix, right):
    """Gaussian elimination with partial pivoting on equilibrated rows, in `REAL`."""
    a, b = np.array(matrix, dtype=REAL), np.array(right, dtype=REAL)
    norm = np.abs(a).max(axis=1)
    a /= norm[:, None]
    b = (b.T / norm).T
    size = len(a)
    for i in range(size):
        pivot = i + int(np.argmax(np.abs(a[i:, i])))
        a[[i, pivot]], b[[i, pivot]] = a[[pivot, i]], b[[pivot, i]]
        for j in range(i + 1, size):
            factor = a[j, i] / a[i, i]
            a[j] -= factor * a[i]
            b[j] -= factor * b[i]
    for i in reversed(range(size)):
        b[i] = (b[i] - a[i, i + 1 :] @ b[i + 1 :]) / a[i, i]
    return b


# --------------------------------------------------------------------------------------------
# step A
# --------------------------------------------------------------------------------------------


class _Core:
    """Step A for fixed tables.  The unknowns are B (symmetric K x K) and D (K).

    With `unit` = 1 this is the model at ridge `lam`; with `unit` = 0 and `lam` = 1 it is the limit
    lam -> 0 of the interpolating phase, where V = V~/lam, B = lam B~, D = lam D~, g = g~/lam.
    """

    def __init__(self, weights, mu1, mu2sq, c, pi, beta, delta, lam, unit):
        self.c, self.pi, self.beta, self.delta = c.astype(REAL), pi.astype(REAL), beta, delta
        self.lam, self.unit, self.weights = lam, unit, weights.astype(REAL)
        self.size = len(c)
        mu1, mu2sq = mu1.astype(REAL), mu2sq.astype(REAL)
        self.pairs = [(k, j) for k in range(self.size) for j in range(k, self.size)]
        self.rows = np.array([mu1[k] * mu1[j] for k, j in self.pairs] + list(mu2sq))
        self.twice = np.array([1.0 if k == j else 2.0 for k, j in self.pairs])

    def unpack(self, x):
        """Vector of K(K+1)/2 + K numbers -> (symmetric matrix, vector)."""
        matrix = np.empty((self.size, self.size), dtype=REAL)
        for value, (k, j) in zip(x, self.pairs, strict=False):
            matrix[k, j] = matrix[j, k] = value
        return matrix, np.array(x[len(self.pairs) :])

    def pack(self, matrix, vector):
        return np.array([matrix[k, j] for k, j in self.pairs] + list(vector))

    def on_nodes(self, matrix, vector):
        """sum_kl mu1_k mu1_l matrix_kl + sum_k mu2_k^2 vector_k, on the nodes of kappa."""
        x = self.pack(matrix, vector)
        return (x * np.concatenate([self.twice, np.ones(self.size)])) @ self.rows

    def averages(self, values):
        """E[mu1_k mu1_l values], E[mu2_k^2 values]."""
        return self.unpack(self.rows @ (self.weights * values))

    def resolvent(self, b, g):
        """P = (I + B G)^{-1}, C = P B, M = G P with G = diag(beta c pi g)."""
        big = self.beta * self.c * self.pi * g
        p = _solve(np.eye(self.size) + b * big, np.eye(self.size))
        inner, m = p @ b, big[:, None] * p
        return p, 0.5 * (inner + inner.T), 0.5 * (m + m.T)

    def diagonal(self, b, d):
        """Solve g_k = 1/(D_k + c_k C_kk(g)): an increasing map, climbed from below by Newton."""
        weight = self.beta * self.c * self.pi

        def residual(g):
            inner = self.resolvent(b, g)[1]
            return 1 - g * (d + self.c * np.diag(inner)), inner

        g = 1 / (d + self.c * np.diag(b))
        f, inner = residual(g)
        for _ in range(400):
            size = np.abs(f).max()
            if size < 4 * np.finfo(REAL).eps:
                break
            # derivative of f with respect to log g
            jacobian = -np.diag(1 - f) + (g * self.c)[:, None] * inner**2 * (weight * g)
            step = np.clip(_solve(jacobian, -f), -1.0, 3.0)
            for candidate in (g * np.exp(step), g / (1 - f)):
                f_new, inner_new = residual(candidate)
                if np.abs(f_new).max() < size:
                    break
            else:
                if size < 1e-12:  # round-off level: nothing improves any more
                    break
            g, f, inner = candidate, f_new, inner_new
        return g

    def responses(self, b, d):
        """(g, V1, V2, V + unit on the nodes) for given B and D."""
        g = self.diagonal(b, d)
        v1, v2 = self.resolvent(b, g)[2] / self.beta, self.pi * g
        return g, v1, v2, self.unit + self.on_nodes(v1, v2)

    def update(self, x):
        """One round: (B, D) -> V -> (B, D)."""
        b, d = self.unpack(x)
        b, d = self.averages(self.delta / self.responses(b, d)[3])
        return self.pack(b, self.lam + d)

    def scale(self, x):
        """sqrt(B_kk B_ll) and D_k: what a residual is measured against."""
        b, d = self.unpack(x)
        root = np.sqrt(np.maximum(np.diag(b), 0))
        floor = 1e-13 * (np.trace(b) + d.sum())
        return np.maximum(self.pack(np.outer(root, root), d), floor)

    def admissible(self, x):
        b, d = self.unpack(x)
        lowest = np.linalg.eigvalsh(b.astype(float))[0] if np.all(np.isfinite(x)) else -np.inf
        return bool(np.all(d >= self.lam) and lowest >= -1e-14 * np.trace(b))

    def jacobian(self, x, scale):
        """Central differences of update(x) - x, in units of scale."""
        columns = []
        for i in range(x.size):
            h = 1e-5 * scale[i]
            up, down = x.copy(), x.copy()
            up[i] += h
            down[i] -= h
            columns.append((self.update(up) - self.update(down)) / (2 * h) * scale[i] / scale)
        return np.array(columns, dtype=float).T - np.eye(x.size)

    def solve(self, tolerance=1e-16, rounds=60):
        """The fixed point, from above (V = 0), where plain iteration decreases monotonically."""
        x = self.pack(*self.averages(np.full(self.weights.size, self.delta)))
        x[len(self.pairs) :] += self.lam
        best, best_x = np.inf, x
        for outer in range(rounds):
            for _ in range(20 if outer else 40):
                x = self.update(x)
            for _ in range(12):
                scale = self.scale(x)
                f = (self.update(x) - x) / scale
                size = np.abs(f).max()
                if size < best:
                    best, best_x = size, x
                if size < tolerance:
                    return best_x, best
                slope = self.jacobian(x, scale)
                trial = x - scale * np.linalg.lstsq(slope, f.astype(float), rcond=1e-13)[0]
                if not self.admissible(trial):
                    break
                f_trial = (self.update(trial) - trial) / self.scale(trial)
                if not np.abs(f_trial).max() < 0.5 * size:
                    break
                x = trial
            if best < 1e-13 and outer >= 2:
                break
        return best_x, best


# --------------------------------------------------------------------------------------------
# steps A, B, C
# --------------------------------------------------------------------------------------------


def order_parameters(alpha, beta, lam, table, kappa, weights, c, pi):
    """Steps A, B, C and the errors, for given tables; see `solve`."""
    mu0, mu1, mu2sq, h, hz, hh = table
    size = len(c)
    population = np.isinf(alpha)
    interpolating = lam == 0 and not population
    if interpolating:
        # decided before: lam = 0 either stays as it is (V finite) or becomes the scaled problem
        interpolating = alpha < beta
    unit = 0.0 if interpolating else 1.0
    delta = 1.0 if population else alpha / beta
    core = _Core(weights, mu1, mu2sq, c, pi, beta, delta, 1.0 if interpolating else lam, unit)

    # step A
    if population:
        b, d = core.averages(np.ones_like(kappa))
        d = d + lam
        residual = 0.0
        g, v1, v2, _ = core.responses(b, d)
        one_plus_v = np.ones_like(kappa)
    else:
        x, residual = core.solve()
        b, d = core.unpack(x)
        g, v1, v2, one_plus_v = core.responses(b, d)
    p, inner, m_matrix = core.resolvent(b, g)
    c, pi, weights = core.c, core.pi, core.weights
    big = beta * c * pi * g

    # step B: psi = M psihat
    psihat = delta * (mu1 * hz / one_plus_v) @ weights
    psi = m_matrix @ psihat
    # (m, theta) minimise  delta E[(h - mean)^2/(1+V)] + sum_k theta_k^2/G_kk,  whose stationarity
    # conditions are the two equations of step B; least squares on the nodes takes the
    # minimum-norm solution without squaring the condition number.
    root = np.sqrt(delta * weights / one_plus_v)
    design = np.vstack(
        [
            np.vstack([mu0, kappa * mu1]).T * root[:, None],
            np.hstack([np.zeros((size, size)), np.diag(1 / np.sqrt(big))]),
        ]
    )
    right = np.concatenate([h * root, np.zeros(size)])
    fit = np.linalg.lstsq(design.astype(float), right.astype(float), rcond=1e-13)[0]
    m, theta = fit[:size], fit[size:]
    mean = m @ mu0 + kappa * (theta @ mu1)
    thetahat = theta / big
    misfit = (h - mean) / one_plus_v
    step_b = max(
        np.abs((mu0 * misfit) @ weights).max()
        / np.sqrt(((mu0**2 / one_plus_v) @ weights).max() * ((hh / one_plus_v) @ weights) + 1e-30),
        np.abs(theta - big * (delta * (kappa * mu1 * misfit) @ weights)).max()
        / max(1.0, np.abs(theta).max()),
    )

    # step C: q = response to sources that contain q; solved as one dense linear system
    t = hh + mean**2 - 2 * mean * h - 2 * (psi @ mu1) * hz

    def respond(source1, source2):
        """(q1, q2) from B -> B + t Q1, D -> D + t Q2."""
        left = np.diag(1 / g**2) - c[:, None] * inner**2 * (beta * c * pi)
        diagonal = np.einsum("ki,ij,kj->k", p, source1, p)
        dg = _solve(left * np.outer(g, g), -g * (c * diagonal + source2)) * g
        dm = p.T @ np.diag(beta * c * pi * dg) @ p - m_matrix @ source1 @ m_matrix
        return -dm / beta, -pi * dg

    def image(x):
        """The right-hand side of step C as an affine function of the packed (q1, q2)."""
        source1, source2 = np.zeros((size, size)), np.zeros(size)
        if not population:
            inside = (t + core.on_nodes(*core.unpack(x))) / one_plus_v**2
            source1, source2 = core.averages(delta * inside)
        source1 = source1 + beta * np.outer(psihat, psihat)
        source2 = source2 + beta * c * thetahat**2
        return core.pack(*respond(source1, source2))

    length = size * (size + 1) // 2 + size
    constant = image(np.zeros(length))
    # columns in units of the size the unknown has, so that large and small q mix safely
    units = np.maximum(np.abs(constant), 1e-8 * np.abs(constant).max() + 1e-300)
    probes = [image(unit_vector) - constant for unit_vector in np.diag(units)]
    matrix = (np.array(probes) / units[:, None]).T
    scaled = np.eye(length) - matrix * units / units[:, None]
    packed = _solve(scaled, constant / units) * units
    q1, q2 = core.unpack(packed)

    # what comes out
    error = t + core.on_nodes(q1, q2)
    if population:
        v1, v2 = np.zeros_like(v1), np.zeros_like(v2)
    elif interpolating:
        v1, v2 = np.where(v1 == 0, 0.0, np.sign(v1) * np.inf), np.full(size, np.inf)
    return {
        "test": float(weights @ error),
        "train": 0.0 if interpolating else float(weights @ (error / one_plus_v**2)),
        "norm": float(q2.sum()),
        "m": m,
        "theta": theta,
        "psi": psi,
        "q1": q1,
        "q2": q2,
        "V1": v1,
        "V2": v2,
        "mean": mean,
        "residual": float(residual),
        "residual_b": float(step_b),
    }


def solve(
    alpha: float,
    beta: float,
    lam: float,
    activation: str | Function,
    target: str | Function,
    r: np.ndarray | float = 0.0,
    c: np.ndarray | float = 1.0,
    gamma: float = 0.0,
    pi: np.ndarray | None = None,
    noise: float = 0.0,
    nodes: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    refine: float = 1.0,
) -> dict:
    """test, train, norm, m, theta, psi, q1, q2, V1, V2 (and mean, kappa, weights, residuals).

    test  = E[T + q],   train = E[(T + q)/(1+V)^2],   norm = sum_k q2_k.

    `alpha = inf` is the population optimum (V1, V2 are returned as 0, their limit).  `lam = 0` is
    the limit lam -> 0: V finite when there are more samples than the rank of the features,
    V = inf when there are fewer and there is no spike, ValueError when there are fewer and there
    is a spike (the limit is in general infinite) or at the threshold; linear features have rank
    min(p, d), and their limit is extrapolated in lam.  `refine` divides the panel
    widths of the kappa rule and of the z rule.
    """
    r, c = (np.atleast_1d(np.asarray(a, dtype=float)) for a in (r, c))
    size = max(r.size, c.size, 1 if pi is None else np.size(pi))
    r, c = (np.broadcast_to(a, size) for a in (r, c))
    pi = np.full(size, 1 / size) if pi is None else np.atleast_1d(np.asarray(pi, dtype=float))
    if np.any(pi <= 0) or abs(pi.sum() - 1) > 1e-9:
        raise ValueError("proportions must be positive and sum to one")
    if nodes is None:
        nodes = kappa_rule(r, c, gamma, activation=activation, refine=refine)
    kappa, weights = nodes
    table = tables(kappa, r, c, gamma, activation, target, noise, refine=refine)
    arguments = (table, kappa, weights, c, pi)

    linear = weights @ table[2].max(axis=0) < 1e-20 * (weights @ (table[1] ** 2).max(axis=0))
    spiked = bool(np.any(r != 0))
    if np.isinf(alpha):
        lam = 0.0
    if lam == 0 and linear and (beta >= 1 or (spiked and alpha < beta)):
        # the features have rank d: g or V diverges although the errors do not; extrapolate lam -> 0
        if alpha == 1 or (beta == 1 and alpha > 1 and not np.isinf(alpha)):
            raise ValueError("lam = 0 at the interpolation threshold")
        out = _extrapolate(alpha, beta, arguments)
    elif lam == 0 and alpha == beta:
        raise ValueError("lam = 0 at the interpolation threshold")
    elif lam == 0 and alpha < beta and spiked:
        raise ValueError("lam -> 0 has in general no finite limit with a spike and alpha < beta")
    else:
        out = order_parameters(alpha, beta, lam, *arguments)
    out = {name: np.asarray(x, float) if np.ndim(x) else float(x) for name, x in out.items()}
    return {**out, "kappa": kappa, "weights": weights}


def _extrapolate(alpha, beta, arguments):
    """lam -> 0 by Richardson extrapolation (in sqrt(lam) at beta = 1, where g ~ lam^{-1/2})."""
    power = 0.5 if beta == 1 else 1.0
    steps = np.array([1.0, 2.0, 4.0]) * (1e-6 if power == 1 else 1e-3)
    runs = [order_parameters(alpha, beta, s ** (1 / power), *arguments) for s in steps]
    # Lagrange weights of the quadratic through the three points, at 0
    w = [np.prod([-s2 / (s1 - s2) for s2 in steps if s2 != s1]) for s1 in steps]
    out = {key: sum(a * run[key] for a, run in zip(w, runs, strict=True)) for key in runs[0]}
    if beta == 1:
        out["norm"], out["q2"] = np.inf, np.full_like(out["q2"], np.inf)
    out["residual"] = max(run["residual"] for run in runs)
    out["residual_b"] = max(run["residual_b"] for run in runs)
    return out
