"""What a bulk is to the theory: the averages over its spectrum, and nodes that stand for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

#: The bulks that can be asked for by name.
BULKS = ("isotropic", "network")


def check_bulk(bulk: str) -> None:
    """Refuse the name of a bulk that the theory does not know.

    Raises
    ------
    ValueError
        The message lists those it knows.
    """
    if bulk not in BULKS:
        raise ValueError(f"bulk must be one of {', '.join(map(repr, BULKS))}, got {bulk!r}")


class Bulk(ABC):
    r"""The covariances ``Sigma_k`` of the neurons beside their spike, by what is asked of them.

    The theory asks for averages of functions of ``Sigma``: of the trace over ``d``, and of the
    forms ``v'fv``, ``v'f xi`` and ``xi'f xi`` between the direction of the spike and the rest of
    the target's. All of them follow from those of ``Sigma/(1 + x Sigma)``.
    """

    #: What the caller calls it.
    name: str

    #: The parameters that tell the bulks of an array apart, shape (..., E).
    key: Floats = np.empty(0)

    @abstractmethod
    def forms(self, x: Any, group: int = 0) -> Numbers:
        r"""Return what the trace and the directions see of ``Sigma/(1 + x Sigma)``.

        Parameters
        ----------
        x : float, complex or array_like, shape (m,)
            Anything but ``-1/sigma`` with ``sigma`` in the spectrum.
        group : int
            Readout group whose ``Sigma`` it is.

        Returns
        -------
        ndarray, shape (4,) + batch + (m,)
            The trace over ``d``, ``v'Rv``, ``v'R xi`` and ``xi'R xi``; complex if ``x`` is.
        """

    @abstractmethod
    def nodes(self, rtol: float = 1e-8) -> BulkNodes:
        """Return nodes that stand for it in averages of functions singular for sigma < 0 only.

        Parameters
        ----------
        rtol : float
            As many as keep the errors of `theory.solve` well within this.
        """

    @abstractmethod
    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> Rules | None:
        """Return nodes that answer as the bulk does, as the core takes them.

        Parameters
        ----------
        key : ndarray, shape (S, E)
            Which bulks: rows of `key`.
        rtol : float
            Accuracy of the solution that they are for.
        wrt : sequence of str
            Parameters of the step by which they are differentiated.
        everywhere : bool
            Whether they are for complex ``x`` too, next to the spectrum, rather than ``x >= 0``.

        Returns
        -------
        Rules or None
            None for an isotropic bulk, which needs no nodes.
        """


@dataclass(frozen=True, eq=False)
class Rules:
    """Several rules for each of S bulks, which take turns in the core.

    Attributes
    ----------
    value : ndarray, shape (S, R, J, K)
    weight : ndarray, shape (4, S, R, J)
        Trace, vv, vx, xx; or trace and then the pairs of more directions.
    slopes : dict of ndarray, shape (4, S, R, J)
        How the weights move with parameters of the step; the values stay.
    accuracy : ndarray, shape (S,), optional
        Where nodes are a fit, how far they are from what they stand for (`JointNodes`).
    """

    value: Floats
    weight: Floats
    slopes: dict[str, Floats] = field(default_factory=dict)
    accuracy: Floats | None = None

    def part(self, spikes: NDArray[np.bool_], live: NDArray[np.bool_]) -> Rules:
        """Restrict to some spikes and groups."""
        return Rules(
            self.value[spikes][..., live],
            self.weight[:, spikes],
            {name: slope[:, spikes] for name, slope in self.slopes.items()},
        )

    def core(self) -> tuple[Floats, Floats]:
        """Return values and weights as the core takes them."""
        spikes, rules, nodes, groups = self.value.shape
        return (
            np.ascontiguousarray(self.value.reshape(spikes * rules, nodes, groups)),
            np.ascontiguousarray(self.weight.reshape(-1, spikes * rules, nodes)),
        )

    def core_slopes(self) -> Floats:
        """Return how the values (not at all) and the weights move, as the core takes it."""
        spikes, rules, nodes, groups = self.value.shape
        moves = np.zeros((spikes * rules, len(self.slopes), nodes * (groups + 4)))
        for i, slope in enumerate(self.slopes.values()):
            weights = np.moveaxis(slope, 0, 2)  # (S, R, 4, J)
            moves[:, i, nodes * groups :] = weights.reshape(spikes * rules, 4 * nodes)
        return moves


class Isotropic(Bulk):
    """The bulk of the paper's spiked random features: ``Sigma_k = c_k``.

    Parameters
    ----------
    c : ndarray, shape (..., K)
        The bulk variances.
    name : str
        What it was asked for as: a step on linear features leaves the trained network's bulk
        isotropic too.
    """

    def __init__(self, c: Floats, name: str = "isotropic") -> None:
        self.c, self.name = c, name

    def forms(self, x: Any, group: int = 0) -> Numbers:
        """See `Bulk.forms`."""
        at, c = np.asarray(x), self.c[..., group]
        seen = c / (1.0 + at.reshape(at.shape + (1,) * c.ndim) * c)
        forms = np.stack([seen, seen, np.zeros_like(seen), seen])
        return np.moveaxis(forms, 1, -1) if at.ndim else forms

    def nodes(self, rtol: float = 1e-8) -> BulkNodes:
        """Return the one node that there is."""
        one = np.ones((*self.c.shape[:-1], 1))
        return BulkNodes(self.c[..., None, :], one, one, 0.0 * one, one, self.name)

    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> None:
        """See `Bulk.rules`: the core knows it from ``c``."""
        return


@dataclass(frozen=True, eq=False)
class BulkNodes(Bulk):
    r"""A bulk by its nodes: joint eigenvalues of the groups' covariances, and what sees them.

    ``sum_j w_j f(value_j)`` stands for the spectral average of ``f(Sigma_k)``, with the weights of
    the trace over ``d``, or of the forms ``v'fv``, ``v'f xi``, ``xi'f xi``. Those of `trained_bulk`
    are as accurate as was asked for where ``f`` has its singularities on the negative axis, like
    ``Sigma/(1 + x Sigma)``, x >= 0. The nodes are no eigenvalues, and weights may be negative:
    they interpolate.

    Attributes
    ----------
    value : ndarray, shape (..., J, K)
    trace, vv, vx, xx : ndarray, shape (..., J)
        Weights, summing to 1, 1, 0 and 1.
    name : str
        What the theory's results call the bulk.
    accuracy : float or ndarray, shape (...)
        Where the groups' covariances do not commute, no nodes have all that the theory asks of
        several groups together; by so much, relatively, are these away from it. Else 0.
    """

    value: Floats
    trace: Floats
    vv: Floats
    vx: Floats
    xx: Floats
    name: str = "network"
    accuracy: Any = 0.0

    def average(self, f: Any, group: int = 0) -> Numbers:
        """Return the average of a function, ``f(value)``, for the trace and the three forms.

        Parameters
        ----------
        f : callable
            Takes and returns an array; further axes of the result come first.
        group : int
            Readout group.

        Returns
        -------
        ndarray, shape (4, ...)
        """
        seen = f(self.value[..., group])
        return np.stack(
            [np.sum(seen * w, axis=-1) for w in (self.trace, self.vv, self.vx, self.xx)]
        )

    def forms(self, x: Any, group: int = 0) -> Numbers:
        """See `Bulk.forms`."""
        at = np.asarray(x)
        first = at.reshape(at.shape + (1,) * self.trace.ndim)
        seen = self.average(lambda sigma: sigma / (1.0 + first * sigma), group)
        return np.moveaxis(seen, 1, -1) if at.ndim else seen

    def nodes(self, rtol: float = 1e-8) -> BulkNodes:
        """Return itself."""
        return self

    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> Rules:
        """See `Bulk.rules`: what is given is given, in one rule for all."""
        if self.trace.ndim > 1:
            raise ValueError(f"the bulk must be one, got an array of shape {self.trace.shape[:-1]}")
        weight = np.stack([self.trace, self.vv, self.vx, self.xx])[:, None, None]
        return Rules(
            np.repeat(self.value[None, None], len(key), axis=0),
            np.repeat(weight, len(key), axis=1),
        )
