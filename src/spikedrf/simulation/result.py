"""`Simulation`: the result of `simulate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikedrf import labelled
from spikedrf.simulation.network import Floats, Integers
from spikedrf.theory.solution import Solution

#: Of ridge regression; what any other loss or sign labels add; what sign labels add.
ERRORS = ("test_error", "train_error", "norm")
LOSSES = ("test_loss", "train_loss")
MARGINS = ("margin", "train_margin")

_OF_LAYERS = ("r", "c", "gamma")


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    r"""Errors of networks of finite size, averaged over replicates.

    The quantities are those of `spikedrf.theory.Solution`. Each comes with its standard error
    over the replicates (``..._sem``), NaN for a single replicate. The points of a curve are
    correlated within a replicate: they share its first layer and its samples.

    Attributes
    ----------
    test_error, test_error_sem : float or ndarray, shape S
        Mean squared error on fresh samples, label noise included; ``S`` is the broadcast shape of
        ``alpha`` and ``lam``. With sign labels the rate of wrong signs.
    train_error, train_error_sem : float or ndarray, shape S
        Mean squared training residual; with sign labels the rate of wrong signs in training.
    norm, norm_sem : float or ndarray, shape S
        ``|a|^2 / p`` of the readout.
    test_loss, test_loss_sem, train_loss, train_loss_sem : float or ndarray, shape S
        Mean loss of fresh and of training samples, without the penalty.
    margin, margin_sem, train_margin, train_margin_sem : float or ndarray, shape S, or None
        With sign labels the mean of ``y h``, over fresh and over training samples.
    class_error, class_error_sem : ndarray, shape S + (C,), or None
        ``test_error`` of each class, with `Mixture` inputs; NaN for classes of proportion zero.
    class_error_rate, class_error_rate_sem : ndarray, shape S + (C,), or None
        Rate of wrong signs in each class, where labels are signs or +1 and -1 by class.
    r, r_sem, c, c_sem : ndarray, shape (K,), or None
        Length of the spike and bulk variance of each readout group, measured on the trained first
        layers; None unless ``model="network"`` took a step.
    gamma, gamma_sem : float, ndarray or None
        Alignment of the measured spike with the target direction, or with each latent where there
        are several; shape (K, L) after several steps with several values of ``u``, whose spikes
        need not be along one direction; None like ``r``.
    samples : dict of ndarray, shape (replicates, ...)
        Every quantity above for each finished replicate.
    completed : ndarray of int
        Numbers of the finished replicates, in the order of ``samples``.
    model : str
        ``"srf"`` or ``"network"``.
    d, p, n_test : int
        Input dimension, width, and test samples of one replicate.
    n : int or ndarray, shape S
        Training samples.
    n0 : int or None
        Samples of the gradient step, None unless ``model="network"`` took one.
    loss, labels : str
        The readout's loss, and what it learns: real labels or signs.
    parameters : dict
        The parameters as given, for labels.
    """

    test_error: Any
    test_error_sem: Any
    train_error: Any
    train_error_sem: Any
    norm: Any
    norm_sem: Any
    test_loss: Any
    test_loss_sem: Any
    train_loss: Any
    train_loss_sem: Any
    samples: dict[str, Floats]
    completed: Integers
    model: str
    d: int
    p: int
    n: Any
    n_test: int
    n0: int | None = None
    r: Floats | None = None
    r_sem: Floats | None = None
    c: Floats | None = None
    c_sem: Floats | None = None
    gamma: Any = None
    gamma_sem: Any = None
    class_error: Floats | None = None
    class_error_sem: Floats | None = None
    class_error_rate: Floats | None = None
    class_error_rate_sem: Floats | None = None
    margin: Any = None
    margin_sem: Any = None
    train_margin: Any = None
    train_margin_sem: Any = None
    loss: str = "square"
    labels: str = "real"
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of ``alpha`` and ``lam``."""
        return np.shape(self.test_error)

    @property
    def replicates(self) -> int:
        """Number of finished replicates."""
        return self.completed.size

    def z(self, solution: Solution) -> dict[str, Any]:
        r"""Return how many standard errors the simulation lies above a theory.

        ``(simulation - theory) / sem``. With few replicates the standard error is itself
        uncertain: ``z`` follows Student's distribution with ``replicates - 1`` degrees of freedom.

        Parameters
        ----------
        solution : Solution
            Theory of the same points. Its ``alpha`` and ``beta`` may be the realised ``n/d`` and
            ``p/d``.

        Returns
        -------
        dict of float or ndarray, shape S
            Keys ``test_error``, ``train_error``, ``norm``; with another loss or sign labels also
            ``test_loss`` and ``train_loss``, and with sign labels the margins.

        Raises
        ------
        ValueError
            If the shapes differ, or the loss, the labels, ``alpha``, ``beta``, ``lam`` or ``noise``
            are others.
        """
        if solution.shape != self.shape:
            raise ValueError(
                f"the solution has shape {solution.shape}, the simulation {self.shape}"
            )
        for name in ("loss", "labels"):
            ours, theirs = getattr(self, name), getattr(solution, name)
            if ours != theirs:
                raise ValueError(f"the solution has another {name}: {theirs!r}, not {ours!r}")
        for name in ("alpha", "beta", "lam", "noise", "flip", "delta", "level"):
            if name not in solution.parameters or name not in self.parameters:
                continue
            theirs = np.asarray(solution.parameters[name], dtype=np.float64)
            ours = np.asarray(self.parameters[name], dtype=np.float64)
            slack = 0.51 / self.d if name in ("alpha", "beta") else 0.0
            if not np.allclose(theirs, ours, rtol=1e-9, atol=slack):
                raise ValueError(f"the solution has another {name}: {theirs}, not {ours}")
        names: tuple[str, ...] = ERRORS
        if (self.loss, self.labels) != ("square", "real"):
            names += LOSSES
        if self.labels == "sign":
            names += MARGINS
        scores = {}
        for name in names:
            with np.errstate(divide="ignore", invalid="ignore"):
                distance = np.subtract(getattr(self, name), getattr(solution, name))
                scores[name] = np.divide(distance, getattr(self, f"{name}_sem"))[()]
        return scores

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset``, its axes named after the parameters that vary along them.

        Means, their standard errors (``..._sem``) and, over ``replicate``, the samples
        (``..._samples``). Attributes have all parameters, activation, target, step, ``u``, ``pi``.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        xarray = labelled.library("xarray", "to_xarray")
        dims, coords = labelled.axes(self.shape, self._numbers())
        variables: dict[str, Any] = {"n": (dims, self.n)}
        for name, sample in self.samples.items():
            own = self._axes_of(name, dims)
            for key in (name, f"{name}_sem"):
                variables[key] = (own, getattr(self, key))
            variables[f"{name}_samples"] = (["replicate", *own], sample)
        coords["replicate"] = self.completed
        return xarray.Dataset(variables, coords=coords, attrs=self._attributes())

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``, one row for each point: parameters, means and errors.

        ``attrs`` are those of `to_xarray`, with what was measured in the first layers.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        columns: dict[str, Any] = {"n": self.n}
        layers: dict[str, Any] = {}
        for name in self.samples:
            both = {key: getattr(self, key) for key in (name, f"{name}_sem")}
            if name in _OF_LAYERS:
                layers |= both
            else:
                columns |= both
        about = labelled.attributes(layers, self._attributes())
        return labelled.frame(self.shape, self._numbers(), columns, about)

    def _axes_of(self, name: str, dims: list[str]) -> list[str]:
        if name in _OF_LAYERS:
            own = ["latent"] if name == "gamma" else ["group"]
            axes = np.ndim(getattr(self, name))
            return ["group", *own] if axes == 2 else own * axes
        return [*dims, "class"] if name.startswith("class_") else dims

    def _numbers(self) -> dict[str, Any]:
        kinds = {name: np.asarray(value) for name, value in self.parameters.items()}
        return {name: value for name, value in kinds.items() if value.dtype.kind in "fiu"}

    def _attributes(self) -> dict[str, Any]:
        given = {**self.parameters}
        step = given.pop("step", None)
        about = labelled.description(given.pop("activation", ""), given.pop("target", ""), step)
        sizes = {name: getattr(self, name) for name in ("model", "d", "p", "n_test", "n0")}
        return labelled.attributes(about, given, sizes, {"loss": self.loss, "labels": self.labels})

    def __repr__(self) -> str:
        head = f"Simulation(model={self.model!r}, d={self.d}, replicates={self.replicates}"
        if self.shape:
            span = "no points"
            if np.size(self.test_error):
                span = f"test_error {np.min(self.test_error):.4g} to {np.max(self.test_error):.4g}"
            return f"{head}, shape={self.shape}, {span})"
        errors = (
            f"{name}={getattr(self, name):.5g}+-{getattr(self, f'{name}_sem'):.2g}"
            for name in ERRORS
        )
        return f"{head}, {', '.join(errors)})"
