"""The first layer as the theory takes it, and what produces it; the spiked model given directly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike
from spikedrf.first_layer.bulk import Bulk, Isotropic, check_bulk
from spikedrf.inputs.neurons import MOST_SPIKES, Neurons, given, unstepped
from spikedrf.inputs.population import Population, Rows
from spikedrf.inputs.trained_nodes import TrainedNodes
from spikedrf.parameters import check_proportions, group_count, real_array

Floats = NDArray[np.float64]


class Move(NamedTuple):
    """How a first layer moves with one parameter of what produced it: shapes as in `FirstLayer`."""

    r: Floats
    c: Floats
    gamma: Floats
    #: The scale on which the parameter matters.
    scale: Floats


class Producer(ABC):
    """What says how the first layer came about: everything that ``step`` of the theory may be."""

    #: Numbers that the test error can be differentiated by, and optimised over.
    steerable: ClassVar[tuple[str, ...]] = ()

    #: Parameters whose last axis is the readout groups.
    per_group: ClassVar[tuple[str, ...]] = ()

    #: The bulk unless another is asked for.
    own_bulk: str = "isotropic"

    #: Whether labels, and their noise, have a part in it.
    sees_labels: ClassVar[bool] = False

    #: Whether `trained` knows the trained network's own neurons.
    trains: ClassVar[bool] = False

    @property
    def several_directions(self) -> bool:
        """Whether its spikes may span more than one direction."""
        return False

    @abstractmethod
    def first_layer(
        self,
        activation: FunctionLike,
        target: FunctionLike,
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """Produce the first layer.

        Parameters
        ----------
        activation, target, noise
            As for `theory.solve`.
        bulk : str, optional
            Its bulk: ``"isotropic"`` or ``"network"``; by default the producer's own.
        wrt : sequence of str
            Parameters, ``noise`` among them, whose `FirstLayer.moves` are wanted. Those that the
            producer does not depend on have none.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range or there is no such bulk; the message names it.
        """

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that was given, by name, for labels."""
        return {}

    @property
    def varying(self) -> dict[str, Any]:
        """The parameters that may be arrays, by name."""
        return {}

    @property
    def steered(self) -> dict[str, Any]:
        """Those of the parameters that are `steerable`."""
        return {name: self.parameters[name] for name in self.steerable if name in self.parameters}

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of the arrays among `varying`, without the groups."""
        return [
            np.shape(value)[: -1 if name in self.per_group else None]
            for name, value in self.varying.items()
        ]

    def choose(self, name: str) -> Producer:
        """Return the same, with ``eta`` and ``alpha0`` those of one of several steps."""
        raise ValueError(f"{name} needs several steps; got {self!r}")

    def parameter(self, name: str) -> Any:
        """Return a parameter by its name."""
        return self.varying[name]

    @property
    def together(self) -> int:
        """How many steps move with ``eta``."""
        return 1

    @property
    def leading(self) -> Producer:
        """What it begins with: of several steps the first."""
        return self

    def moved(self, values: dict[str, Any]) -> Producer:
        """Return the same with other values of `varying`."""
        return replace(self, **values) if values else self  # type: ignore[type-var]

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """Produce the neurons on inputs with latents: several directions, classes, a covariance.

        Raises
        ------
        TypeError
            If that is not known.
        """
        raise TypeError(
            f"step must be a GradientStep, a Spike or None on inputs with latents (a target of "
            f"several directions, a mixture, a covariance), got {self!r}"
        )

    def trained(
        self, sigma: Activation, population: Population, noise: float, gamma: Floats, c: Floats,
        rows: Rows,
    ) -> TrainedNodes | None:  # fmt: skip
        """Return the trained network's own bulk for `neurons`, None if it has not been trained.

        Raises
        ------
        ValueError
            If that is not known.
        """
        raise ValueError(
            f"bulk='network' is the trained network's bulk and needs a GradientStep; got "
            f"step={self!r}"
        )

    @property
    def training(self) -> tuple[Any, ...]:
        """The gradient steps that a network takes to get such a first layer.

        Raises
        ------
        ValueError
            If a network that is trained does not get there.
        """
        raise ValueError(
            f"model='network' takes a GradientStep or no step, not a {type(self).__name__}"
        )


def only_isotropic(producer: Any, bulk: str | None) -> None:
    """Refuse the trained network's bulk for a first layer that has not been trained.

    Raises
    ------
    ValueError
        The message names the bulk and what it was asked of.
    """
    name = "isotropic" if bulk is None else bulk
    check_bulk(name)
    if name != "isotropic":
        raise ValueError(
            f"bulk='network' is the trained network's bulk and needs a GradientStep; got "
            f"step={producer!r}"
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """What features see of inputs that have classes, or of neurons whose lengths vary.

    Attributes
    ----------
    shares : ndarray, shape (C,)
        Proportions of the classes.
    means : ndarray, shape (C, D)
        Their means along the spikes, then in the other directions in which they differ.
    spread : ndarray, shape (K,), or None
        d times the variance of the lengths of a group's neurons, None if they do not vary.
    spans : int
        Number of directions that the spikes span.
    """

    shares: Floats
    means: Floats
    spread: Floats | None
    spans: int = 1

    def part(self, live: NDArray[np.bool_]) -> Seen:
        """Restrict to some groups."""
        return replace(self, spread=None if self.spread is None else self.spread[live])

    def core(self) -> tuple[Floats, Floats, Floats | None]:
        """Return it as the core takes it."""
        spread = None if self.spread is None else np.ascontiguousarray(self.spread)
        return np.ascontiguousarray(self.shares), np.ascontiguousarray(self.means), spread

    @property
    def columns(self) -> int:
        """Functions of each group that its neurons have more or less of."""
        return int(self.means.shape[1]) + (self.spread is not None)


@dataclass(frozen=True, eq=False)
class FirstLayer(Producer):
    r"""The first layer of a wide network: all that the theory knows of it.

    A neuron of group `k` is ``w = sum_a r_ka v_a + Sigma_k^{1/2} N(0, I/d)`` with orthonormal
    directions ``v_a``, ``<v_a, theta_m> = alignment_am``. That is for white inputs and targets of
    one direction; what it is on other inputs is a `LayerOnInputs`.

    Attributes
    ----------
    r : ndarray, shape (..., K, R)
        Spike of each readout group, on R directions (1 after one step).
    c : ndarray, shape (..., K)
        Bulk variances, ``Tr Sigma_k/d``.
    pi : ndarray, shape (..., K)
        Proportions of the groups.
    alignment : ndarray, shape (..., R, M)
        Of the spike directions with those of the target (1).
    bulk : Bulk
        ``Sigma_k`` by what it answers.
    moves : dict of Move
        How it moves with parameters of its producer, those that were asked for.
    spike : Spike
        The same in the words of the spiked model.
    seen : Seen or None
        What its features see of inputs that are not N(0, I), for spectra.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> layer = GradientStep(eta=3.0, alpha0=0.5).first_layer("tanh", "tanh", bulk="network")
    >>> print(round(theory.solve(1.5, lam=0.05, step=layer).test_error, 5))
    0.26355
    """

    r: Floats
    c: Floats
    pi: Floats
    alignment: Floats
    bulk: Bulk
    spike: Spike
    moves: dict[str, Move] = field(default_factory=dict)
    seen: Seen | None = None

    @classmethod
    def along_one(
        cls,
        spike: Spike,
        bulk: Bulk | None = None,
        moves: dict[str, Move] | None = None,
        name: str = "isotropic",
    ) -> FirstLayer:
        """Return a layer of one spike direction, for a target of one direction.

        Parameters
        ----------
        spike : Spike
        bulk : Bulk, optional
            Isotropic unless given.
        moves : dict of Move, optional
        name : str
            What an isotropic bulk was asked for as.
        """
        r, c, gamma, pi = spike.arrays()
        own = Isotropic(c, name) if bulk is None else bulk
        return cls(r[..., None], c, pi, gamma[..., None, None], own, spike, moves or {})

    @classmethod
    def spanning(cls, spike: Spike) -> FirstLayer:
        """Return a layer whose spikes span several directions, with an isotropic bulk."""
        r, c, gamma, pi = spike.arrays()
        alignment = gamma if gamma.ndim > r.ndim - 1 else gamma[..., None]
        return cls(r, c, pi, alignment, Isotropic(c), spike)

    @property
    def own_bulk(self) -> str:  # type: ignore[override]
        """The name of its bulk."""
        return self.bulk.name

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """Return itself, or with ``bulk="isotropic"`` without its own bulk."""
        moves = {name: move for name, move in self.moves.items() if name in wrt}
        if bulk is None or bulk == self.bulk.name:
            return replace(self, moves=moves)
        only_isotropic(self, bulk)
        return replace(self, bulk=Isotropic(self.c), moves=moves)

    @property
    def several_directions(self) -> bool:
        """Whether its spikes span more than one direction."""
        return int(self.r.shape[-1]) > 1

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """See `Producer.neurons`; the bulk must be isotropic."""
        if self.bulk.name != "isotropic":
            raise TypeError(
                f"step must have an isotropic bulk on inputs with latents (a target of several "
                f"directions, a mixture, a covariance), got {self!r}"
            )
        return given(self.r, self.c, self.alignment, self.pi, population)

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the spiked model."""
        return self.spike.parameters

    def __repr__(self) -> str:
        return f"FirstLayer({self.spike!r}, bulk={self.bulk.name!r})"


@dataclass(frozen=True, eq=False)
class Spike(Producer):
    r"""The spiked random features model, given directly.

    A neuron of group `k` has weights ``w = r_k v + sqrt(c_k) w~`` with a unit vector ``v`` and
    ``w~`` uniform on the unit sphere; the target direction has ``<v, theta> = gamma``.

    Parameters
    ----------
    r : float or array_like, shape (..., K)
        Spike strength of each readout group. A scalar is K = 1.
    c : float or array_like, shape (..., K)
        Bulk variance of each group, > 0. No step is ``r = 0, c = 1``.
    gamma : float or array_like
        Alignment of spike and target direction, in [-1, 1].
    pi : array_like, shape (..., K), optional
        Proportions of the groups, summing to one; equal by default.
    span : int
        Number R of directions that the spikes span, 1 or 2: ``w = sum_a r_ka v_a + sqrt(c_k) w~``
        with orthonormal ``v_a``. With two, ``r`` has them as its last axis, (..., K, R), and
        ``gamma`` the shape (..., R), or (..., R, M) for a target of M directions.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not a number, is out of range, or the group counts disagree.

    Notes
    -----
    Source: Cui et al., ICML 2024, arXiv 2402.04980; several groups: Dandi et al.,
    arXiv 2410.18938; theory.md, sections 1 to 3 and, for two directions, 12 and 13.

    Examples
    --------
    >>> from spikedrf import Spike
    >>> Spike(r=1.2, c=1.1, gamma=0.8)
    Spike(r=1.2, c=1.1, gamma=0.8)
    """

    r: Any
    c: Any
    gamma: Any
    pi: Any = None
    span: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.span, bool) or self.span not in range(1, MOST_SPIKES + 1):
            raise ValueError(
                f"span must be 1 to {MOST_SPIKES}, the number of directions that the spikes span, "
                f"got {self.span!r}"
            )
        r = real_array("r", self.r)
        if self.span > 1 and (r.ndim < 2 or r.shape[-1] != self.span):
            raise ValueError(
                f"r must have the shape (..., K, {self.span}) with span={self.span}, got {r.shape}"
            )
        c = real_array("c", self.c, minimum=0.0, exclusive=True)
        gamma = real_array("gamma", self.gamma, minimum=-1.0, maximum=1.0)
        if self.span > 1 and self.span not in gamma.shape[-2:]:
            raise ValueError(
                f"gamma must have the shape (..., {self.span}), or (..., {self.span}, M), with "
                f"span={self.span}, got {gamma.shape}"
            )
        given = {"r": r if self.span == 1 else r[..., 0], "c": c}
        if self.pi is not None:
            given["pi"] = real_array("pi", self.pi, minimum=0.0)
        groups = group_count(**given)
        object.__setattr__(self, "r", plain(r))
        object.__setattr__(self, "c", plain(c))
        object.__setattr__(self, "gamma", plain(gamma))
        if self.pi is not None:
            object.__setattr__(self, "pi", proportions(self.pi, groups))

    per_group: ClassVar[tuple[str, ...]] = ("r", "c", "pi")

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """Return the first layer, which is this with an isotropic bulk.

        See `Producer.first_layer`; it depends on no function and no noise.
        """
        only_isotropic(self, bulk)
        return FirstLayer.along_one(self) if self.span == 1 else FirstLayer.spanning(self)

    @property
    def several_directions(self) -> bool:
        """Whether ``span`` is more than one."""
        return self.span > 1

    @property
    def parameters(self) -> dict[str, Any]:
        """``r, c, gamma, pi`` as given, and ``span`` if it is not 1."""
        given = {name: getattr(self, name) for name in ("r", "c", "gamma", "pi")}
        return given if self.span == 1 else {**given, "span": self.span}

    @property
    def varying(self) -> dict[str, Any]:
        """All of them that there are; spikes that span several directions are single."""
        if self.span > 1:
            return {}
        return {name: value for name, value in self.parameters.items() if value is not None}

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """See `Producer.neurons`."""
        return given(*self.arrays(), population)

    @property
    def groups(self) -> int:
        """Number K of readout groups."""
        r = np.asarray(self.r)
        given = {"r": r if self.span == 1 else r[..., 0], "c": np.asarray(self.c)}
        if self.pi is not None:
            given["pi"] = self.pi
        return group_count(**given)

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Return ``(r, c, gamma, pi)``, all but ``gamma`` with the groups as last axis.

        Those of ``r`` come before the directions if these are several.
        """
        groups = self.groups

        def with_axis(value: Any) -> Floats:
            array = np.asarray(value, dtype=np.float64)
            array = array.reshape(1) if array.ndim == 0 else array
            if array.shape[-1] == groups:
                own = array.view()
                own.flags.writeable = False
                return own
            return np.broadcast_to(array, (*array.shape[:-1], groups))

        gamma = np.asarray(self.gamma, dtype=np.float64)
        r = with_axis(self.r) if self.span == 1 else np.asarray(self.r, dtype=np.float64)
        return r, with_axis(self.c), gamma, proportions(self.pi, groups)

    def __repr__(self) -> str:
        parts = [f"{name}={show(getattr(self, name))}" for name in ("r", "c", "gamma")]
        if self.pi is not None:
            parts.append(f"pi={show(self.pi)}")
        if self.span > 1:
            parts.append(f"span={self.span}")
        return f"Spike({', '.join(parts)})"


class NoStep(Producer):
    """Plain random features: what ``step=None`` is."""

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """Return the layer as it was drawn: no spike, variance one."""
        only_isotropic(None, bulk)
        return Spike(r=0.0, c=1.0, gamma=0.0).first_layer()

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """See `Producer.neurons`."""
        return unstepped(population)

    @property
    def training(self) -> tuple[Any, ...]:
        """Nothing."""
        return ()


def plain(array: Floats) -> Any:
    """Scalars in, scalars out."""
    return float(array) if array.ndim == 0 else array


def proportions(pi: ArrayLike | None, groups: int) -> Floats:
    """Return the proportions of the groups: equal unless given."""
    if pi is None:
        return np.full(groups, 1.0 / groups)
    array = real_array("pi", pi, minimum=0.0)
    if (array.shape[-1] if array.ndim else 1) != groups:
        raise ValueError(
            f"pi has {array.shape[-1] if array.ndim else 1} proportions for {groups} readout groups"
        )
    array = array.reshape(1) if array.ndim == 0 else array
    check_proportions(array)
    return array


def show(value: Any) -> str:
    """Return a parameter as it appears in a ``repr``."""
    if np.ndim(value) == 0:
        return f"{float(value):.6g}"
    array = np.asarray(value)
    if array.size > 6:
        return f"<array of shape {array.shape}>"
    return np.array2string(array, precision=6, separator=", ")
