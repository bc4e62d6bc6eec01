"""`Solution`: the result of `solve`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import labelled
from spikedrf.activations import Activation
from spikedrf.first_layer.model import Spike
from spikedrf.parameters import real_array
from spikedrf.theory.bias_and_variance import Ensemble
from spikedrf.theory.calibration import Calibration, Field, calibration
from spikedrf.theory.latents.output import learned_function
from spikedrf.theory.latents.solve import Solved
from spikedrf.theory.output import averaged_output

Floats = NDArray[np.float64]

_SCALARS = (
    "test_error",
    "train_error",
    "excess_error",
    "norm",
    "test_loss",
    "train_loss",
    "residual",
    "quadrature_error",
)
_COUNTS = ("success", "status", "nit", "nodes")
_VECTORS = ("m", "theta", "psi", "q2", "V2")
_MATRICES = ("q1", "V1")


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    r"""Solution of the self-consistent equations, for one point or an array of them.

    Attributes
    ----------
    test_error : float or ndarray, shape S
        Mean squared error on fresh samples, label noise included; ``S`` is the broadcast shape of
        the parameters. With sign labels the rate of wrong signs.
    train_error : float or ndarray, shape S
        Mean squared training residual; with sign labels the rate of wrong signs in training.
    excess_error : float or ndarray, shape S
        ``test_error - noise**2``, without the cancellation; with sign labels what ``test_error`` is
        above the error of the best classifier, `theory.bayes_error`, whose accuracy is part of
        ``quadrature_error``.
    test_loss, train_loss : float or ndarray, shape S
        Mean loss of fresh and of training samples, without the penalty.
    margin, train_margin : float or ndarray, shape S, or None
        With sign labels the mean of ``y h``, over fresh and over training samples.
    norm : float or ndarray, shape S
        ``|a|^2 / p`` of the readout.
    m, theta, psi, q2, V2 : ndarray, shape S + (K,)
        Order parameters of theory.md, section 4. ``psi`` has a last axis for the latents beside the
        spike where there are several.
    q1, V1 : ndarray, shape S + (K, K)
        The same; ``q1`` has the part of the latents along which all classes have mean zero.
    success : bool or ndarray, shape S
        Whether the point reached ``rtol``.
    status : int or ndarray, shape S
        0 converged; 1 the errors still moved by more than ``rtol`` on the finest quadrature rule;
        2 Newton's method for the responses did not converge (values are NaN); 3 readout groups
        are so nearly alike that rounding may have spoilt more than ``rtol``; 6 the limit is
        right, but rests on an ``m`` beyond 1e15 (in units of labels over features): the features
        hardly have a mean for it to multiply, and a network of p neurons comes near the limit
        for ``p >> m**2`` only; 7 ``lam = 0`` where the limit is infinite (at the interpolation
        threshold, or where features die out along a spike): the errors are ``inf``, the order
        parameters NaN; 8 ``lam = 0``, ``alpha = inf`` or labels that are all the same,
        where there is no formula for that (values are NaN). Small rates of wrong signs are judged
        relative to 1e-6 (test) and 1e-4 (training).
    nit : int or ndarray, shape S
        Newton iterations, over all quadrature rules.
    residual : float or ndarray, shape S
        Largest relative violation of the equations for the responses.
    nodes : int or ndarray, shape S
        Nodes of the finest quadrature rule used.
    quadrature_error : float or ndarray, shape S
        Relative change of ``test_error`` from the last rule but one to the last, an upper
        estimate of what the quadrature still leaves; never below the estimated rounding error.
    bulk_error : float or ndarray, shape S
        With ``bulk="network"`` and several readout values whose bulks do not commute, how far the
        nodes that stand for them are from the exact resolvent, relatively and in the root mean
        square: an upper estimate of what that does to the errors. With ``init``, where neurons'
        lengths are correlated with their rows, it includes what a much simpler fit of that to the
        nodes changes in the test error, which is more than the fit loses. 0 where nodes are exact.
    spike : Spike
        The spiked model that was solved.
    class_error : ndarray, shape S + (C,), or None
        ``test_error`` of each class, for `Mixture` inputs; NaN for classes of proportion zero.
    class_error_rate : ndarray, shape S + (C,), or None
        Rate of wrong signs in each class, where the labels are +1 and -1 by class.
    proportions : ndarray, shape (C,), or None
        Of the classes.
    ensemble : Ensemble or None
        With ``ensemble=`` the errors of the average of several networks, and the split of the error
        into bias and variances; ``test_error`` and ``excess_error`` are then the average's.
    inputs : Covariance, Mixture or None
        The inputs; None is N(0, I).
    target, init : str
        Name of the target, and rows of the first layer before the step.
    bulk, loss, labels : str
        The first layer's bulk, the readout's loss, and what it learns: real labels or signs.
    parameters : dict
        The parameters as given, for labels.
    about : dict
        Names of activation and target, and the step with its vocabulary, for labels.
    """

    test_error: Any
    train_error: Any
    excess_error: Any
    norm: Any
    m: Floats
    theta: Floats
    psi: Floats
    q1: Floats
    q2: Floats
    V1: Floats
    V2: Floats
    success: Any
    status: Any
    nit: Any
    residual: Any
    nodes: Any
    quadrature_error: Any
    spike: Spike
    test_loss: Any
    train_loss: Any
    margin: Any = None
    train_margin: Any = None
    class_error: Any = None
    class_error_rate: Any = None
    proportions: Any = None
    ensemble: Ensemble | None = None
    inputs: Any = None
    target: str = ""
    init: str = "sphere"
    bulk: str = "isotropic"
    bulk_error: Any = 0.0
    loss: str = "square"
    labels: str = "real"
    parameters: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    _activation: Activation | None = None
    _target: Activation | None = None
    _solved: Solved | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.test_error)

    @property
    def error_rate(self) -> Any:
        """Rate of wrong signs on fresh samples.

        Raises
        ------
        AttributeError
            If the labels are real, and not +1 and -1 by class.
        """
        if self.class_error_rate is not None:
            return np.nan_to_num(self.class_error_rate) @ self.proportions
        return self._rate("error_rate", self.test_error)

    @property
    def train_error_rate(self) -> Any:
        """Rate of wrong signs on the training samples.

        Raises
        ------
        AttributeError
            If the labels are real.
        """
        return self._rate("train_error_rate", self.train_error)

    @property
    def balanced_error(self) -> Any:
        """Mean over the classes of the rates of wrong signs.

        Raises
        ------
        AttributeError
            If the labels are not +1 and -1 by class.
        """
        if self.class_error_rate is None:
            raise AttributeError("balanced_error is for classes with the labels +1 and -1")
        return np.nanmean(self.class_error_rate, axis=-1)[()]

    def _rate(self, name: str, value: Any) -> Any:
        if self.labels != "sign":
            raise AttributeError(f"real labels have no {name}: solve with labels='sign'")
        return value

    def learned_function(self, kappa: ArrayLike, zeta: ArrayLike = 0.0) -> Any:
        r"""Return the network's output averaged over everything but ``kappa = <v, x>``.

        With inputs of their own or several directions it is averaged over everything but the
        latents, which are then the only argument: shape (..., L), the target's directions, then
        those of the means; one latent needs no axis.

        ``fhat(kappa) = sum_k (m_k mu0_k(kappa) + kappa theta_k mu1_k(kappa))``: constant for
        random features, one nonlinear function for each vocabulary entry after the step. Beside
        it the network keeps a part that is linear in ``zeta = <xi, x>``, the rest of the target
        direction (``theta = gamma v + sqrt(1 - gamma^2) xi``): ``zeta sum_k psi_k mu1_k(kappa)``.

        Parameters
        ----------
        kappa : float or array_like
            Projection of the input on the spike direction.
        zeta : float or array_like
            Projection on ``xi``; broadcasts against ``kappa``. At 0, its mean, nothing is added.

        Returns
        -------
        float or ndarray, shape S + that of kappa and zeta together

        Raises
        ------
        TypeError, ValueError
            If ``kappa`` or ``zeta`` is not finite and real.

        Notes
        -----
        Source: theory.md, sections 4 and 5.
        """
        assert self._activation is not None
        if self._solved is not None:
            if np.any(zeta):
                raise ValueError("zeta is not used here: give all latents as the first argument")
            return learned_function(self._solved, self._activation, kappa)[()]
        return averaged_output(
            self._activation, self.spike, (self.m, self.theta, self.psi), kappa, zeta
        )

    def learned_along_target(self, s: ArrayLike) -> Any:
        r"""Return the network's output averaged over everything but ``s = <theta, x>``.

        ``E_z fhat(gamma s + g' z, g' s - gamma z)`` with `learned_function` of ``kappa`` and
        ``zeta``, and ``g' = sqrt(1 - gamma^2)``: the two projections that make up ``s``. A
        straight line for random features, which is all that they learn.

        Parameters
        ----------
        s : float or array_like
            Projection of the input on the target direction.

        Returns
        -------
        float or ndarray, shape of s

        Raises
        ------
        TypeError, ValueError
            If ``s`` is not finite and real, or the solution holds more than one point.

        Notes
        -----
        Source: theory.md, section 5.
        """
        if self.shape:
            raise ValueError(f"the solution must be one point, got shape {self.shape}")
        if self._solved is not None:
            return self.learned_function(s)
        at = real_array("s", s)[..., None]
        r, _, gamma, _ = self.spike.arrays()
        # Without a spike any direction may be called v; one across theta leaves zeta = s.
        along = float(gamma) if np.any(r) else 0.0
        across = np.sqrt((1.0 - along) * (1.0 + along))
        z = np.linspace(-8.0, 8.0, 161)
        weight = np.exp(-0.5 * z**2)
        weight /= weight.sum()  # trapezoid rule: exact to rounding for functions of scale one
        return (self.learned_function(along * at + across * z, across * at - along * z) @ weight)[
            ()
        ]

    def calibration(self, p: ArrayLike) -> Calibration:
        r"""Return how often labels are +1 where the readout says that they are with probability p.

        ``P(y = 1 | sigmoid(omega) = p)`` over fresh samples, ``omega`` the network's output, and
        the density of ``sigmoid(omega)`` at ``p``. The readout is calibrated where the first is
        ``p``, too sure of itself where it is nearer to a half; the mean of what they differ by,
        over the density, is the expected calibration error. Where features saturate or die out
        along the spike the density has narrow peaks: far out, all outputs are the same.

        Parameters
        ----------
        p : float or array_like
            Probabilities, > 0 and < 1.

        Returns
        -------
        Calibration
            ``frequency`` and ``density``, of the shape of p, to 1e-6 relative.

        Raises
        ------
        AttributeError
            If the loss is not the logistic one, which alone gives probabilities.
        TypeError, ValueError
            If ``p`` is out of range, or the solution holds more than one point.

        Warns
        -----
        ConvergenceWarning
            Once for the call, if some are less accurate.

        Notes
        -----
        Source: theory.md, section 11 (the cavity field and the labels).

        Examples
        --------
        >>> from spikedrf import GradientStep, theory
        >>> model = {"loss": "logistic", "labels": "sign", "noise": 0.3}
        >>> step = GradientStep(eta=2.0, alpha0=5.0)
        >>> for lam in (0.01, 1.0):
        ...     solution = theory.solve(2.0, lam=lam, step=step, **model)
        ...     print(solution.calibration([0.5, 0.9]).frequency.round(3))
        [0.5   0.721]
        [0.5 0.9]
        """
        if self.loss != "logistic":
            raise AttributeError(f"loss {self.loss!r} gives no probabilities: 'logistic' does")
        if self.shape:
            raise ValueError(f"the solution must be one point, got shape {self.shape}")
        at = real_array("p", p, minimum=0.0, maximum=1.0)
        if ((at == 0.0) | (at == 1.0)).any():
            raise ValueError("p must be > 0 and < 1")
        assert self._activation is not None
        assert self._target is not None
        r, c, gamma, _ = self.spike.arrays()
        groups = self.m.size
        noise, flip = (np.ravel(self.parameters[name]) for name in ("noise", "flip"))
        field = Field(
            activation=self._activation,
            target=self._target,
            r=np.broadcast_to(r, (groups,)),
            c=np.broadcast_to(c, (groups,)),
            gamma=float(gamma) if np.any(r) else 0.0,
            noise=float(noise[0]),
            flip=float(flip[0]),
            m=self.m,
            theta=self.theta,
            psi=self.psi,
            q1=self.q1,
            q2=self.q2,
        )
        return Calibration(*(part.reshape(at.shape)[()] for part in calibration(field, at.ravel())))

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset``, its axes named after the parameters that vary along them.

        Attributes have all parameters, activation, target, step, ``u``, ``pi``, bulk, loss, labels.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        xarray = labelled.library("xarray", "to_xarray")
        dims, coords = labelled.axes(self.shape, self.parameters)
        variables: dict[str, Any] = {}
        for name in _SCALARS + _COUNTS:
            variables[name] = (dims, getattr(self, name))
        for name in _VECTORS:
            value = getattr(self, name)
            more = ["latent"] if np.ndim(value) > len(dims) + 1 else []
            variables[name] = ([*dims, "group", *more], value)
        for name in ("class_error", "class_error_rate"):
            if getattr(self, name) is not None:
                variables[name] = ([*dims, "class"], getattr(self, name))
        for name in _MATRICES:
            variables[name] = ([*dims, "group", "group_other"], getattr(self, name))
        if self.labels == "sign":
            for name in ("margin", "train_margin"):
                variables[name] = (dims, getattr(self, name))
        return xarray.Dataset(variables, coords=coords, attrs=self._attributes())

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``, one row for each point: parameters, then what came out.

        Order parameters have a column for each group (``m_0``, ``q1_0_1``). ``attrs`` are those
        of `to_xarray`.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        of_points = (*_SCALARS, "margin", "train_margin", *_COUNTS)
        names = (*of_points, "class_error", "class_error_rate", *_VECTORS, *_MATRICES)
        columns = {name: getattr(self, name) for name in names}
        return labelled.frame(self.shape, self.parameters, columns, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        kinds: dict[str, Any] = {"bulk": self.bulk, "loss": self.loss, "labels": self.labels}
        if self._solved is not None:
            kinds |= {"inputs": repr(self.inputs), "target": self.target, "init": self.init}
        return labelled.attributes(
            {"pi": self.spike.arrays()[3]}, self.about, self.parameters, kinds
        )

    def __getitem__(self, index: Any) -> Solution:
        """Return some of the points: an index or a slice for each axis of the call.

        Raises
        ------
        IndexError
            If there are no such points.
        """
        shape = self.shape
        if not shape:
            raise IndexError("the solution is one point and has no axis to index")
        flat = np.arange(np.size(self.test_error)).reshape(shape)[index]

        def pick(value: Any, more: int = 0) -> Any:
            array = np.asarray(value)
            tail = array.shape[array.ndim - more :]
            return np.broadcast_to(array, shape + tail)[index]

        changed: dict[str, Any] = {}
        names = _SCALARS + _COUNTS + _VECTORS + _MATRICES
        for name in (*names, "margin", "train_margin", "class_error", "class_error_rate"):
            value = getattr(self, name)
            if value is not None:
                changed[name] = pick(value, np.ndim(value) - len(shape))
        if np.ndim(flat) == 0:
            changed |= {name: changed[name].item() for name in _COUNTS}
        r, c, gamma, pi = self.spike.arrays()
        span = self.spike.span
        own = 2 if span > 1 else 1  # axes of r: groups and directions
        directions = np.ndim(gamma) - (r.ndim - own) if self._solved is not None else 0
        alignment = pick(gamma, max(directions, 0))
        spike = Spike(pick(r, own), pick(c, 1), alignment, pick(pi, 1), span)
        solved = self._solved
        if solved is not None:
            rows = np.ravel(flat)
            values = {name: value[rows] for name, value in solved.values.items()}
            solved = replace(solved, values=values, which=solved.which[rows], shape=np.shape(flat))
        parameters = {name: pick(value) for name, value in self.parameters.items()}
        about = {name: parameters.get(name, value) for name, value in self.about.items()}
        several = None
        if self.ensemble is not None:
            held = vars(self.ensemble)
            several = replace(
                self.ensemble,
                **{name: pick(held[name])[()] for name in held if name != "parameters"},
            )
        return replace(
            self, **changed, spike=spike, parameters=parameters, about=about, _solved=solved,
            ensemble=several,
        )  # fmt: skip

    def __repr__(self) -> str:
        about = ""
        if self._solved is not None:
            about = f", target={self.target!r}, inputs={self.inputs!r}"
        if not self.shape:
            return (
                f"Solution(test_error={self.test_error:.8g}, train_error={self.train_error:.8g}, "
                f"norm={self.norm:.8g}, success={bool(self.success)}, "
                f"quadrature_error={self.quadrature_error:.1e}{about})"
            )
        done = int(np.count_nonzero(self.success))
        span = "no points"
        if np.size(self.test_error):
            known = self.test_error[~np.isnan(self.test_error)]
            span = f"test_error {known.min():.4g} to {known.max():.4g}" if known.size else "all NaN"
        return (
            f"Solution(shape={self.shape}, {span}, {done} of {self.success.size} converged{about})"
        )
