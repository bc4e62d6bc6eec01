"""Exact derivatives of the test error with respect to the parameters of the theory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core, losses
from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.bulk import check_bulk
from spikedrf.first_layer.model import Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.latent_layer import latent_population
from spikedrf.inputs.population import Inputs, Population
from spikedrf.losses import LossLike
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import names_among
from spikedrf.running.workers import thread_count
from spikedrf.theory.batch import MAX_NODES, Batch, Floats, Part, pose
from spikedrf.theory.convergence import INFINITE, check_accuracy, warn
from spikedrf.theory.core import core_points, core_problem, run
from spikedrf.theory.latents.differences import Slopes
from spikedrf.theory.latents.gradient import differentiate_points, of_readout
from spikedrf.theory.latents.solution import check_values, refuse_beyond_latents, spike_of
from spikedrf.theory.linear_groups import mergeable_spikes, merged, merged_moves
from spikedrf.theory.solve import set_infinite_aside

#: What the test error can be differentiated by: the readout's side, the step, the spiked model.
PARAMETERS = ("alpha", "beta", "lam", "noise", "eta", "alpha0", "gamma", "r", "c")
_OF_STEP = ("eta", "alpha0")
_OF_SPIKE = ("gamma", "r", "c")
_SCALARS = ("alpha", "beta", "lam", "noise")


@dataclass(frozen=True, eq=False, repr=False)
class Gradient(Mapping[str, Any]):
    r"""Derivatives of the test error: a mapping from parameter names to arrays.

    Attributes
    ----------
    test_error : float or ndarray, shape S
        The test error itself; ``S`` is the broadcast shape of the parameters.
    success : bool or ndarray, shape S
        Whether the point reached ``rtol``, in the test error and in every derivative asked for.
    status : int or ndarray, shape S
        As for `Solution`; 4: one of the derivatives does not exist there and is NaN; 7: the error
        itself is infinite, and the derivatives are NaN.
    quadrature_error : float or ndarray, shape S
        Largest relative change, from the last quadrature rule but one to the last, of the test
        error and of the derivatives asked for. A derivative is held against itself, or against
        ``1e-4 test_error / scale`` where it is smaller than that (it may vanish); the scale is
        that on which the parameter matters: alpha, beta, alpha0 and c themselves, ``1/V2`` for
        lam, 1 or the parameter for the others.
    spike : Spike
        The spiked model.
    parameters : dict
        The parameters as given, for labels.
    """

    test_error: Any
    success: Any
    status: Any
    quadrature_error: Any
    spike: Spike
    parameters: dict[str, Any] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.test_error)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        if self.shape:
            done = int(np.count_nonzero(self.success))
            return (
                f"Gradient(shape={self.shape}, wrt={tuple(self)}, {done} of {self.success.size} "
                f"converged)"
            )
        values = ", ".join(f"{name}={_show(value)}" for name, value in self.items())
        return f"Gradient({values}, success={self.success})"


def gradient(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    wrt: str | Sequence[str] = ("alpha", "beta", "lam", "noise"),
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    bulk: str | None = None,
    loss: LossLike = "square",
    inputs: Inputs = None,
    init: str = "sphere",
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Gradient:
    r"""Differentiate the test error, exactly, at the price of about one more solve.

    Give every fresh sample the weight ``s`` in the readout's objective. By the envelope theorem
    the test error is the derivative of the minimum ``Phi``, and a derivative of the test error is
    one of an explicit expression, moved along ``s``::

        test_error = dPhi/ds,      d test_error/dp = d/ds (dPhi/dp)    at s = 0,

    for example ``d test_error/d lam = d norm/ds``. The motion of the order parameters along ``s``
    is one linear solve, shared by all parameters. There are no finite differences; the averages
    are certified by two successive quadrature rules like those of `solve`.

    Parameters
    ----------
    alpha, lam, beta, activation, target, step, noise, bulk, loss, inputs, init, workers
        As for `solve`; only the square loss.
    wrt : str or sequence of str
        The parameters, among

        * ``alpha``, ``beta``, ``lam``;
        * ``noise``: through the labels of both stages if ``step`` is a `GradientStep` (whose
          ``r, c, gamma`` depend on it), of the second stage only if it is a `Spike`;
        * ``eta``, ``alpha0``: of a `GradientStep`, through ``r, c, gamma``; of a list of steps
          those of all together, which must then be the same, and ``eta_1``, ``alpha0_2`` and so
          on those of one;
        * ``r``, ``c`` (each group on its own), ``gamma``: of the spiked model, the others fixed;
          not with ``bulk="network"``, where they do not move alone.
    rtol : float
        Quadrature nodes are added until the errors and the derivatives move by less than this.

    Returns
    -------
    Gradient
        A mapping with one entry for each name: broadcast shape of the parameters, ``r`` and ``c``
        with the readout groups as last axis.

    Raises
    ------
    TypeError, ValueError
        As for `solve`, and if a name is unknown or ``step`` has no such parameter.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol`` or lack a derivative.

    Notes
    -----
    Limits. At ``alpha = inf`` nothing depends on ``alpha`` and ``lam`` any more: 0. At
    ``lam = 0`` the derivative by ``lam`` is one-sided, in the interpolating phase too. At
    ``alpha0 = inf`` that by ``alpha0`` is 0.

    The readout does not pay for ``m``, so the test error jumps where moving a parameter adds to
    the functions that the features span, however small the move: the derivative does not exist
    and is NaN, with status 4. That happens at ``eta = 0`` (``r = 0``) when the activation is odd
    and ``gamma != 0``, and when one of several groups that are alike (equal, or opposite for an
    odd activation) is moved alone. Moves that keep the groups alike are fine. NaN too: ``gamma``
    at the ends of its range and ``alpha0`` at 0.

    With inputs of their own, several directions or Gaussian rows, derivatives through the first
    layer (``eta, alpha0, r, c, gamma``, and ``noise`` of a `GradientStep`) are central differences
    of sixth order, and ``quadrature_error`` holds what halving their step changes. How several
    steps of one value of ``u`` move a spike is such a difference too, NaN where it is in doubt.

    Source: theory.md, sections 2 and 4 to 6; the Maxwell relations above are worked out in
    csrc/equations/sensitivity.hpp.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=20.0)
    >>> slope = theory.gradient(1.0, lam=0.1, target="sin", step=step, wrt=("lam", "eta"))
    >>> print(slope)
    Gradient(lam=-0.0410118, eta=-0.014605, success=True)
    >>> print(round(slope["eta"], 6))
    -0.014605
    """
    names = _check_names(wrt, step, bulk)
    if losses.resolve(loss) != losses.Square():
        raise ValueError(
            f"loss must be 'square', got {loss!r}: derivatives and optima are those of ridge "
            f"regression; theory.solve takes any loss"
        )
    accuracy = check_accuracy(rtol)
    threads = thread_count(workers)
    law = latent_population(inputs, target, init, step)
    if law is not None:
        result = _in_latents(
            check_values(alpha, beta, lam, noise), activation, law, step, init, bulk, names,
            accuracy, threads,
        )  # fmt: skip
        warn(result, accuracy)
        return result
    batch = pose(
        alpha,
        lam=lam,
        beta=beta,
        activation=activation,
        target=resolve_target(target),
        step=step,
        noise=noise,
        bulk=bulk,
        rtol=accuracy,
        wrt=[name for name in names if name in ("noise", *producer_of(step).steerable)],
    )
    batch, infinite = set_infinite_aside(batch)
    result = differentiate(batch, names, accuracy, threads, infinite)
    warn(result, accuracy)
    return result


def _in_latents(
    values: dict[str, Floats],
    activation: FunctionLike,
    law: Population,
    step: StepLike,
    init: str,
    bulk: str | None,
    names: tuple[str, ...],
    accuracy: float,
    threads: int | None,
) -> Gradient:
    own = producer_of(step).own_bulk if bulk is None else bulk
    refuse_beyond_latents(own)
    sigma = resolve(activation, "activation")
    readout = tuple(name for name in names if of_readout(name, step))
    posed, found = differentiate_points(values, sigma, law, step, init, readout, accuracy, threads)
    gradients = {name: found[name].reshape(posed.shape) for name in readout}
    error, status = (found[name].reshape(posed.shape) for name in ("error", "status"))
    through = tuple(name for name in names if name not in readout)
    if through:
        slopes = Slopes(values, sigma, law, step, init, through, threads)
        gradients |= slopes.values
        error = np.fmax(error, slopes.error)
        status = np.where(status == 0, slopes.status, status)
        status = np.where((status == 0) & (slopes.error > accuracy), 1, status)
    success: Any = status == 0
    producer = producer_of(step)
    return Gradient(
        test_error=found["test"].reshape(posed.shape)[()],
        success=success if posed.shape else bool(success),
        status=status if posed.shape else int(status),
        quadrature_error=error[()],
        spike=spike_of(posed.frames, posed.which, posed.shape),
        parameters={**values} | producer.steered,
        _values={name: gradients[name][()] for name in names},
    )


def _check_names(wrt: str | Sequence[str], step: StepLike, bulk: str | None) -> tuple[str, ...]:
    producer = producer_of(step)
    names = names_among("wrt", wrt, dict.fromkeys((*PARAMETERS, *producer.steerable)))
    check_bulk(own := producer.own_bulk if bulk is None else bulk)
    for name in names:
        if name in _OF_STEP and name not in producer.steerable:
            raise ValueError(
                f"wrt={name!r} needs a GradientStep, which has {name}; got step={step!r}"
            )
        if name in _OF_SPIKE and own != "isotropic":
            raise ValueError(
                f"wrt={name!r} is for bulk='isotropic': {name} of a trained network does not move "
                f"alone; differentiate by {', '.join(_OF_STEP)}"
            )
    if not names:
        raise ValueError(f"wrt must name at least one of {', '.join(PARAMETERS)}")
    return names


def _directions(
    batch: Batch, part: Part, names: tuple[str, ...]
) -> tuple[list[tuple[str, int]], Floats, Floats]:
    """Labels (name, group), moves (S, D, 2K' + 1) and scales (S, D) of a part's spikes."""
    spikes, live = part.r.shape
    groups = batch.groups
    width = 2 * groups + 2
    labels: list[tuple[str, int]] = []
    moves: list[Floats] = []
    scales: list[Floats] = []
    for i, name in enumerate(batch.layer.moves):
        own = part.moves[:, i * width : (i + 1) * width]
        labels.append((name, 0))
        moves.append(
            np.concatenate(
                [
                    own[:, :groups][:, part.live],
                    own[:, groups : 2 * groups][:, part.live],
                    own[:, -2:-1],
                ],
                axis=1,
            )
        )
        scales.append(own[:, -1])

    def unit(name: str, group: int, column: int, scale: Floats) -> None:
        labels.append((name, group))
        move = np.zeros((spikes, 2 * live + 1))
        # A Gaussian of no width has no derivative in its width.
        edge = (column == 2 * live) & (np.abs(part.gamma) == 1.0)
        move[:, column] = np.where(edge, np.nan, 1.0)
        moves.append(move)
        scales.append(scale)

    if "gamma" in names:
        unit("gamma", 0, 2 * live, np.ones(spikes))
    for k, group in enumerate(np.flatnonzero(part.live)):
        if "r" in names:
            unit("r", int(group), k, np.maximum(np.abs(part.r[:, k]), 1.0))
        if "c" in names:
            unit("c", int(group), live + k, part.c[:, k])
    if not labels:
        return labels, np.zeros((spikes, 0, 2 * live + 1)), np.zeros((spikes, 0))
    # Columns picked by a mask come transposed, and stacking keeps that.
    return labels, np.ascontiguousarray(np.stack(moves, axis=1)), np.stack(scales, axis=1)


def differentiate(
    batch: Batch,
    names: tuple[str, ...],
    rtol: float,
    threads: int | None,
    infinite: NDArray[np.bool_],
) -> Gradient:
    """Run the core on a posed batch, some points of which are known to be infinite."""
    points, groups = batch.which.size, batch.groups
    scalars = np.zeros((6, points))
    status = np.zeros(points, dtype=np.int32)
    values = {name: np.zeros((points, groups) if name in ("r", "c") else points) for name in names}
    for part, mergeable in batch.parts(mergeable_spikes(batch)):
        labels, direction, scale = _directions(batch, part, names)
        if mergeable:
            part, direction = merged(part), merged_moves(part, direction)
        found = _core.Gradients(
            part.which.size,
            direction,
            np.ascontiguousarray(scale),
            names,
            None if part.bulk is None else part.bulk.core_slopes(),
        )
        problem = core_problem(part, batch.sigma, batch.g, rtol, MAX_NODES)
        run(problem, core_points(part), found, part.chunks(), threads)
        at = np.flatnonzero(part.points)
        scalars[:, at] = found.scalars
        status[at] = found.status
        for name in _SCALARS:
            if name in values:
                values[name][at] += found.scalars[1 + _SCALARS.index(name)]
        for (name, group), column in zip(labels, found.along.T, strict=True):
            if name in ("r", "c"):
                values[name][at, group] = column
            else:
                values[name][at] += column
    scalars[:, infinite], status[infinite] = np.inf, INFINITE
    for value in values.values():
        value[infinite] = np.nan
    found = batch.arrange(status)
    success: Any = found == 0
    return Gradient(
        test_error=batch.arrange(scalars[0]),
        success=success if batch.shape else bool(success),
        status=found if batch.shape else int(found),
        quadrature_error=batch.arrange(scalars[5]),
        spike=batch.spike,
        parameters=batch.parameters,
        _values={name: batch.arrange(values[name]) for name in names},
    )


def _show(value: Any) -> str:
    if np.ndim(value) == 0:
        return f"{float(value):.6g}"
    return np.array2string(np.asarray(value), precision=6, separator=", ")
