"""Several gradient steps, each on fresh samples: strong, better aligned spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.first_layer.bulk import Isotropic, check_bulk
from spikedrf.first_layer.differences import OFFSETS, WEIGHTS
from spikedrf.first_layer.line import Walk
from spikedrf.first_layer.model import FirstLayer, Move, Producer, Spike, proportions
from spikedrf.first_layer.recursion import walk
from spikedrf.first_layer.stepped_bulk import SteppedBulk
from spikedrf.inputs.neurons import Neurons, finished
from spikedrf.inputs.population import Population
from spikedrf.inputs.population import population as population_of
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import broadcast_shape, real_array
from spikedrf.step import GradientStep

Floats = NDArray[np.float64]

# What steps have in common, unless they are told apart by numbers.
_OF_ALL = ("eta", "alpha0")

# The larger step of differences, relative, and how far those of half of it may be away.
_DIFFERENCE, _AGREE = 0.02, 1e-6

# Readout values that differ by less, beside the largest, differ by rounding.
_ALIKE = 1e-12


class SeveralSteps(Producer):
    r"""Gradient steps one after the other, each on samples of its own.

    The readout stays as it was drawn until the end. With ``f = sum_k pi_k u_k mu0_k(kappa)`` the
    output before a step, ``res = y - f`` and the functions ``mu0, mu1`` of `Spike` at the present
    ``r, c``, a step moves the spikes along themselves and the target, adds noise in new
    directions, and stretches the bulk::

        r_k  +=  eta u_k E[res mu1_k x] + eta u_k xi_k,   E xi_k xi_l = E[res^2 mu1_k mu1_l]/alpha0
        c_k   =  c_k (1 + eta u_k E[res E_z sigma''])^2 + (eta u_k)^2 E[res^2 Var_z sigma']/alpha0

    One value of ``u`` keeps one spike. With two, the spikes span a line (an odd activation,
    ``u = (1, -1)`` and a target of one direction) or a plane.

    Parameters
    ----------
    steps : sequence of GradientStep
        At least one, all with the same ``u`` and ``pi``.

    Raises
    ------
    TypeError, ValueError
        If they are no gradient steps, or of different ``u`` or ``pi``.

    Notes
    -----
    Source: theory.md, section 13.
    """

    sees_labels: ClassVar[bool] = True

    def __init__(self, steps: Sequence[Any], chosen: int | None = None) -> None:
        self._chosen = chosen
        self.steps: tuple[GradientStep, ...] = tuple(steps)
        if not self.steps:
            raise ValueError("step has no steps: give None for plain random features")
        for step in self.steps:
            if type(step) is not GradientStep:
                raise TypeError(f"step must be a list of GradientStep, got {step!r} in it")
            if not np.array_equal(step.u, self.steps[0].u):
                raise ValueError(
                    f"step: u must be the same in all steps, as the readout is kept, got "
                    f"{self.steps[0].u!r} and {step.u!r}"
                )
            if not np.array_equal(_or_none(step.pi), _or_none(self.steps[0].pi)):
                raise ValueError(
                    f"step: pi must be the same in all steps, as the neurons are, got "
                    f"{self.steps[0].pi!r} and {step.pi!r}"
                )

    @property
    def own_bulk(self) -> str:  # type: ignore[override]
        """That of the trained network if a step has it."""
        return max((step.bulk for step in self.steps), key=lambda name: name != "isotropic")

    @property
    def several_directions(self) -> bool:
        """Whether there are several steps and groups."""
        groups = max(np.shape(np.atleast_1d(part))[-1] for part in (self.steps[0].u, self._pi()))
        return len(self.steps) > 1 and groups > 1

    def _pi(self) -> Any:
        return 1.0 if self.steps[0].pi is None else self.steps[0].pi

    def _groups(self) -> tuple[Floats, Floats]:
        """Return ``u`` and ``pi``, shape (K,)."""
        u, pi = np.atleast_1d(self.steps[0].u), self.steps[0].pi
        if u.ndim > 1 or np.ndim(pi) > 1:
            raise ValueError(
                f"step: u and pi of several steps must have one axis, the groups, got shapes "
                f"{u.shape} and {np.shape(pi)}"
            )
        groups = u.size if pi is None else len(pi)
        return np.broadcast_to(_alike(u), (groups,)), proportions(pi, groups)

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """See `Producer.neurons`; steps must be single ones."""
        if len(self.steps) == 1:
            return self.steps[0].neurons(sigma, population, noise)
        if self._shape():
            raise ValueError(
                f"step must be single steps, but their eta and alpha0 have shape {self._shape()}"
            )
        taken = [(float(step.eta), float(step.alpha0)) for step in self.steps]
        return walk(taken, *self._groups(), sigma, population, noise)

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """See `Producer.first_layer`; one value of ``u`` has either bulk, several an isotropic one.

        Raises
        ------
        TypeError, ValueError
            As `GradientStep.first_layer`, and for spikes that span more than a plane or another
            bulk.
        """
        check_bulk(name := self.own_bulk if bulk is None else bulk)
        sigma, g = resolve(activation, "activation"), resolve_target(target)
        sd = real_array("noise", noise, minimum=0.0)
        if len(self.steps) == 1:
            return self.steps[0].first_layer(sigma, g, sd, bulk=name, wrt=wrt)
        if isinstance(g, MultiIndex) or self.several_directions:
            if name != "isotropic":
                raise ValueError(
                    f"bulk={name!r} is known after several steps of one value of u and for a "
                    f"target of one direction: use bulk='isotropic' or simulate(model='network'); "
                    f"got step={self!r}"
                )
            return self._in_latents(sigma, population_of(None, g), sd)
        shape = broadcast_shape({"step": self._shape(), "noise": sd.shape})
        r, c, gamma = self._on_the_line(sigma, g, sd)
        moves = {name: self._move(name, sigma, g, sd) for name in wrt if self._has(name)}
        if not shape:
            spike = Spike(float(r), float(c), float(gamma))
        else:
            spike = Spike(r[..., None], c[..., None], gamma)
        own = self._bulk(sigma, g, sd) if name == "network" else None
        return FirstLayer.along_one(spike, own, moves)

    def _bulk(self, sigma: Activation, g: Activation, noise: Floats) -> SteppedBulk:
        """Return the trained network's own, and which of its parameters the steerable ones are."""
        count = len(self.steps)
        chosen = range(count) if self._chosen is None else [self._chosen - 1]
        columns = {"noise": [2 * count]}
        for i, name in enumerate(_OF_ALL):
            columns |= {name: [i * count + j for j in chosen]}
            columns |= {f"{name}_{j + 1}": [i * count + j] for j in range(count)}
        etas, batches = ([getattr(step, name) for step in self.steps] for name in _OF_ALL)
        u = float(np.ravel(self.steps[0].u)[0])
        return SteppedBulk(sigma, g, u, etas, batches, noise, columns)

    def _has(self, name: str) -> bool:
        return name == "noise" or name in self.steerable

    def _on_the_line(self, sigma: Activation, g: Activation, noise: Floats) -> Floats:
        """Return ``r, c, gamma`` of one group's steps, shape (3, ...)."""
        shape = broadcast_shape({"step": self._shape(), "noise": noise.shape})
        etas, batches = (
            [np.broadcast_to(getattr(step, name), shape) for step in self.steps]
            for name in ("eta", "alpha0")
        )
        found = np.empty((3, *shape))
        levels = np.broadcast_to(noise, shape)
        u = float(np.ravel(self.steps[0].u)[0])
        for at in np.ndindex(shape):
            steps = [(float(e[at]), float(n[at])) for e, n in zip(etas, batches, strict=True)]
            found[(slice(None), *at)] = Walk(sigma, g, float(levels[at]), u).states(steps)[-1]
        return found

    def _move(self, name: str, sigma: Activation, g: Activation, noise: Floats) -> Move:
        """Differentiate the spike by central differences, NaN where those of two steps differ."""
        x = noise if name == "noise" else np.asarray(self.parameter(name), dtype=np.float64)
        if name.startswith("alpha0"):
            scale = np.where(np.isfinite(x), x, 0.0)
        else:
            scale = np.maximum(np.abs(x), 0.1)
        found = []
        for step in (_DIFFERENCE, 0.5 * _DIFFERENCE):
            total = np.zeros(3)
            for offset, weight in zip(OFFSETS, WEIGHTS, strict=True):
                at = x + offset * step * scale
                if name == "noise":
                    part = self._on_the_line(sigma, g, np.abs(at))
                else:
                    part = self.moved({name: at})._on_the_line(sigma, g, noise)
                total = total + weight * np.moveaxis(part, 0, -1)
            with np.errstate(invalid="ignore", divide="ignore"):
                over = (step * scale)[..., None]
                found.append(np.where(over > 0.0, total / over, 0.0))
        size = np.abs(found[1]).max(axis=-1, keepdims=True)
        agree = np.abs(found[1] - found[0]) <= _AGREE * np.maximum(size, 1e-3)
        # At alpha0 = 0 there is no step, and beside it an infinite spike.
        r, c, gamma = np.moveaxis(
            np.where(agree & ((x > 0) | (name[:6] != "alpha0"))[..., None], found[1], np.nan), -1, 0
        )
        return Move(r[..., None], c[..., None], gamma, np.maximum(scale, 1.0))

    def _in_latents(self, sigma: Activation, law: Population, noise: Floats) -> FirstLayer:
        """Return the layer for one noise and single steps, its spikes on a line if they are."""
        if noise.ndim:
            raise ValueError(f"noise must be a number for these steps, got shape {noise.shape}")
        layer = finished(self.neurons(sigma, law, float(noise)), law)
        gamma = np.clip(layer.gamma, -1.0, 1.0)
        gamma = gamma[:, 0] if law.latents == 1 else gamma
        span = layer.r.shape[1]
        if span == 1:
            spike = Spike(layer.r[:, 0], layer.c, gamma[0], layer.pi)
            isotropic = Isotropic(layer.c)
            return FirstLayer(layer.r, layer.c, layer.pi, np.atleast_2d(gamma), isotropic, spike)
        return FirstLayer.spanning(Spike(layer.r, layer.c, gamma, layer.pi, span))

    def _shape(self) -> tuple[int, ...]:
        given = {"eta": 0.0, "alpha0": 0.0} | {
            f"{name} of step {i}": getattr(step, name)
            for i, step in enumerate(self.steps)
            for name in ("eta", "alpha0")
        }
        return broadcast_shape({name: np.shape(value) for name, value in given.items()})

    def shapes(self) -> list[tuple[int, ...]]:
        """See `Producer.shapes`."""
        return [self._shape()]

    @property
    def steerable(self) -> tuple[str, ...]:  # type: ignore[override]
        """``eta`` and ``alpha0`` of all steps, and ``eta_1, alpha0_1`` and so on of each."""
        each = range(1, len(self.steps) + 1)
        return (*_OF_ALL, *(f"{name}_{i}" for name in _OF_ALL for i in each))

    @property
    def parameters(self) -> dict[str, Any]:
        """``eta`` and ``alpha0`` if all steps have the same, else of each; ``u, pi, steps``."""
        found: dict[str, Any] = {}
        for name in _OF_ALL:
            values = [getattr(step, name) for step in self.steps]
            each = {f"{name}_{i + 1}": value for i, value in enumerate(values)}
            if self._chosen is not None:
                found |= {name: each.pop(f"{name}_{self._chosen}")} | each
            elif all(np.array_equal(value, values[0]) for value in values):
                found[name] = values[0]
            else:
                found |= each
        return {**found, "u": self.steps[0].u, "pi": self.steps[0].pi, "steps": len(self.steps)}

    def choose(self, name: str) -> SeveralSteps:
        """Return the same steps, with ``eta`` and ``alpha0`` those of the one in ``eta_2``."""
        return SeveralSteps(self.steps, int(name.rsplit("_", 1)[1]))

    @property
    def varying(self) -> dict[str, Any]:
        """All of them that may be arrays."""
        given = self.parameters
        return {n: value for n, value in given.items() if n not in ("u", "pi", "steps")}

    def parameter(self, name: str) -> Any:
        """Return one of `steerable`.

        Raises
        ------
        ValueError
            If it is of all steps and they differ.
        """
        if name in _OF_ALL:
            if name not in self.parameters:
                raise ValueError(
                    f"{name} is that of all steps, which differ: name one, {name}_1 to "
                    f"{name}_{len(self.steps)}"
                )
            return self.parameters[name]
        kind, number = name.rsplit("_", 1)
        return getattr(self.steps[int(number) - 1], kind)

    def moved(self, values: dict[str, Any]) -> SeveralSteps:
        """Return the steps with other values of `steerable`."""
        steps = list(self.steps)
        for name, value in values.items():
            kind, _, number = name.partition("_")
            which = int(number) if number else self._chosen
            for i in range(len(steps)) if which is None else [which - 1]:
                steps[i] = replace(steps[i], **{kind: value})
        return SeveralSteps(steps, self._chosen)

    @property
    def together(self) -> int:
        """All of them, unless one was chosen."""
        return len(self.steps) if self._chosen is None else 1

    @property
    def leading(self) -> GradientStep:
        """The first step."""
        return self.steps[0]

    def growth(self, activation: FunctionLike, target: FunctionLike, noise: ArrayLike) -> Any:
        """See `GradientStep.growth`: that of the step which lengthens neurons most."""
        grown = [step.growth(activation, target, noise) for step in self.steps]
        return np.maximum.reduce(np.broadcast_arrays(*grown))

    @property
    def training(self) -> tuple[GradientStep, ...]:
        """The steps."""
        return self.steps

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self.steps))}]"


def _alike(u: Floats) -> Floats:
    """Return values of which those are equal that differ by rounding: they are one group."""
    order = np.argsort(u)
    apart = np.diff(u[order], prepend=-np.inf) > _ALIKE * np.abs(u).max()
    first = order[np.maximum.accumulate(np.where(apart, np.arange(u.size), 0))]
    found = u.copy()
    found[order] = u[first]
    return found


def _or_none(pi: Any) -> Any:
    return () if pi is None else pi
