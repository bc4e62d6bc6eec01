"""What a network of finite size is, and how its first layer and its samples are drawn."""

from __future__ import annotations

import operator
import zlib
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spikedrf
from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.parameters import real_array
from spikedrf.step import GradientStep, Spike

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Network:
    """One network, in numbers.

    Attributes
    ----------
    model : str
        ``"srf"`` or ``"network"``.
    sigma, g : Activation
        Activation and target.
    noise : float
        Standard deviation of the label noise.
    beta : float
        Width over dimension, as given.
    d, p : int
        Input dimension and width.
    groups : ndarray of int
        Neurons in each readout group.
    spike : tuple of (r, c, gamma), or None
        Of the spiked model.
    eta, u, n0
        The step of a network that is really trained; ``n0 = 0`` is none.
    labels : str
        ``"real"`` or ``"sign"``: what the readout learns.
    flip : float
        Share of signs that are turned around.
    """

    model: str
    sigma: Activation
    g: Activation
    noise: float
    beta: float
    d: int
    p: int
    groups: Integers
    spike: tuple[Floats, Floats, float] | None
    eta: float = 0.0
    u: Floats = field(default_factory=lambda: np.ones(1))
    n0: int = 0
    labels: str = "real"
    flip: float = 0.0

    @property
    def block(self) -> int:
        """Samples handled at a time."""
        return int(np.clip((1 << 20) // (self.d + self.p), 128, 1024))

    @property
    def layer_bytes(self) -> int:
        """Peak memory of drawing the first layer."""
        layer = self.p * self.d
        blocks = self.block * 2 * (self.d + self.p)
        return 8 * ((4 * layer if self.n0 else 2 * layer) + self.n0 * self.d + blocks)

    def parameters(self, step: GradientStep | Spike | None) -> dict[str, Any]:
        """Return what was given, for labels."""
        given: dict[str, Any] = {
            "beta": self.beta, "noise": self.noise, "activation": self.sigma.name,
            "target": self.g.name, "step": step,
        }  # fmt: skip
        return given | ({"flip": self.flip} if self.labels == "sign" else {})


def specification(
    network: Network, step: GradientStep | Spike | None, stream: np.random.Generator
) -> dict[str, Any]:
    """Return what tells a replicate from others, for a checkpoint; its stream is the first's."""
    names = () if step is None else tuple(part.name for part in fields(step))
    state = repr(stream.bit_generator.state).encode()
    return {
        "version": spikedrf.__version__,
        **network.parameters(step),
        "activation": network.sigma.fingerprint,
        "target": network.g.fingerprint,
        "model": network.model,
        "labels": network.labels,
        "step": None if step is None else type(step).__name__,
        **{name: getattr(step, name) for name in names},
        "d": network.d,
        "rng": f"{type(stream.bit_generator).__name__} {zlib.crc32(state):08x}",
    }


def make_network(
    model: str,
    d: Any,
    beta: Any,
    activation: FunctionLike,
    target: FunctionLike,
    step: GradientStep | Spike | None,
    noise: Any,
    labels: str = "real",
    flip: Any = 0.0,
) -> Network:
    """Hold the arguments against their ranges and turn ratios into sizes.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind or out of range; the message names the argument.
    """
    sigma = resolve(activation, "activation")
    g = resolve(target, "target")
    if model not in ("srf", "network"):
        raise ValueError(f"model must be 'srf' or 'network', got {model!r}")
    dimension = integer("d", d, minimum=2)
    ratio = _scalar("beta", beta, minimum=0.0, exclusive=True)
    sd = _scalar("noise", noise, minimum=0.0)
    p = round(ratio * dimension)
    if p < 1:
        raise ValueError(
            f"d = {dimension} is too small for beta = {ratio:g}: round(beta d) is no neuron"
        )
    chance = _scalar("flip", flip, minimum=0.0, maximum=0.5)
    if chance and labels != "sign":
        raise ValueError("flip is for labels='sign': real labels have noise instead")
    common: dict[str, Any] = {
        "model": model, "sigma": sigma, "g": g, "noise": sd, "beta": ratio, "d": dimension, "p": p,
        "labels": labels, "flip": chance,
    }  # fmt: skip
    if model == "srf":
        r, c, gamma, pi = _spike(step, sigma, g, sd)
        return Network(**common, groups=_group_sizes(p, pi), spike=(r, c, gamma))
    return Network(**common, **_trained(step, sigma, dimension, p), spike=None)


def sample_sizes(alpha: Floats, d: int) -> Integers:
    """Return ``round(alpha d)``.

    Raises
    ------
    ValueError
        If one of them is 0.
    """
    n = np.rint(alpha * d).astype(np.int64)
    if n.min() < 1:
        raise ValueError(
            f"d = {d} is too small for alpha = {float(alpha.min()):g}: round(alpha d) is no sample"
        )
    return n


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return a parameter that must be an integer of at least ``minimum``.

    Raises
    ------
    TypeError, ValueError
        If it is not; the message names the argument.
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if size < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {size}")
    return size


def _scalar(name: str, value: Any, **limits: Any) -> float:
    array = real_array(name, value, **limits)
    if array.ndim:
        raise ValueError(
            f"{name} must be one number, got an array of shape {array.shape}: within one "
            f"simulation only alpha and lam may vary"
        )
    return float(array)


def _spike(
    step: GradientStep | Spike | None, sigma: Activation, g: Activation, noise: float
) -> tuple[Floats, Floats, float, Floats]:
    """Return ``r, c, gamma, pi`` of the one spiked model that is to be drawn."""
    if step is None:
        step = Spike(r=0.0, c=1.0, gamma=0.0)
    elif isinstance(step, GradientStep):
        step = step.spike(sigma, g, noise)
    elif not isinstance(step, Spike):
        raise TypeError(f"step must be a GradientStep, a Spike or None, got {step!r}")
    r, c, gamma, pi = step.arrays()
    for name, value, ndim in (("r", r, 1), ("c", c, 1), ("gamma", gamma, 0), ("pi", pi, 1)):
        if value.ndim > ndim:
            raise ValueError(
                f"step must be a single spike, but its {name} has shape {value.shape}: within one "
                f"simulation only alpha and lam may vary"
            )
    return r, c, float(gamma), pi


def _trained(
    step: GradientStep | Spike | None, sigma: Activation, d: int, p: int
) -> dict[str, Any]:
    """Return groups and step of a first layer that is really trained."""
    if isinstance(step, Spike):
        raise ValueError("model='network' takes a GradientStep or no step, not a Spike")
    if step is None:
        return {"groups": _group_sizes(p, np.ones(1))}
    if not isinstance(step, GradientStep):
        raise TypeError(f"step must be a GradientStep or None, got {step!r}")
    u = np.atleast_1d(np.asarray(step.u, dtype=np.float64))
    groups = u.shape[-1] if step.pi is None else step.pi.shape[-1]
    pi = np.full(groups, 1.0 / groups) if step.pi is None else step.pi
    for name, ndim in (("eta", 0), ("alpha0", 0)):
        if np.ndim(getattr(step, name)) > ndim:
            raise ValueError(
                f"step must be a single step, but its {name} is an array: within one "
                f"simulation only alpha and lam may vary"
            )
    if u.ndim > 1 or pi.ndim > 1:
        raise ValueError("step must be a single step, but its u or pi has more than one axis")
    alpha0 = float(step.alpha0)
    if step.eta == 0 or alpha0 == 0:
        return {"groups": _group_sizes(p, np.ones(1))}
    if alpha0 == np.inf:
        raise ValueError(
            "alpha0 = inf cannot be simulated with model='network': the step would need "
            "infinitely many samples; use a finite alpha0, or model='srf'"
        )
    if not sigma.differentiable or (sigma.code is None and sigma.slope is None):
        raise ValueError(
            f"activation={sigma.name!r} has no derivative for model='network' to take a gradient "
            f"step with: use a differentiable one, and give a callable as (function, derivative)"
        )
    n0 = round(alpha0 * d)
    if n0 < 1:
        raise ValueError(f"d = {d} is too small for alpha0 = {alpha0:g}: round(alpha0 d) is 0")
    return {
        "groups": _group_sizes(p, pi),
        "u": np.broadcast_to(u, groups),
        "eta": float(step.eta),
        "n0": n0,
    }


def _group_sizes(p: int, pi: Floats) -> Integers:
    """Integers closest to ``p pi_k`` that sum to ``p`` (largest remainders)."""
    sizes = np.floor(p * pi).astype(np.int64)
    order = np.argsort(sizes - p * pi, kind="stable")
    sizes[order[: p - sizes.sum()]] += 1
    empty = (sizes == 0) & (pi > 0)
    if empty.any():
        raise ValueError(
            f"d is too small: of p = {p} neurons none is left for the readout group with "
            f"pi = {float(pi[empty][0]):g}"
        )
    return sizes


# --------------------------------------------------------------------------------------------------
# Drawing it


@dataclass(frozen=True)
class Layer:
    """A first layer, and the target direction on the first two axes.

    Attributes
    ----------
    W : ndarray, shape (p, d)
        The weights.
    theta : tuple of float
        Components of the target direction.
    measured : dict of ndarray
        ``r``, ``c``, ``gamma`` of a layer that was really trained.
    """

    W: Floats
    theta: tuple[float, float]
    measured: dict[str, Floats] = field(default_factory=dict)


class Samples:
    """A stream of samples; how it is cut into blocks does not change it.

    Parameters
    ----------
    network : Network
        What labels them.
    theta : tuple of float
        The target direction.
    rng : Generator
        Source of the stream.
    rows : int
        Most samples drawn at a time.
    """

    def __init__(
        self, network: Network, theta: tuple[float, float], rng: np.random.Generator, rows: int
    ) -> None:
        self._network = network
        self._theta = theta
        self._inputs, self._noise, self._flips = rng.spawn(3)
        self._buffer = np.empty((rows, network.d))

    def draw(self, rows: int) -> tuple[Floats, Floats]:
        """Return the next inputs, valid until the next call, and their labels."""
        x = self._inputs.standard_normal(out=self._buffer[:rows])
        y = self._network.g(x[:, :2] @ np.array(self._theta))
        if self._network.noise:
            y = y + self._network.noise * self._noise.standard_normal(rows)
        if self._network.labels == "sign":
            y = np.where(y >= 0.0, 1.0, -1.0)
            if self._network.flip:
                y[self._flips.random(rows) < self._network.flip] *= -1.0
        return x, y


def first_layer(network: Network, rng: np.random.Generator) -> Layer:
    """Draw a first layer, trained if the network is."""
    draw = _spiked_layer if network.model == "srf" else _trained_layer
    return draw(network, rng)


def _uniform_rows(network: Network, rng: np.random.Generator) -> Floats:
    W = rng.standard_normal((network.p, network.d))
    W /= np.sqrt(np.einsum("ij,ij->i", W, W))[:, None]
    return W


def _spiked_layer(network: Network, rng: np.random.Generator) -> Layer:
    """Draw ``w_i = r_k v + sqrt(c_k) w~_i``; by rotation invariance v is the first axis."""
    assert network.spike is not None
    r, c, gamma = network.spike
    W = _uniform_rows(network, rng)
    W *= np.sqrt(np.repeat(c, network.groups))[:, None]
    W[:, 0] += np.repeat(r, network.groups)
    return Layer(W, (gamma, float(np.sqrt((1.0 - gamma) * (1.0 + gamma)))))


def _trained_layer(network: Network, rng: np.random.Generator) -> Layer:
    """Take the gradient step; by rotation invariance theta is the first axis."""
    theta = (1.0, 0.0)
    for_weights, for_samples = rng.spawn(2)
    W = _uniform_rows(network, for_weights)
    if not network.n0:
        return Layer(W, theta)
    # The step is of the squared loss on real labels, whatever the readout learns.
    real = replace(network, labels="real")
    x, y = Samples(real, theta, for_samples, network.n0).draw(network.n0)
    from spikedrf.gradient_step import gradient_step

    direction = np.zeros(network.d)
    direction[0] = 1.0
    a = np.repeat(network.u, network.groups)
    trained = gradient_step(x, y, W, a, network.sigma, network.eta, theta=direction)
    # It knows the groups by their values; groups of one value are one, without neurons none.
    which = [np.flatnonzero(trained.u == u) for u in network.u]
    measured = {
        name: np.array([value[k[0]] if k.size else np.nan for k in which])
        for name, value in (("r", trained.r), ("c", trained.c))
    }
    assert trained.gamma is not None
    measured["gamma"] = np.asarray(trained.gamma)
    return Layer(trained.W, theta, measured)
