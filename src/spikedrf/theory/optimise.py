"""The best ridge and the best step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import losses
from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import latents_of, layers_on_inputs
from spikedrf.inputs.population import Inputs, drawn_as, numbers_of
from spikedrf.losses import LossLike
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import broadcast_shape, names_among, real_array
from spikedrf.theory import convex
from spikedrf.theory.batch import Floats, pose
from spikedrf.theory.convergence import (
    INFINITE,
    check_accuracy,
    left_to_caller,
    one_warning_for_all,
    warn,
)
from spikedrf.theory.gradient import gradient
from spikedrf.theory.latents.solution import check_values, refuse_beyond_latents
from spikedrf.theory.latents.solve import Learned
from spikedrf.theory.optimum import Optimum
from spikedrf.theory.search import Optimal, Problems, Search
from spikedrf.theory.solve import solve

#: What can be optimised.
OVER = ("lam", "eta")

_ENDS = ("lowest", "highest")


def optimise(
    alpha: ArrayLike,
    *,
    over: str | Sequence[str] = "lam",
    lam: ArrayLike | None = None,
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    inputs: Inputs = None,
    init: str | None = None,
    bulk: str | None = None,
    loss: LossLike = "square",
    labels: str = "real",
    flip: ArrayLike = 0.0,
    objective: str = "test_error",
    bounds: Mapping[str, tuple[ArrayLike | None, ArrayLike | None]] | None = None,
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Optimum:
    r"""Find the ridge, the step size or both that make the test error, or loss, smallest.

    ``lam* = argmin_lam E(lam)``, ``eta* = argmin_eta E(eta)`` or, of ``min_lam E(lam, eta)``, the
    ``argmin_eta``. The error can have several minima: it is scanned over the whole range in which
    the parameter matters, every minimum is refined as a root of the exact derivative (`gradient`),
    and the lowest one wins.

    Parameters
    ----------
    alpha, lam, beta, activation, target, step, noise, inputs, init, bulk, workers
        As for `solve`. ``lam``, and the ``eta`` of the step, are not used if they are optimised.
    loss, labels, flip
        As for `solve`.
    objective : {"test_error", "test_loss"}
        What to minimise: the test error ``E``, with ``labels="sign"`` the rate of wrong signs, or
        the loss of fresh samples (for logistic regression the best probabilities).
    over : {"lam", "eta"} or sequence of these
        What to optimise. ``eta`` needs a `GradientStep`.
    bounds : dict, optional
        ``{"lam": (lowest, highest), "eta": (lowest, highest)}``, each a number or an array that
        broadcasts with the parameters, or None for the default:

        * ``lam`` from 0, or as close to it as matters where the limit is infinite or the readout
          needs a ridge (any but the square loss of real labels), to where a ridge leaves nothing
          of the features but their mean;
        * ``eta`` from 0, no step, to where the longest neurons have thirty times their initial
          length (`GradientStep.growth`). A negative ``eta`` ascends the loss; for an odd
          activation it is as good as its opposite. It is tried if the bounds allow it.
    rtol : float
        Relative accuracy of the test error at the optimum, as for `solve`.

    Returns
    -------
    Optimum
        With ``lam``, ``eta``, ``test_error``, ``at_bound``. The position is a root of the exact
        derivative to 1e-8 relative; where the error is so flat that this does not show in its
        twelfth digit, it is some point of the flat part.

    Raises
    ------
    TypeError, ValueError
        As for `solve` and `gradient`, or if ``over`` or ``bounds`` name something else, ``lam`` is
        missing or bounds are empty; the message names the argument.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points have ``success=False``.

    Notes
    -----
    Bounds. At ``alpha = inf`` no ridge matters and the best one is 0. A ridge on its upper bound
    means that nothing is worth learning but what the mean of the features learns without penalty.
    Just above ``eta = 0`` the error of an odd activation lies below that at 0: a step however
    small frees the linear part along the spike from its penalty. If the error rises from there,
    the smallest step that is considered is returned, on the lower bound: ``eta = 1e-5 / growth``
    of one group, and of several the smallest at which they can be told apart.

    Source: theory.md, sections 2, 4 to 6 and 11.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=20.0)
    >>> theory.optimise([0.5, 2.0], step=step, target="sin", noise=0.1).lam.round(4)
    array([0.6024, 0.3087])
    >>> theory.optimise(2.0, over="eta", lam=0.1, step=step, target="sin")
    Optimum(eta=4.7328, test_error=0.02606848, at_bound=False, success=True)
    """
    over, step, bounds = _of_one_step(over, step, bounds)
    names = check_over(over, step)
    kind = losses.resolve(loss)
    labels = losses.check_labels(labels, kind, numbers_of(inputs))
    accuracy = check_accuracy(rtol)
    limits = _check_bounds(bounds, names)
    if lam is None and "lam" not in names:
        raise TypeError("lam is missing: give it, or optimise over it")
    ridge = 1.0 if lam is None or "lam" in names else lam
    if "eta" in names:
        step = producer_of(step).moved({"eta": 0.0})
    # What is refused is refused now.
    solver: dict[str, Any] = {
        "activation": resolve(activation, "activation"),
        "target": resolve_target(target),
        "inputs": inputs,
        "init": init,
        "bulk": bulk,
        "loss": kind,
        "labels": labels,
        "rtol": accuracy,
        "workers": workers,
    }
    model = {name: solver[name] for name in ("activation", "target", "inputs", "init")}
    readout = kind, labels, flip
    parameters, given = _posed(alpha, ridge, beta, noise, step, bulk, *readout, **model)
    plain = {"bulk": "isotropic", "init": drawn_as(init)}
    gradient([], lam=1.0, objective=objective, **solver | plain)
    shapes = {"the parameters": given}
    for name, ends in limits.items():
        shapes |= {f"{end} of {name}": at.shape for end, at in zip(_ENDS, ends, strict=True)}
    shape = broadcast_shape(shapes)
    problems = Problems.posed(parameters, step, limits, shape)
    latents = latents_of(inputs, solver["target"], init, step, bulk)
    search = Search(names, solver, latents, objective)
    found = {name: Optimal.unknown(problems.size) for name in names}
    minima = np.zeros(problems.size, dtype=np.int64)
    doubtful = np.zeros(problems.size, dtype=bool)
    with one_warning_for_all():
        for start in range(0, problems.size, search.block):
            part = np.arange(start, min(start + search.block, problems.size))
            best, minimum = search.run(problems.take(part))
            for name in names:
                found[name].put(part, best[name])
            minima[part], doubtful[part] = minimum.count, minimum.cut_off
        known = np.all([np.isfinite(best.x) for best in found.values()], axis=0)
        x = {name: np.where(known, best.x, 1.0) for name, best in found.items()}
        there = problems.moved(**x).shaped(shape)
        solution = solve(**there.arguments(), **solver)

    def arrange(array: NDArray[Any]) -> Any:
        """Scalars in, scalars out."""
        return array.reshape(shape) if shape else array.item()

    status = np.where(doubtful & (np.ravel(solution.status) == 0), 5, np.ravel(solution.status))
    infinite = status == INFINITE
    if infinite.size and infinite.all() and not left_to_caller():
        raise ValueError(
            f"lam = 0 at all points where the ridgeless limit is infinite (the first at alpha = "
            f"{problems.values['alpha'][0]:g}, beta = {problems.values['beta'][0]:g}): lam must be "
            f"> 0 there"
        )
    test_error = np.where(known, np.ravel(solution.test_error), np.where(infinite, np.inf, np.nan))
    values: dict[str, Any] = {"eta": None} | {
        name: there.values[name][()] for name in OVER if name in there.values
    }
    values |= {name: arrange(best.x) for name, best in found.items()}
    result = Optimum(
        over=names,
        lam=values["lam"],
        eta=values["eta"],
        test_error=arrange(test_error),
        at_bound=arrange(np.any([best.side != 0 for best in found.values()], axis=0)),
        side={name: arrange(best.side) for name, best in found.items()},
        minima=arrange(minima),
        success=arrange(status == 0),
        status=arrange(status.astype(np.int32)),
        quadrature_error=solution.quadrature_error,
        solution=solution,
        parameters=parameters,
    )
    warn(result, accuracy)
    return result


def _posed(
    alpha: ArrayLike,
    lam: ArrayLike,
    beta: ArrayLike,
    noise: ArrayLike,
    step: StepLike,
    bulk: str | None,
    loss: losses.Loss,
    labels: str,
    flip: ArrayLike,
    *,
    activation: Any,
    target: Any,
    inputs: Inputs,
    init: str | None,
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Refuse what is to be refused; return the parameters and their broadcast shape."""
    law, rows = latents_of(inputs, target, init, step, bulk)
    chance = real_array("flip", flip, minimum=0.0, maximum=0.5)
    if labels == "real" and chance.any():
        raise ValueError("flip is for labels='sign': real labels have noise instead")
    if law is None:
        batch = pose(
            alpha,
            lam=lam,
            beta=beta,
            activation=activation,
            target=target,
            step=step,
            noise=noise,
            bulk=bulk,
            also={"flip": chance} if labels == "sign" else None,
        )
        if labels == "sign" or loss != losses.Square():
            convex.refuse_undefined(batch, loss, labels)
        return batch.parameters, batch.shape
    refuse_beyond_latents(step, producer_of(step).own_bulk if bulk is None else bulk)
    values = check_values(alpha, beta, lam, noise)
    learned = Learned.of(loss, labels)
    if learned is not None:
        values |= {"flip": chance} if learned.signs else {}
        learned.refuse_limits(values, law)
    _, which = layers_on_inputs(step, activation, law, values["noise"], rows)
    shapes = {name: value.shape for name, value in values.items()} | {"the step": which.shape}
    producer = producer_of(step)
    return values | producer.steered, broadcast_shape(shapes)


def _of_one_step(over: Any, step: StepLike, bounds: Any) -> tuple[Any, StepLike, Any]:
    """Turn ``eta_2`` of several steps into ``eta`` of steps of which that one is chosen."""
    producer = producer_of(step)
    names = (over,) if isinstance(over, str) or not isinstance(over, Iterable) else tuple(over)
    chosen = [n for n in names if n in producer.steerable and str(n).startswith("eta_")]
    if not chosen:
        return over, step, bounds
    if len(chosen) > 1 or "eta" in names:
        raise ValueError(f"over may name the eta of one step, or of all together; got {over!r}")
    called = {chosen[0]: "eta"}
    ends = None if bounds is None else {called.get(n, n): end for n, end in bounds.items()}
    return tuple(called.get(n, n) for n in names), producer.choose(chosen[0]), ends


def check_over(over: str | Sequence[str], step: Any) -> tuple[str, ...]:
    """Return what to optimise, in the order of `OVER`.

    Raises
    ------
    ValueError
        If it is nothing, or something else, or the step has no such parameter.
    """
    names = names_among("over", over, OVER)
    if not names:
        raise ValueError(f"over must name at least one of {', '.join(OVER)}")
    if "eta" in names and "eta" not in producer_of(step).steerable:
        raise ValueError(f"over='eta' needs a GradientStep, which has eta; got step={step!r}")
    return tuple(name for name in OVER if name in names)


def _check_bounds(
    bounds: Mapping[str, tuple[ArrayLike | None, ArrayLike | None]] | None, names: tuple[str, ...]
) -> dict[str, tuple[Floats, Floats]]:
    """Turn bounds into arrays, NaN where there is none."""
    checked = {}
    for name, ends in (bounds or {}).items():
        if name not in names:
            raise ValueError(
                f"bounds must be of what is optimised ({', '.join(names)}), got bounds of {name!r}"
            )
        if not isinstance(ends, tuple | list) or len(ends) != 2:
            raise TypeError(f"bounds of {name} must be a pair (lowest, highest), got {ends!r}")
        least = 0.0 if name == "lam" else -np.inf
        low, high = (
            np.array(np.nan) if end is None else real_array(f"bounds of {name}", end, minimum=least)
            for end in ends
        )
        if np.any(low > high) or (name == "lam" and np.any(high == 0)):
            raise ValueError(f"bounds of {name} must have lowest <= highest, got {ends!r}")
        checked[name] = low, high
    return checked
