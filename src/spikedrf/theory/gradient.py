"""Exact derivatives of the test error with respect to the parameters of the theory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core, losses
from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.bulk import check_bulk
from spikedrf.first_layer.model import Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import latents_of
from spikedrf.inputs.population import Inputs, Population, Rows, numbers_of
from spikedrf.losses import LossLike
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import names_among, real_array
from spikedrf.running.workers import thread_count
from spikedrf.theory import convex
from spikedrf.theory.batch import MAX_NODES, Batch, Floats, Part, pose
from spikedrf.theory.convergence import INFINITE, check_accuracy, warn
from spikedrf.theory.core import core_points, core_problem, run
from spikedrf.theory.latents.differences import Slopes
from spikedrf.theory.latents.gradient import differentiate_points, of_readout
from spikedrf.theory.latents.solution import check_values, refuse_beyond_latents, spike_of
from spikedrf.theory.latents.solve import Learned
from spikedrf.theory.linear_groups import mergeable_spikes, merged, merged_moves
from spikedrf.theory.solve import set_infinite_aside

#: What the test error can be differentiated by: the readout's side, the step, the spiked model,
#: the labels and the loss.
PARAMETERS = (
    "alpha", "beta", "lam", "noise", "eta", "alpha0", "gamma", "r", "c", "flip", "delta", "level"
)  # fmt: skip
_OF_STEP = ("eta", "alpha0")
_OF_SPIKE = ("gamma", "r", "c")
_OF_LOSS = ("delta", "level")
_SCALARS = ("alpha", "beta", "lam", "noise")

#: What can be differentiated, and optimised.
OBJECTIVES = ("test_error", "test_loss")


@dataclass(frozen=True, eq=False, repr=False)
class Gradient(Mapping[str, Any]):
    r"""Derivatives of the test error or loss: a mapping from parameter names to arrays.

    Attributes
    ----------
    test_error : float or ndarray, shape S
        The test error; ``S`` is the broadcast shape of the parameters.
    test_loss : float or ndarray, shape S
        The loss of fresh samples.
    objective : str
        Which of the two has been differentiated.
    success : bool or ndarray, shape S
        Whether the point reached ``rtol``, in the objective and in every derivative asked for.
    status : int or ndarray, shape S
        As for `Solution`; 4: one of the derivatives does not exist there and is NaN; 7: the error
        itself is infinite, and the derivatives are NaN.
    quadrature_error : float or ndarray, shape S
        Largest relative change, from the last quadrature rule but one to the last, of the test
        error and of the derivatives asked for. A derivative is held against itself, or against
        ``1e-4 objective / scale`` where it is smaller than that (it may vanish); the scale is
        that on which the parameter matters: alpha, beta, alpha0, c and delta themselves, ``1/V2``
        for lam, 1 or the parameter for the others.
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
    test_loss: Any = None
    objective: str = "test_error"
    _values: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.test_error)

    @property
    def value(self) -> Any:
        """The objective itself."""
        return getattr(self, self.objective)

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
    labels: str = "real",
    flip: ArrayLike = 0.0,
    objective: str = "test_error",
    inputs: Inputs = None,
    init: str | None = None,
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
    are certified by two successive quadrature rules like those of `solve`. Under any other loss,
    and for rates of wrong signs, ``s`` times the objective is added to the function of the order
    parameters that is stationary there; the rest is the same.

    Parameters
    ----------
    alpha, lam, beta, activation, target, step, noise, bulk, workers
        As for `solve`.
    loss, labels, flip, inputs, init
        As for `solve`.
    objective : {"test_error", "test_loss"}
        What to differentiate: the test error, with ``labels="sign"`` the rate of wrong signs, or
        the loss of fresh samples.
    wrt : str or sequence of str
        The parameters, among

        * ``alpha``, ``beta``, ``lam``;
        * ``noise``: through the labels of both stages if ``step`` is a `GradientStep` (whose
          ``r, c, gamma`` depend on it), of the second stage only if it is a `Spike`;
        * ``eta``, ``alpha0``: of a `GradientStep`, through ``r, c, gamma``; of a list of steps
          those of all together, which must then be the same, and ``eta_1``, ``alpha0_2`` and so
          on those of one;
        * ``r``, ``c`` (each group on its own), ``gamma``: of the spiked model, the others fixed;
          not with ``bulk="network"``, where they do not move alone;
        * ``flip``: with ``labels="sign"``;
        * ``delta``, ``level``: of a loss that has it.
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
        As for `solve`, and if a name is unknown or ``step``, the labels or the loss have no such
        parameter.

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
    of sixth order, and ``quadrature_error`` holds what halving their step changes; all of them are
    under other losses than the square one and for sign labels. How several
    steps of one value of ``u`` move a spike is such a difference too, NaN where it is in doubt.

    Without noise the derivative by ``noise`` of sign labels is 0 where the target crosses 0, and
    NaN where it meets 0 flatly or is 0 on an interval: there the labels jump. At ``flip = 0`` and
    ``noise = 0`` derivatives are one-sided.

    Source: theory.md, sections 2, 4 to 6 and 11; the Maxwell relations above are worked out in
    csrc/equations/sensitivity.hpp and convex_sensitivity.cpp.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=20.0)
    >>> slope = theory.gradient(1.0, lam=0.1, target="sin", step=step, wrt=("lam", "eta"))
    >>> print(slope)
    Gradient(lam=-0.0410118, eta=-0.014605, success=True)
    >>> print(round(slope["eta"], 6))
    -0.014605
    >>> signs = {"loss": "logistic", "labels": "sign"}
    >>> print(theory.gradient(1.0, lam=0.1, target="sin", step=step, wrt="lam", **signs))
    Gradient(lam=-0.00862425, success=True)
    """
    kind = losses.resolve(loss)
    labels = losses.check_labels(labels, kind, numbers_of(inputs))
    names = _check_names(wrt, step, bulk)
    _check_readout(names, kind, labels, objective)
    accuracy = check_accuracy(rtol)
    threads = thread_count(workers)
    law, rows = latents_of(inputs, target, init, step, bulk)
    chance = real_array("flip", flip, minimum=0.0, maximum=0.5)
    if labels == "real" and chance.any():
        raise ValueError("flip is for labels='sign': real labels have noise instead")
    if law is not None:
        own = producer_of(step).own_bulk if bulk is None else bulk
        refuse_beyond_latents(step, own)
        values = check_values(alpha, beta, lam, noise)
        learned = Learned.of(kind, labels)
        model = activation, law, step, rows, names, accuracy, threads
        if learned is None:
            result = _in_latents(values, *model)
            result = replace(result, test_loss=0.5 * result.test_error, objective=objective)
            result = _of_loss(result) if objective == "test_loss" else result
        else:
            values |= {"flip": chance} if learned.signs else {}
            result = _by_differences(values, *model, learned, objective)
        warn(result, accuracy)
        return result
    ridge = labels == "real" and kind == losses.Square()
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
        also={"flip": chance} if labels == "sign" else None,
    )
    infinite = np.zeros(batch.which.size, dtype=bool)
    if ridge:
        batch, infinite = set_infinite_aside(batch)
    else:
        convex.refuse_undefined(batch, kind, labels)
    readout = _Readout(kind, labels, objective)
    result = differentiate(batch, names, accuracy, threads, infinite, readout)
    warn(result, accuracy)
    return result


@dataclass(frozen=True)
class _Readout:
    """What the readout minimises, and what is differentiated."""

    loss: losses.Loss
    labels: str
    objective: str

    @property
    def ridge(self) -> bool:
        """Whether everything but the responses has a closed form."""
        return self.labels == "real" and self.loss == losses.Square()


def _of_loss(gradient: Gradient) -> Gradient:
    """Return the derivatives of the square loss, half the error."""
    return replace(gradient, _values={name: 0.5 * slope for name, slope in gradient.items()})


def _in_latents(
    values: dict[str, Floats],
    activation: FunctionLike,
    law: Population,
    step: StepLike,
    rows: Rows,
    names: tuple[str, ...],
    accuracy: float,
    threads: int | None,
) -> Gradient:
    sigma = resolve(activation, "activation")
    readout = tuple(name for name in names if of_readout(name, step))
    posed, found = differentiate_points(values, sigma, law, step, rows, readout, accuracy, threads)
    gradients = {name: found[name].reshape(posed.shape) for name in readout}
    error, status = (found[name].reshape(posed.shape) for name in ("error", "status"))
    through = tuple(name for name in names if name not in readout)
    if through:
        slopes = Slopes(values, sigma, law, step, rows, through, threads)
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


def _by_differences(
    values: dict[str, Floats],
    activation: FunctionLike,
    law: Population,
    step: StepLike,
    rows: Rows,
    names: tuple[str, ...],
    accuracy: float,
    threads: int | None,
    learned: Learned,
    objective: str,
) -> Gradient:
    sigma = resolve(activation, "activation")
    slopes = Slopes(values, sigma, law, step, rows, names, threads, learned, objective=objective)
    solved, status = slopes.solved, slopes.status
    status = np.where((status == 0) & ~(slopes.error <= accuracy), 1, status)
    success: Any = status == 0
    producer = producer_of(step)
    return Gradient(
        test_error=solved.arrange("test"),
        test_loss=solved.arrange("test_loss"),
        objective=objective,
        success=success if solved.shape else bool(success),
        status=status if solved.shape else int(status),
        quadrature_error=slopes.error[()],
        spike=spike_of(solved.frames, solved.which, solved.shape),
        parameters={**values} | vars(learned.loss) | producer.steered,
        _values={name: slopes.values[name][()] for name in names},
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


def _check_readout(names: tuple[str, ...], loss: losses.Loss, labels: str, objective: str) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}")
    if "flip" in names and labels != "sign":
        raise ValueError(f"wrt='flip' is for labels='sign'; got labels={labels!r}")
    for name in _OF_LOSS:
        if name in names and name not in vars(loss):
            raise ValueError(f"wrt={name!r} needs a loss that has it; got {loss!r}")


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
    readout: _Readout,
) -> Gradient:
    """Run the core on a posed batch, some points of which are known to be infinite."""
    points, groups = batch.which.size, batch.groups
    scalars, of_convex = np.zeros((6, points)), np.zeros((3, points))
    own = next((name for name in _OF_LOSS if name in vars(readout.loss)), "")
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
            ["parameter" if name == own else name for name in names],
            None if part.bulk is None else part.bulk.core_slopes(),
            of_loss=readout.objective == "test_loss",
        )
        at = np.flatnonzero(part.points)
        if readout.ridge:
            square = losses.Square().core
            problem = core_problem(part, batch.sigma, batch.g, rtol, MAX_NODES, loss=square)
            run(problem, core_points(part), found, part.chunks(), threads)
        else:
            order = convex.in_a_row(part)
            problem = convex.pose_part(batch, part, readout.loss, readout.labels, rtol)
            chunks = convex.chunks(order.size, threads)
            run(problem, core_points(part, order), found, chunks, threads)
            at = at[order]
        scalars[:, at], of_convex[:, at] = found.scalars, found.of_convex
        status[at] = found.status
        for name in _SCALARS:
            if name in values:
                values[name][at] += found.scalars[1 + _SCALARS.index(name)]
        for name, row in (("flip", 0), (own, 1)):
            if name in values:
                values[name][at] += found.of_convex[row]
        for (name, group), column in zip(labels, found.along.T, strict=True):
            if name in ("r", "c"):
                values[name][at, group] = column
            else:
                values[name][at] += column
    scalars[:, infinite], status[infinite] = np.inf, INFINITE
    for value in values.values():
        value[infinite] = np.nan
    if readout.ridge:
        of_convex[2] = 0.5 * scalars[0]
    found = batch.arrange(status)
    success: Any = found == 0
    result = Gradient(
        test_error=batch.arrange(scalars[0]),
        success=success if batch.shape else bool(success),
        status=found if batch.shape else int(found),
        quadrature_error=batch.arrange(scalars[5]),
        spike=batch.spike,
        parameters=batch.parameters,
        test_loss=batch.arrange(of_convex[2]),
        objective=readout.objective,
        _values={name: batch.arrange(values[name]) for name in names},
    )
    return _of_loss(result) if readout.ridge and readout.objective == "test_loss" else result


def _show(value: Any) -> str:
    if np.ndim(value) == 0:
        return f"{float(value):.6g}"
    return np.array2string(np.asarray(value), precision=6, separator=", ")
