"""What a network of finite size is, and how its first layer and its samples are drawn."""

from __future__ import annotations

import operator
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spikedrf
from spikedrf.activations import Activation, FunctionLike, differentiable, resolve
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import layer_on_inputs
from spikedrf.inputs.population import Inputs, Population, check_init, drawn_as, population
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import real_array
from spikedrf.simulation.latents import (
    Embedding,
    draw_rows,
    embed,
    measure_each,
    measure_spike,
    spiked_rows,
)

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
    u : ndarray
        Readout values of a network that is really trained.
    steps : tuple of (eta, n0)
        Its gradient steps, one after the other.
    labels : str
        ``"real"`` or ``"sign"``: what the readout learns.
    flip : float
        Share of signs that are turned around.
    init : str
        ``"sphere"`` or ``"gaussian"``: rows before the step.
    population : Population or None
        Inputs and labels, unless inputs are N(0, I) and the target has one direction.
    step : Producer or None
        As given, where there is a population.
    """

    model: str
    sigma: Activation
    g: Activation | MultiIndex
    noise: float
    beta: float
    d: int
    p: int
    groups: Integers
    spike: tuple[Floats, Floats, float] | None
    u: Floats = field(default_factory=lambda: np.ones(1))
    steps: tuple[tuple[float, int], ...] = ()
    labels: str = "real"
    flip: float = 0.0
    init: str = "sphere"
    population: Population | None = None
    step: StepLike = None

    @property
    def n0(self) -> int:
        """Samples of the largest step, 0 without any."""
        return max((n0 for _, n0 in self.steps), default=0)

    @property
    def class_weights(self) -> Floats | None:
        """Weights of the classes in the loss, None if they are all one."""
        if self.population is None or (self.population.weights == 1.0).all():
            return None
        return self.population.weights

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

    def parameters(self, step: StepLike) -> dict[str, Any]:
        """Return what was given, for labels."""
        given: dict[str, Any] = {
            "beta": self.beta, "noise": self.noise, "activation": self.sigma.name,
            "target": self.g.name, "step": step,
        }  # fmt: skip
        if self.population is not None:
            given |= {"inputs": self.population.mixture or self.population.covariance}
        if self.init != "sphere":
            given |= {"init": self.init}
        return given | ({"flip": self.flip} if self.labels == "sign" else {})


def specification(network: Network, step: StepLike, stream: np.random.Generator) -> dict[str, Any]:
    """Return what tells a replicate from others, for a checkpoint; its stream is the first's."""
    state = repr(stream.bit_generator.state).encode()
    return {
        "version": spikedrf.__version__,
        **network.parameters(step),
        "activation": network.sigma.fingerprint,
        "target": network.g.fingerprint,
        **({} if network.population is None else {"inputs": network.population.fingerprint}),
        "model": network.model,
        "labels": network.labels,
        "step": None if step is None else type(step).__name__,
        **producer_of(step).parameters,
        "d": network.d,
        "rng": f"{type(stream.bit_generator).__name__} {zlib.crc32(state):08x}",
    }


def make_network(
    model: str,
    d: Any,
    beta: Any,
    activation: FunctionLike,
    target: FunctionLike,
    step: StepLike,
    noise: Any,
    labels: str = "real",
    flip: Any = 0.0,
    inputs: Inputs = None,
    init: str = "sphere",
) -> Network:
    """Hold the arguments against their ranges and turn ratios into sizes.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind or out of range; the message names the argument.
    """
    sigma = resolve(activation, "activation")
    law = population(inputs, target)
    g = law.target
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
        "labels": labels, "flip": chance, "init": _drawn_rows(init, model),
    }  # fmt: skip
    if not law.plain or (model == "srf" and producer_of(step).several_directions):
        common |= {"population": law, "step": step}
        if model == "srf":
            pi = layer_on_inputs(step, sigma, law, sd, init).pi
            return Network(**common, groups=_group_sizes(p, pi), spike=None)
    if model == "srf":
        assert isinstance(g, Activation)
        r, c, gamma, pi = _spike(step, sigma, g, sd)
        return Network(**common, groups=_group_sizes(p, pi), spike=(r, c, gamma))
    trained = _trained(step, sigma, dimension, p)
    return Network(**common, **trained, spike=None)


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


def _drawn_rows(init: Any, model: str) -> str:
    """Return the rows before the step; a network's have their gain by themselves."""
    rows = drawn_as(init) if model == "network" else init
    if rows != drawn_as(rows):
        raise ValueError(
            f"init={init!r} is for model='network', whose longer rows have another gradient: the "
            f"neurons of model='srf' have none, so that init must be 'sphere' or 'gaussian'"
        )
    return check_init(rows)


def _scalar(name: str, value: Any, **limits: Any) -> float:
    array = real_array(name, value, **limits)
    if array.ndim:
        raise ValueError(
            f"{name} must be one number, got an array of shape {array.shape}: within one "
            f"simulation only alpha and lam may vary"
        )
    return float(array)


def _spike(
    step: StepLike, sigma: Activation, g: Activation, noise: float
) -> tuple[Floats, Floats, float, Floats]:
    """Return ``r, c, gamma, pi`` of the one spiked model that is to be drawn."""
    producer = producer_of(step)
    if producer.own_bulk != "isotropic":
        raise ValueError(
            f"model='srf' draws the spiked model, whose bulk is isotropic, and step={step!r} has a "
            f"bulk of its own: give its spike"
        )
    r, c, gamma, pi = producer.first_layer(sigma, g, noise).spike.arrays()
    for name, value, ndim in (("r", r, 1), ("c", c, 1), ("gamma", gamma, 0), ("pi", pi, 1)):
        if value.ndim > ndim:
            raise ValueError(
                f"step must be a single spike, but its {name} has shape {value.shape}: within one "
                f"simulation only alpha and lam may vary"
            )
    return r, c, float(gamma), pi


def _trained(step: StepLike, sigma: Activation, d: int, p: int) -> dict[str, Any]:
    """Return groups and step of a first layer that is really trained."""
    steps = producer_of(step, "a GradientStep or None").training
    if not steps:
        return {"groups": _group_sizes(p, np.ones(1))}
    taken = [_single(one) for one in steps]
    u, pi = taken[0][:2]
    sizes = []
    for _, _, eta, alpha0 in taken:
        if eta == 0 or alpha0 == 0:
            continue
        if alpha0 == np.inf:
            raise ValueError(
                "alpha0 = inf cannot be simulated with model='network': the step would need "
                "infinitely many samples; use a finite alpha0, or model='srf'"
            )
        differentiable(sigma)
        n0 = round(alpha0 * d)
        if n0 < 1:
            raise ValueError(f"d = {d} is too small for alpha0 = {alpha0:g}: round(alpha0 d) is 0")
        sizes.append((eta, n0))
    if not sizes:
        return {"groups": _group_sizes(p, np.ones(1))}
    return {"groups": _group_sizes(p, pi), "u": np.broadcast_to(u, pi.size), "steps": tuple(sizes)}


def _single(step: Any) -> tuple[Floats, Floats, float, float]:
    """Return ``u, pi, eta, alpha0`` of a step that is one."""
    u = np.atleast_1d(np.asarray(step.u, dtype=np.float64))
    groups = u.shape[-1] if step.pi is None else step.pi.shape[-1]
    pi = np.full(groups, 1.0 / groups) if step.pi is None else step.pi
    for name in ("eta", "alpha0"):
        if np.ndim(getattr(step, name)) > 0:
            raise ValueError(
                f"step must be a single step, but its {name} is an array: within one "
                f"simulation only alpha and lam may vary"
            )
    if u.ndim > 1 or pi.ndim > 1:
        raise ValueError("step must be a single step, but its u or pi has more than one axis")
    return u, pi, float(step.eta), float(step.alpha0)


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
class DrawnLayer:
    """A first layer, and the target direction on the first two axes.

    Attributes
    ----------
    W : ndarray, shape (p, d)
        The weights.
    theta : tuple of float
        Components of the target direction.
    measured : dict of ndarray
        ``r``, ``c``, ``gamma`` of a layer that was really trained.
    embedding : Embedding or None
        Where the latents of a population are.
    """

    W: Floats
    theta: tuple[float, float]
    measured: dict[str, Floats] = field(default_factory=dict)
    embedding: Embedding | None = None


class Samples:
    """A stream of samples; how it is cut into blocks does not change it.

    Attributes
    ----------
    classes : ndarray of int
        Classes of the last samples drawn, those of a mixture that exist.

    Parameters
    ----------
    network : Network
        What labels them.
    layer : DrawnLayer
        Where the target's directions are.
    rng : Generator
        Source of the stream.
    rows : int
        Most samples drawn at a time.
    """

    def __init__(
        self, network: Network, layer: DrawnLayer, rng: np.random.Generator, rows: int
    ) -> None:
        self._network = network
        self._layer = layer
        self._inputs, self._noise, self._flips, self._classes = rng.spawn(4)
        self._buffer = np.empty((rows, network.d))
        self.classes: Integers = np.zeros(0, dtype=np.int64)

    def draw(self, rows: int) -> tuple[Floats, Floats]:
        """Return the next inputs, valid until the next call, and their labels."""
        x = self._inputs.standard_normal(out=self._buffer[:rows])
        y = self._label(x)
        if self._network.noise:
            y = y + self._network.noise * self._noise.standard_normal(rows)
        if self._network.labels == "sign":
            y = np.where(y >= 0.0, 1.0, -1.0)
            if self._network.flip:
                y[self._flips.random(rows) < self._network.flip] *= -1.0
        return x, y

    def _label(self, x: Floats) -> Floats:
        """Label the inputs without noise; those of a population are moved to their classes."""
        law, embedding = self._network.population, self._layer.embedding
        if law is None or embedding is None:
            assert isinstance(self._network.g, Activation)
            self.classes = np.zeros(len(x), dtype=np.int64)
            return self._network.g(x[:, :2] @ np.array(self._layer.theta))
        edges = np.cumsum(law.proportions)[:-1]
        self.classes = np.searchsorted(edges, self._classes.random(len(x)), side="right")
        mean = law.means[self.classes]
        s = x @ embedding.directions.T + mean
        if law.means.any():
            x += mean @ embedding.directions
        x *= embedding.root
        return law.label(s, self.classes)


def first_layer(network: Network, rng: np.random.Generator) -> DrawnLayer:
    """Draw a first layer, trained if the network is."""
    if network.population is not None:
        return _on_inputs(network, rng)
    draw = _spiked_layer if network.model == "srf" else _trained_layer
    return draw(network, rng)


def _rows(network: Network, rng: np.random.Generator) -> Floats:
    return draw_rows(network.p, network.d, network.init, rng)


def _spiked_layer(network: Network, rng: np.random.Generator) -> DrawnLayer:
    """Draw ``w_i = r_k v + sqrt(c_k) w~_i``; by rotation invariance v is the first axis."""
    assert network.spike is not None
    r, c, gamma = network.spike
    W = _rows(network, rng)
    W *= np.sqrt(np.repeat(c, network.groups))[:, None]
    W[:, 0] += np.repeat(r, network.groups)
    return DrawnLayer(W, (gamma, float(np.sqrt((1.0 - gamma) * (1.0 + gamma)))))


def _trained_layer(network: Network, rng: np.random.Generator) -> DrawnLayer:
    """Take the gradient step; by rotation invariance theta is the first axis."""
    theta = (1.0, 0.0)
    for_weights, for_samples = rng.spawn(2)
    W = _rows(network, for_weights)
    if not network.n0:
        return DrawnLayer(W, theta)
    # Steps are of the squared loss on real labels, whatever the readout learns.
    real = replace(network, labels="real")
    from spikedrf.gradient_step import gradient_step

    direction = np.zeros(network.d)
    direction[0] = 1.0
    a = np.repeat(network.u, network.groups)
    count = len(network.steps)
    drawn = W
    for (eta, n0), stream in zip(
        network.steps, [for_samples] if count == 1 else for_samples.spawn(count), strict=True
    ):
        x, y = Samples(real, DrawnLayer(W, theta), stream, n0).draw(n0)
        trained = gradient_step(x, y, W, a, network.sigma, eta, theta=direction)
        W = trained.W
    if count > 1 and network.groups.size > 1:
        return DrawnLayer(W, theta, measure_each(W, network.groups, direction[None]))
    if count > 1:
        return DrawnLayer(W, theta, _measured(W, drawn, a, network.groups))
    # It knows the groups by their values; groups of one value are one, without neurons none.
    which = [np.flatnonzero(trained.u == u) for u in network.u]
    measured = {
        name: np.array([value[k[0]] if k.size else np.nan for k in which])
        for name, value in (("r", trained.r), ("c", trained.c))
    }
    assert trained.gamma is not None
    measured["gamma"] = np.asarray(trained.gamma)
    return DrawnLayer(trained.W, theta, measured)


def _measured(W: Floats, drawn: Floats, a: Floats, groups: Integers) -> dict[str, Floats]:
    """Measure the spike that several steps have left in all neurons; theta is the first axis."""
    v = a @ (W - drawn)
    v /= np.linalg.norm(v)
    along = W @ v
    which = np.repeat(np.arange(groups.size), groups)
    count = np.where(groups > 0, groups, np.nan)
    r = np.bincount(which, along, minlength=groups.size) / count
    left = np.einsum("ij,ij->i", W, W) - along**2 + (along - r[which]) ** 2
    c = np.bincount(which, left, minlength=groups.size) / count
    return {"r": r, "c": c, "gamma": np.asarray(v[0])}


def _on_inputs(network: Network, rng: np.random.Generator) -> DrawnLayer:
    """Draw a first layer on a population; its weights are those of the inputs ``x``."""
    assert network.population is not None
    for_weights, for_samples, for_axes = rng.spawn(3)
    spare = 1
    if network.model == "srf":
        law = network.population
        own = layer_on_inputs(network.step, network.sigma, law, network.noise, network.init)
        spare = own.v.shape[-1] - law.latents
    embedding = embed(network.population, network.d, for_axes, spare)
    W = _rows(network, for_weights)
    layer = DrawnLayer(W, (0.0, 0.0), embedding=embedding)
    if network.model == "srf":
        spiked_rows(
            W, network.groups, embedding, network.step, network.sigma, network.noise, network.init
        )
        # Weights for z become weights for x = Omega^{1/2} z.
        inverse = np.zeros_like(embedding.root)
        np.divide(1.0, embedding.root, out=inverse, where=embedding.root > 0.0)
        W *= inverse
        return layer
    if not network.n0:
        return layer
    real = replace(network, labels="real")
    from spikedrf.gradient_step import LayerGradient

    a = np.repeat(network.u, network.groups)
    count = len(network.steps)
    moved, pull = W, np.zeros(network.d)
    for (eta, n0), stream in zip(
        network.steps, [for_samples] if count == 1 else for_samples.spawn(count), strict=True
    ):
        x, y = Samples(real, layer, stream, n0).draw(n0)
        gradient = LayerGradient(moved, a, network.sigma)
        gradient.update(x, y)
        moved = moved + (eta / n0 * a)[:, None] * gradient.total
        pull = gradient.pull
    if count == 1:
        measured = measure_spike(moved, network.groups, pull, embedding)
    elif network.groups.size == 1:
        measured = measure_spike(moved, network.groups, a @ (moved - W), embedding)
    else:
        inside = moved * embedding.root
        measured = measure_each(inside, network.groups, embedding.directions)
    return DrawnLayer(moved, (0.0, 0.0), measured, embedding)
