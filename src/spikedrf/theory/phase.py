"""Phase diagrams: one quantity over two parameters."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

import spikedrf
from spikedrf import losses
from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.first_layer.bulk import check_bulk
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import latents_of
from spikedrf.inputs.population import Inputs, Population, numbers_of
from spikedrf.losses import LossLike
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import ConvergenceWarning, names_among
from spikedrf.parameters import number as one_number
from spikedrf.running.checkpoint import Checkpoint
from spikedrf.running.memory import require_memory
from spikedrf.running.progress import Progress, reporting
from spikedrf.running.workers import as_finished, worker_count
from spikedrf.step import GradientStep
from spikedrf.theory import convex
from spikedrf.theory.batch import pose
from spikedrf.theory.convergence import (
    INFINITE,
    UNDEFINED,
    about_infinite,
    about_undefined,
    one_warning_for_all,
)
from spikedrf.theory.diagram import NOT_COMPUTED, VALUES, PhaseDiagram, PhaseDiagramInterrupted
from spikedrf.theory.mesh import Mesh, Parameters, Piece, mesh
from spikedrf.theory.optimise import OVER, check_over, optimise
from spikedrf.theory.optimum import Optimum
from spikedrf.theory.solve import set_infinite_aside, solve


def phase_diagram(
    *,
    value: str = "test_error",
    over: str | Sequence[str] = (),
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    inputs: Inputs = None,
    init: str | None = None,
    u: ArrayLike | None = None,
    pi: ArrayLike | None = None,
    bulk: str | None = None,
    loss: LossLike = "square",
    labels: str = "real",
    flip: float = 0.0,
    rtol: float = 1e-8,
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = None,
    **parameters: Unpack[Parameters],
) -> PhaseDiagram:
    r"""Return one quantity of the theory over any two parameters.

    ``value[i, j] = V(y_i, x_j)`` with everything else fixed, ``V`` an error of `theory.solve` or
    the gain ``test_error(no step) / test_error(step)``. The two parameters that are given as
    one-dimensional arrays span the diagram, the first of them horizontally. Ridge and step size can
    be the best ones at every point: ``V`` is then the value at this optimum, or the optimum itself.

    Parameters
    ----------
    value : {"test_error", "train_error", "excess_error", "norm", "gain", "lam", "eta"}
        What to compute; ``lam`` and ``eta`` are the best ones. With the best ridge, the gain
        compares with random features that have their own best ridge.
    over : {"lam", "eta"} or sequence of these, optional
        What to optimise at every point (`theory.optimise`) rather than give.
    bounds : dict, optional
        Of what is optimised, as in `theory.optimise`, in numbers.
    activation, target, inputs, init, bulk, loss, labels, flip, rtol
        As in `theory.solve`; one ``flip`` for all points. With signs errors are rates, and optima
        (``over``) are those of the rate.
    step : GradientStep, Spike or Layer, optional
        The step, if none of its parameters varies. Otherwise give ``eta`` and ``alpha0``, or
        ``r``, ``c`` and ``gamma``. With none of these, plain random features.
    u : float or array_like, shape (K,), optional
        Values of the initial readout, with ``eta`` and ``alpha0``.
    pi : array_like, shape (K,), optional
        Their proportions.
    workers : int, optional
        Pieces computed at a time; by default what `joblib.parallel_config` says, or one for each
        core. On threads, unless that names another backend, such as ``"loky"`` for processes or
        ``"dask"`` for a cluster. The result does not depend on it.
    checkpoint : str or path, optional
        A file that keeps what has been computed (`spikedrf.running.checkpoint`). The same call
        with the same file goes on where another was interrupted or killed, and gives the same
        result bit for bit; once complete, it is read back.
    progress : callable or bool, optional
        Called as ``progress(finished, points)`` after each piece; with a checkpoint, finished
        points are on the disk. True shows a bar, which needs tqdm.
    alpha, lam, beta, noise, eta, alpha0, r, c, gamma, steps : float or array_like
        As in `theory.solve`, `GradientStep` and `Spike`: two of them one-dimensional, the others
        numbers. ``alpha`` and ``lam`` are needed unless optimised; ``beta`` is 1 and ``noise`` 0
        unless given. ``r`` and ``c`` belong to a single readout group. ``steps`` is the number of
        equal steps of size ``eta``, each on ``alpha0 d`` samples; 1 unless given, 0 is none. With
        a list of steps as ``step``, ``eta_1``, ``alpha0_2`` and so on are those of one of them.

    Returns
    -------
    PhaseDiagram
        With ``x``, ``y``, ``value``, ``success``, ``status``, ``side``, ``to_xarray()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, missing, of the wrong kind or out of range, if not exactly two
        are arrays, or as `theory.solve`; the message names the argument.
    MemoryError
        If there is none for a diagram of this size (13 bytes a point, and one for each parameter
        that is optimised).
    CheckpointMismatch
        If the checkpoint is that of another diagram; the message says what changed.
    OSError
        If the checkpoint cannot be written.
    PhaseDiagramInterrupted
        On Ctrl-C; a `KeyboardInterrupt` whose ``partial`` holds the points that had finished.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``; they have ``success=False``.

    Notes
    -----
    Source: theory.md, sections 2 to 6. Points that share a spike share its tables, and are kept
    together: where neither parameter changes the spike (``alpha``, ``beta``, ``lam``, and
    ``noise`` at a given `Spike`) a point costs microseconds, where both do, a set of tables. Only
    the value is kept, 13 bytes a point. An optimum takes some fifty points in ``lam``, some forty
    sets of tables in ``eta``, and for both a best ridge at each of these. On Ctrl-C pieces that
    have begun are lost, the others are in the checkpoint.

    Examples
    --------
    >>> from spikedrf import theory
    >>> theory.phase_diagram(
    ...     value="gain", target="sin", alpha=2.0, lam=0.1, eta=[0.0, 1.0, 3.0], alpha0=[1.0, 20.0]
    ... ).value.round(3)
    array([[1.   , 1.457, 1.32 ],
           [1.   , 2.908, 6.713]])
    >>> theory.phase_diagram(
    ...     value="eta", over="eta", target="sin", alpha=[1.0, 3.0], alpha0=[1.0, 20.0], lam=0.1
    ... ).value.round(3)
    array([[1.582, 1.319],
           [4.821, 4.727]])
    """
    if value not in VALUES:
        raise ValueError(f"value must be one of {', '.join(VALUES)}, got {value!r}")
    names = names_among("over", over, OVER)
    if value in OVER and value not in names:
        raise ValueError(f"value={value!r} is the best {value}: over must name it, got {over!r}")
    kind = losses.resolve(loss)
    labels = losses.check_labels(labels, kind, numbers_of(inputs))
    points = mesh(parameters, step, u, pi, names)
    own = producer_of(step).own_bulk if bulk is None else bulk
    check_bulk(own)
    plan = _Plan(
        value,
        points,
        resolve(activation, "activation"),
        resolve_target(target),
        {"bulk": own, "loss": kind, "rtol": rtol, "inputs": inputs, "init": init},
        {"labels": labels, "flip": one_number("flip", flip, minimum=0.0, maximum=0.5)},
        dict(bounds or {}),
    )
    count = points.shape[0] * points.shape[1]
    require_memory((13 + len(names)) * count, "the diagram", "choose coarser grids")
    at_a_time = worker_count(workers)
    plan.check()
    out = plan.room()
    pieces = plan.mesh.pieces()
    left = set(range(len(pieces)))
    finished = 0

    def put(number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        nonlocal finished
        for name, array in arrays.items():
            out[name][pieces[number]] = array
        finished += arrays["value"].size
        left.discard(number)

    with ExitStack() as stack:
        report = stack.enter_context(reporting(progress, count, "point"))
        file: Checkpoint | None = None
        if checkpoint is not None:
            file = stack.enter_context(Checkpoint(checkpoint, plan.specification()))
            for number, arrays in file.finished():
                if number in left:
                    put(number, arrays)
            if report and finished:
                report(finished, count)
        order = sorted(left)
        try:
            todo = [pieces[number] for number in order]
            with closing(as_finished(plan.compute, todo, at_a_time)) as results:
                for position, arrays in results:
                    if file is not None:
                        file.add(order[position], arrays)
                    put(order[position], arrays)
                    if report:
                        report(finished, count)
        except KeyboardInterrupt:
            for number in left:
                out["status"][pieces[number]] = NOT_COMPUTED
            raise PhaseDiagramInterrupted(
                f"interrupted after {finished} of {count} points",
                plan.diagram(out) if finished else None,
            ) from None

    plan.refuse_impossible(out["status"])
    diagram = plan.diagram(out)
    _warn(diagram, float(rtol))
    return diagram


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is computed at the points of a mesh."""

    value: str
    mesh: Mesh
    sigma: Activation
    g: Activation | MultiIndex
    solver: dict[str, Any]  # bulk, loss, rtol, inputs, init
    labels: dict[str, Any]  # labels, flip
    bounds: dict[str, tuple[float | None, float | None]]

    @property
    def law(self) -> Population | None:
        """The inputs and labels, unless inputs are white and the target has one direction."""
        of = self.solver["inputs"], self.g, self.solver["init"]
        step = GradientStep(1.0, 1.0) if self.mesh.by_parameters else self.mesh.step
        return latents_of(*of, step, self.solver["bulk"])[0]

    @property
    def ridge(self) -> bool:
        """Whether the readout is ridge regression of real labels."""
        return bool(self.solver["loss"] == losses.Square() and self.labels["labels"] == "real")

    def check(self) -> None:
        """Raise now what would be raised at some point of the diagram later."""
        functions: dict[str, Any] = {"activation": self.sigma, "target": self.g}
        over = self.mesh.over
        possible = False
        refuse: Callable[[], object] = bool
        for piece in self.mesh.pieces():
            values, step = self.mesh.at(piece)
            if self.value == "gain" and step is None:
                raise ValueError(
                    "value='gain' compares a step with none: give eta and alpha0, a spike or a step"
                )
            of = self.solver["inputs"], self.g, self.solver["init"]
            law = latents_of(*of, step, self.solver["bulk"])[0]
            if law is not None:
                given = {n: v for n, v in self.solver.items() if n not in ("loss", "rtol")}
                # A first point says what the others would.
                rows, columns = (slice(part.start, part.start + 1) for part in piece)
                values, step = self.mesh.at((rows, columns))
                with one_warning_for_all():
                    solve(**values, step=step, **functions, **given)
                possible = True
                continue
            produce = producer_of(step).first_layer
            produce(self.sigma, self.g, values["noise"], bulk=self.solver["bulk"])
            if not self.ridge:
                flip = {"flip": np.asarray(self.labels["flip"])}
                batch = pose(**values, step=step, **functions, also=flip)
                asked = batch, self.solver["loss"], self.labels["labels"]
                with one_warning_for_all():
                    undefined = convex.set_undefined_aside(*asked)[1]
                possible = possible or not undefined.all()
                refuse = partial(convex.refuse_undefined, *asked)
            elif not possible and np.any(values["lam"] == 0):
                infinite = pose(**values, step=step, **functions)
                with one_warning_for_all():
                    possible = not set_infinite_aside(infinite)[1].all()
                refuse = partial(set_infinite_aside, infinite)
            else:
                possible = True
        if not possible:
            refuse()
        if over:
            check_over(over, step)
        elif self.bounds:
            raise ValueError("bounds are of what is optimised, and over names nothing")
        others = {name: value for name, value in self.solver.items() if name != "bulk"}
        solve([], lam=1.0, **functions, **others, **self.labels)
        if over:
            empty = GradientStep(1.0, 1.0) if "eta" in over else None
            given = functions | others | self.labels
            optimise([], lam=1.0, step=empty, over=over, bounds=self.bounds, **given)
        for name, ends in self.bounds.items():
            if any(end is not None and np.ndim(end) for end in ends):
                raise ValueError(f"bounds of {name} must be numbers, got {ends!r}")

    def refuse_impossible(self, status: NDArray[np.int32]) -> None:
        """Raise what one point raises, if all have turned out to have no answer."""
        if self.mesh.over or not np.isin(status, (INFINITE, UNDEFINED)).all():
            return
        values, step = self.mesh.at((slice(0, 1), slice(0, 1)))
        functions: dict[str, Any] = {"activation": self.sigma, "target": self.g}
        solve(**values, **functions, **self.solver, **self.labels, step=step)

    def room(self) -> dict[str, NDArray[Any]]:
        """Arrays for what is computed."""
        out: dict[str, NDArray[Any]] = {
            "value": np.full(self.mesh.shape, np.nan),
            "status": np.zeros(self.mesh.shape, dtype=np.int32),
        }
        sides = (f"side_{name}" for name in self.mesh.over)
        return out | {side: np.zeros(self.mesh.shape, dtype=np.int8) for side in sides}

    def diagram(self, out: dict[str, NDArray[Any]]) -> PhaseDiagram:
        """Label what was computed."""
        (y_name, x_name), (y, x) = self.mesh.names, self.mesh.axes
        return PhaseDiagram(
            x_name=x_name,
            y_name=y_name,
            x=x,
            y=y,
            value_name=self.value,
            value=out["value"],
            success=out["status"] == 0,
            status=out["status"],
            side={name: out[f"side_{name}"] for name in self.mesh.over},
            parameters=self.fixed(),
        )

    def compute(self, piece: Piece) -> dict[str, NDArray[Any]]:
        """Solve the points of a rectangle."""
        values, step = self.mesh.at(piece)
        shape = tuple(a[part].size for a, part in zip(self.mesh.axes, piece, strict=True))
        values |= {"activation": self.sigma, "target": self.g, "workers": 1}
        with one_warning_for_all():
            best = solution = self._solve(values, step, self.solver)
            plain = None
            if self.value == "gain":
                # Nothing of the step matters here: without its axes this is fewer points.
                plain = self._solve(values, None, self.solver | {"bulk": "isotropic"})
        side: dict[str, Any] = {}
        if isinstance(best, Optimum):
            solution, side = best.solution, best.side
        status = best.status
        if self.value in OVER:
            value = getattr(best, self.value)
        elif plain is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                value = np.divide(plain.test_error, solution.test_error)
            status = np.where(np.equal(status, 0), plain.status, status)
        else:
            value = getattr(solution, self.value)
        out = {"value": value, "status": np.asarray(status, dtype=np.int32)}
        out |= {f"side_{name}": array for name, array in side.items()}
        return {name: np.broadcast_to(array, shape) for name, array in out.items()}

    def _solve(self, values: dict[str, Any], step: Any, solver: dict[str, Any]) -> Any:
        """Solve points, or optimise what the step leaves to be optimised."""
        over = tuple(name for name in self.mesh.over if name != "eta" or step is not None)
        if not over:
            return solve(**values, **solver, **self.labels, step=step)
        bounds = {name: ends for name, ends in self.bounds.items() if name in over}
        return optimise(**values, **solver, **self.labels, step=step, over=over, bounds=bounds)

    def fixed(self) -> dict[str, Any]:
        """Collect what is the same at every point, for labels."""
        functions = {"activation": self.sigma.name, "target": self.g.name}
        over: dict[str, Any] = {"over": list(self.mesh.over)} if self.mesh.over else {}
        over |= {f"bounds of {name}": list(ends) for name, ends in self.bounds.items()}
        loss = self.solver["loss"]
        solver = self.solver | {"loss": loss.name, **vars(loss)}
        solver = {name: value for name, value in solver.items() if name not in ("inputs", "init")}
        if self.law is not None:
            solver |= {"inputs": repr(self.solver["inputs"]), "init": self.solver["init"]}
        signs = self.labels if self.labels["labels"] == "sign" else {}
        return self.mesh.fixed() | functions | solver | signs | over

    def specification(self) -> dict[str, Any]:
        """Everything that the numbers of the diagram depend on."""
        y, x = self.mesh.names
        rows, columns = self.mesh.pieces()[0]
        return {
            "command": "phase_diagram",
            "version": spikedrf.__version__,
            "value": self.value,
            "x": x,
            "y": y,
            **self.fixed(),
            "activation": self.sigma.fingerprint,
            "target": self.g.fingerprint,
            **({} if self.law is None else {"inputs": self.law.fingerprint}),
            **dict(zip(self.mesh.names, self.mesh.axes, strict=True)),
            "piece": [rows.stop, columns.stop],
        }


def _warn(diagram: PhaseDiagram, rtol: float) -> None:
    lost = np.argwhere(~diagram.success)
    if not lost.size:
        return
    i, j = (int(index) for index in lost[0])
    newton = int(np.count_nonzero(diagram.status == 2))
    infinite = int(np.count_nonzero(diagram.status == INFINITE))
    undefined = int(np.count_nonzero(diagram.status == UNDEFINED))
    what = "have no answer" if infinite + undefined == len(lost) else f"did not reach rtol={rtol:g}"
    text = (
        f"{len(lost)} of {diagram.success.size} points {what}, the first at "
        f"{diagram.x_name}={diagram.x[j]:g}, {diagram.y_name}={diagram.y[i]:g}; they have "
        f"success=False."
    )
    if infinite + undefined < len(lost):
        text += " Raise rtol, or look at status."
    text += about_infinite(infinite) + about_undefined(undefined)
    doubtful = int(np.count_nonzero(diagram.status == 5))
    if doubtful:
        text += (
            f" The optimum of {doubtful} is in doubt: the error still falls where it is not known."
        )
    if newton:
        text += f" {newton} of them did not converge at all and are NaN: raise lam."
    warnings.warn(text, ConvergenceWarning, stacklevel=3)
