"""The spectrum of learned features: density, cumulative distribution, support, outliers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf import labelled
from spikedrf.activations import FunctionLike
from spikedrf.first_layer.model import Spike
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.population import Inputs
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import number, real_array
from spikedrf.running.workers import thread_count
from spikedrf.theory.batch import Floats
from spikedrf.theory.convergence import check_accuracy, warn
from spikedrf.theory.linear_groups import mergeable_spikes
from spikedrf.theory.stieltjes import CURE, Transform, pose_spectrum
from spikedrf.theory.support import Ensemble

# Resolution of the grid.
_OF_LINE, _OF_PLANE = 1e-6, 1e-4

_COLUMNS = ("density", "cumulative", "success", "status", "quadrature_error")


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    r"""The eigenvalues of ``Phi^T Phi / p`` in the limit of large networks.

    Attributes
    ----------
    x : float or ndarray, shape S
        Where the density is given.
    density : float or ndarray, shape S
        Density of eigenvalues, without the atom at 0.
    by_group : ndarray, shape S + (K,)
        The share of each readout group in it, ``Im V2_k(x + i0) / pi``: how much the eigenvectors
        live on its neurons.
    cumulative : float or ndarray, shape S
        Share of the eigenvalues that are ``<= x``, the atom included.
    atom : float
        Share of the eigenvalues that are zero: ``max(0, 1 - n/p)``, and for linear features
        ``max(0, 1 - n/p, 1 - d/p)``.
    mean : float
        Mean eigenvalue of the bulk, ``(n/p) sum_k pi_k E[c_k mu1_k^2 + mu2_k^2]``: the first moment
        of ``density``.
    success : bool or ndarray, shape S
        Whether the point reached ``rtol``.
    status : int or ndarray, shape S
        0 converged; 1 the transform still moved by more than ``rtol`` on the finest quadrature
        rule; 2 no root of the equations could be certified (values are NaN).
    quadrature_error : float or ndarray, shape S
        Relative change of the transform ``s(x)`` from the last quadrature rule but one to the last,
        or the relative shift of ``x`` that explains it. The density is as accurate relative to
        ``|s|``, not to itself: below 1e-13 of ``|s|`` it is rounding, and given as 0.
    spike : Spike
        The spiked model.
    bulk : str
        The first layer's bulk.
    parameters : dict
        The parameters as given, for labels.
    about : dict
        Names of activation and target, and the step with its vocabulary, for labels.
    """

    x: Any
    density: Any
    by_group: Floats
    cumulative: Any
    atom: float
    mean: float
    success: Any
    status: Any
    quadrature_error: Any
    spike: Spike
    bulk: str = "isotropic"
    parameters: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    _ensemble: Ensemble | None = None

    @property
    def mass(self) -> float:
        """The atom and the integral of the density over ``x`` by the trapezoid rule.

        1 on the grid that ``x=None`` makes, to its resolution; on another, what that covers.
        """
        order = np.argsort(np.ravel(self.x))
        x, density = np.ravel(self.x)[order], np.ravel(self.density)[order]
        return self.atom + float(np.sum(0.5 * np.diff(x) * (density[1:] + density[:-1])))

    def at(self, x: ArrayLike) -> Spectrum:
        """Return the same spectrum at other points.

        Parameters
        ----------
        x : float or array_like
            Where; finite.

        Returns
        -------
        Spectrum

        Raises
        ------
        TypeError, ValueError
            If ``x`` is not finite and real.

        Warns
        -----
        ConvergenceWarning
            Once for the call, if some points did not reach ``rtol``.
        """
        assert self._ensemble is not None
        result = _evaluate(self._ensemble, real_array("x", x))
        warn(result, self._ensemble.rtol, cure=CURE)
        return result

    def cdf(self, x: ArrayLike) -> Any:
        """Return the share of the eigenvalues that are ``<= x``, the atom included.

        It is computed at ``x`` itself, from the same equations, not summed up over a grid.

        Parameters
        ----------
        x : float or array_like
            Where; finite.

        Returns
        -------
        float or ndarray, shape of x

        Raises
        ------
        TypeError, ValueError
            If ``x`` is not finite and real.

        Warns
        -----
        ConvergenceWarning
            As `at`.

        Notes
        -----
        ``log det(Phi^T Phi / p - x - i0)`` is a closed form of the order parameters, and an
        eigenvalue left of ``x`` adds ``-pi`` to its imaginary part.
        """
        return self.at(x).cumulative

    @property
    def edges(self) -> Floats:
        """Ends of the intervals that carry the density, shape (M, 2), ascending.

        Where the density ends in a square root, as it usually does, the edge is exact to ten
        digits. Where it dies out gradually (features that saturate for some samples, or grow
        without bound) this is where less than 1e-13 of ``|s|`` is left of it, and the support
        goes on. Gaps that contain less than about a thousandth of the range may be missed.
        """
        assert self._ensemble is not None
        return self._ensemble.edges

    @property
    def outliers(self) -> Floats:
        """Isolated eigenvalues that stay finite in the limit, shape (L,), ascending.

        Beside its bulk, a feature has the parts ``mu0_k(kappa)``, the same for all neurons of a
        group, and ``kappa mu1_k(kappa) <sqrt(c_k) w~, v>``, its response along the spike: two
        matrices of rank K. The first makes the eigenvalues of order ``p`` (`growth`). The second,
        as far as the first has left anything of it, separates from the bulk if features respond
        more strongly far out along the spike than on average (a Baik, Ben Arous and Péché
        transition): one eigenvalue for each group at most, two where spikes span a plane. Usually
        there is none, and beyond ends
        of the support where the density dies out gradually none is looked for. Classes of inputs
        that differ in another direction may make one in the same way, of each group.
        """
        assert self._ensemble is not None
        return self._ensemble.outliers

    @property
    def growth(self) -> Floats:
        """Eigenvalues that grow with the network, over ``p``, ascending; shape (number of them,).

        Given the projection on the spike the features have a mean, ``mu0_k(kappa)``. It makes as
        many eigenvalues of order ``p`` as there are independent functions among these, at most K:
        those of ``(n/p) sqrt(pi_k pi_l) E mu0_k mu0_l``. There is none only if all ``mu0_k = 0``:
        an odd activation without a spike. At finite ``p`` a small one lies within the bulk.
        """
        assert self._ensemble is not None
        return self._ensemble.growth

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset`` over ``x``, which must be one-dimensional.

        Attributes have the parameters, activation, target, step and vocabulary, the atom at zero
        and the mean.

        Raises
        ------
        ImportError
            If xarray is not installed.
        ValueError
            If ``x`` is not one-dimensional.
        """
        xarray = labelled.library("xarray", "to_xarray")
        if np.ndim(self.x) != 1:
            raise ValueError(f"x must be one-dimensional, it has shape {np.shape(self.x)}")
        variables: dict[str, Any] = {name: ("x", getattr(self, name)) for name in _COLUMNS}
        variables["by_group"] = (("x", "group"), self.by_group)
        return xarray.Dataset(variables, coords={"x": self.x}, attrs=self._attributes())

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``, one row for each ``x``; ``attrs`` as of `to_xarray`.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        columns = {name: getattr(self, name) for name in (*_COLUMNS, "by_group")}
        return labelled.frame(np.shape(self.x), {"x": self.x}, columns, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        numbers = {"atom": self.atom, "mean": self.mean, "bulk": self.bulk}
        proportions = {"pi": self.spike.arrays()[3]}
        return labelled.attributes(proportions, self.about, self.parameters, numbers)

    def __repr__(self) -> str:
        if np.ndim(self.x) == 0:
            return (
                f"Spectrum(x={self.x:.8g}, density={self.density:.8g}, "
                f"cumulative={self.cumulative:.8g}, success={self.success})"
            )
        span = "no points"
        if np.size(self.x):
            span = f"x {np.min(self.x):.4g} to {np.max(self.x):.4g}"
        done = int(np.count_nonzero(self.success))
        return (
            f"Spectrum(shape={np.shape(self.x)}, {span}, atom={self.atom:.4g}, "
            f"{done} of {np.size(self.success)} converged)"
        )


def spectrum(
    x: ArrayLike | None = None,
    *,
    alpha: float,
    beta: float = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: float = 0.0,
    inputs: Inputs = None,
    init: str | None = None,
    bulk: str | None = None,
    resolution: float | None = None,
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Spectrum:
    r"""Return the density of eigenvalues of the learned features.

    The eigenvalues are those of the ``p x p`` matrix ``Phi^T Phi / p``, ``Phi = sigma(X W^T)`` with
    the first layer ``W`` after the step (before it with ``step=None``) on ``n = alpha d`` fresh
    samples, in the limit of large ``n, p, d``. Their density is ``Im s(x + i0) / pi`` with the
    transform ``s`` of `stieltjes`, computed on the real axis itself: nothing is smoothed, edges
    are sharp.

    Parameters
    ----------
    x : float or array_like, optional
        Where, finite. By default a grid that resolves the spectrum: dense where the density bends,
        logarithmic where it spans decades, and covering all of it.
    alpha : float
        Samples over dimension, ``n/d``, > 0 and finite.
    beta : float
        Width over dimension, ``p/d``, > 0.
    activation : str, callable or (callable, derivative)
        Activation ``sigma``: a name (`spikedrf.activations.NAMES`) or a vectorised function.
    target, noise
        Teacher function and label noise: they matter for what a `GradientStep` does to the
        features, and not at all otherwise.
    step, bulk
        As for `solve`: how the first layer was trained, and its bulk.
    inputs, init
        As for `solve`.
    resolution : float, optional
        For ``x=None``: between the points of the grid the trapezoid rule gives every mass to
        within this in sum, relative to ``1 - atom``; between 1e-9 and 0.1. By default 1e-6, and
        1e-4 where spikes span a plane, in which a point takes milliseconds.
    rtol : float
        Quadrature nodes are added until the transform of every readout group moves by less than
        this, see `stieltjes`.
    workers : int, optional
        Threads; -1 is one for each core. By default as many as the grid is worth. The result
        does not depend on it.

    Returns
    -------
    Spectrum
        With ``x``, ``density``, ``by_group``, ``cumulative``, ``atom``, ``mass``, ``edges``,
        ``outliers``, ``growth``, ``cdf()``. A scalar ``x`` gives scalars.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or a parameter other than ``x`` is an
        array; the message names the argument.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``.

    Notes
    -----
    At ``x = 0`` the density is its limit from the right: 0 where there is a gap, ``inf`` at a hard
    edge (``alpha = beta``). Eigenvalues below 1e-28 of their mean, which a saturating activation
    with a strong spike makes, count as zero. For ``bulk="network"`` see `stieltjes`: about a second
    for the bulk, and a slowly dying tail is known to some 1e-3 of ``|s|`` only, where no gaps or
    outliers are looked for. Where spikes span a plane (several steps with several values of ``u``)
    averages are over that plane: seconds for a spectrum. Source: theory.md, sections 7 and 12.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> before = theory.spectrum(alpha=2.0, beta=0.5)
    >>> after = theory.spectrum(alpha=2.0, beta=0.5, step=GradientStep(eta=3.0, alpha0=20.0))
    >>> print(before.edges.round(4), after.edges.round(4))
    [[0.1382 5.6883]] [[0.1145 3.9258]]
    >>> abs(after.mass - 1.0) < 1e-6
    True
    """
    ensemble = _pose(
        alpha, beta, activation, target, step, noise, bulk, rtol, workers, inputs, init
    )
    if resolution is None:
        resolution = _OF_PLANE if ensemble.part.planes else _OF_LINE
    resolved = number("resolution", resolution, minimum=1e-9, maximum=0.1)
    if x is None:
        result = _evaluate(ensemble, *ensemble.grid(resolved))
    else:
        result = _evaluate(ensemble, real_array("x", x))
    warn(result, ensemble.rtol, cure=CURE)
    return result


def _of_inputs(inputs: Inputs, init: str | None) -> dict[str, Any]:
    """Collect what tells the inputs and the rows of the first layer from the usual ones."""
    given = {} if inputs is None else {"inputs": repr(inputs)}
    return given if init in (None, "sphere") else {**given, "init": init}


def _pose(
    alpha: float,
    beta: float,
    activation: FunctionLike,
    target: FunctionLike | MultiIndex,
    step: StepLike,
    noise: float,
    bulk: str | None,
    rtol: float,
    workers: int | None,
    inputs: Inputs = None,
    init: str | None = None,
) -> Ensemble:
    accuracy = check_accuracy(rtol)
    batch = pose_spectrum(
        alpha, beta, activation, target, step, noise, bulk, accuracy, inputs, init
    )
    if batch.shape:
        raise ValueError(
            f"only x may be an array: the other parameters together have shape {batch.shape}; "
            f"use stieltjes, which broadcasts them"
        )
    part, merge = next(batch.parts(mergeable_spikes(batch)))
    return Ensemble(
        sigma=batch.sigma,
        layer=batch.layer,
        parameters=batch.parameters,
        about=labelled.description(batch.sigma, target, step) | _of_inputs(inputs, init),
        groups=batch.groups,
        part=part,
        merge=merge,
        rtol=accuracy,
        threads=thread_count(workers),
    )


def _evaluate(ensemble: Ensemble, x: Floats, known: Transform | None = None) -> Spectrum:
    """Return the spectrum at x, where the transform may be known."""
    flat = np.ravel(x)
    # On the left of 0 there is nothing, at 0 it is the limit from the right that counts.
    near = ensemble.scale * 1e-20
    out = ensemble.at(np.where(flat == 0.0, near, flat)) if known is None else known
    by_group = np.zeros((flat.size, ensemble.groups))
    by_group[:, ensemble.part.live] = out.V2.imag / np.pi
    zero = np.flatnonzero(flat == 0.0)
    if zero.size:
        closer = ensemble.at(np.array([0.01 * near])).V2[0].imag / np.pi
        grows = closer > by_group[zero[0], ensemble.part.live]
        by_group[np.ix_(zero, np.flatnonzero(ensemble.part.live))] = np.where(grows, np.inf, 0.0)
        # It is one or the other, however many digits of the transform rounding has left.
        found = zero[out.counts[0, zero] <= 1]
        out.counts[0, found] = 0
        out.scalars[2, found] = 0.0
    cumulative = np.clip(out.scalars[0], 0.0, 1.0)
    cumulative[flat < 0.0] = 0.0
    cumulative[zero] = ensemble.atom
    shape = np.shape(x)

    def arrange(values: Any) -> Any:
        return values.reshape(shape + values.shape[1:])[()]

    status = arrange(out.counts[0])
    success: Any = status == 0
    return Spectrum(
        x=arrange(flat),
        density=arrange(by_group.sum(axis=1)),
        by_group=arrange(by_group),
        cumulative=arrange(cumulative),
        atom=ensemble.atom,
        mean=ensemble.mean,
        success=success if shape else bool(success),
        status=status if shape else int(status),
        quadrature_error=arrange(out.scalars[2]),
        spike=ensemble.layer.spike,
        bulk=ensemble.layer.bulk.name,
        parameters=ensemble.parameters,
        about=ensemble.about,
        _ensemble=ensemble,
    )
