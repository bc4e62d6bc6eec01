"""A covariance of the inputs, as a few eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.parameters import real_array

Floats = NDArray[np.float64]

# An eigenvalue with so few of the dimensions, so far above all others and with so much of the
# variance, is not part of a spectrum but a direction of its own.
_LONELY_SHARE, _LONELY_RATIO, _LONELY_VARIANCE = 0.1, 20.0, 0.02


@dataclass(frozen=True, eq=False, repr=False)
class Covariance:
    r"""Inputs ``x = Omega^{1/2} z``, ``z ~ N(0, I_d)``, with ``Tr Omega/d = 1``.

    ``Omega`` has J eigenvalues, each on a share of the dimensions. Eigenvalues are divided by their
    mean, since a scale of the inputs is one of the activation's argument: `scale` keeps it.

    Parameters
    ----------
    eigenvalues : array_like, shape (J,)
        Eigenvalues ``lambda_j >= 0``, not all zero.
    dimensions : array_like, shape (J,), optional
        Shares of the dimensions, >= 0, summing to one; equal by default.
    target : array_like, shape (J,) or (J, M), optional
        How the variance of ``<theta, x>`` is shared among the eigenspaces, for each of the target's
        directions: ``t_j^2 = lambda_j |theta_j|^2 / theta' Omega theta`` with ``theta_j`` the part
        of ``theta`` in eigenspace j. One column is for all directions. Within an eigenspace the
        parts of different directions are orthogonal. Columns sum to one; by default they are the
        shares of the dimensions.

    Attributes
    ----------
    eigenvalues, dimensions : ndarray, shape (J,)
        As given, the eigenvalues divided by their mean.
    target : ndarray, shape (J,) or (J, M), or None
        As given.
    scale : float
        Mean of the eigenvalues as given: the mean square of an input.
    accuracy : float
        Largest relative error of ``sum_j w_j lambda_j/(1 + x lambda_j)`` over x from 1e-3 to 1e3,
        for the dimensions and for the target, where the nodes stand for more eigenvalues
        (`power_law`); else 0.
    law : tuple of float, or None
        Exponents of the eigenvalues and of the target, of a power law.
    moments : float
        Averages of ``lambda^k`` over the dimensions and over the target are finite for k below
        this: infinite unless the nodes stand for a power law without end (`power_law`).
    linear, noise, link, link_noise, explained, non_gaussian
        What `from_data` found; else None.

    Raises
    ------
    TypeError, ValueError
        If an eigenvalue or a share is negative or not finite, the mean of the eigenvalues is zero,
        shares do not sum to one, lengths disagree, or one eigenvalue is far above all others on few
        dimensions: that is a direction, which belongs into the means of a `Mixture` or among the
        target's directions.

    Notes
    -----
    Source: theory.md, section 12.

    Examples
    --------
    >>> from spikedrf import Covariance
    >>> Covariance([5.0, 1.0], dimensions=[0.25, 0.75], target=[1.0, 0.0])
    Covariance(2 eigenvalues, 0.5 to 2.5)
    """

    eigenvalues: Any
    dimensions: Any = field(default=None, kw_only=True)
    target: Any = field(default=None, kw_only=True)
    scale: float = field(default=1.0, init=False)
    accuracy: float = field(default=0.0, init=False)
    moments: float = field(default=np.inf, init=False)
    law: tuple[float, float | None] | None = field(default=None, init=False)
    linear: Any = field(default=None, init=False)
    noise: float | None = field(default=None, init=False)
    link: Any = field(default=None, init=False)
    link_noise: float | None = field(default=None, init=False)
    explained: float | None = field(default=None, init=False)
    non_gaussian: float | None = field(default=None, init=False)
    _found: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        values = real_array("eigenvalues", self.eigenvalues, minimum=0.0)
        values = values.reshape(1) if values.ndim == 0 else values
        if values.ndim != 1 or not values.size:
            raise ValueError(
                f"eigenvalues must have shape (J,) with J >= 1, got shape {values.shape}"
            )
        count = values.size
        if self.dimensions is None:
            shares = np.full(count, 1.0 / count)
        else:
            shares = real_array("dimensions", self.dimensions, minimum=0.0)
            shares = shares.reshape(1) if shares.ndim == 0 else shares
            _check_shares("dimensions", shares, count, columns=False)
        mean = float(shares @ values)
        if not mean > 0.0:
            raise ValueError(
                f"eigenvalues must have a mean > 0 over the dimensions, got a mean of {mean!r}"
            )
        if self.target is not None:
            target = real_array("target", self.target, minimum=0.0)
            _check_shares("target", target, count, columns=True)
            _check_carried(target, values, shares)
            object.__setattr__(self, "target", target)
        if not self._found:
            _refuse_lonely(values, shares)
        object.__setattr__(self, "eigenvalues", values / mean)
        object.__setattr__(self, "dimensions", shares)
        object.__setattr__(self, "scale", mean)

    @classmethod
    def power_law(
        cls,
        exponent: float,
        *,
        target_exponent: float | None = None,
        nodes: int = 12,
        dimension: int | None = 1000,
    ) -> Covariance:
        r"""Return ``lambda_k ~ k^-exponent``, ``k = 1 .. dimension``, as nodes.

        The nodes are those of the Gauss rule, in the variable ``lambda^-1/4``, for the mean of the
        shares of the dimensions and of the target.

        Parameters
        ----------
        exponent : float
            >= 0.
        target_exponent : float, optional
            The target's share of variance along the k-th direction is ``~ k^-target_exponent``:
            positive for a target at the head, negative at the tail. By default it is spread evenly.
        nodes : int
            Number of eigenvalues, 2 to 64; `accuracy` is the error that they leave.
        dimension : int or None
            How far k goes, at least 2. A simulation has its own d, which should be this one if
            eigenvalues of the head matter. The theory takes them for a spectrum with many
            dimensions everywhere: after a step, with an exponent above some 0.3, single ones
            matter, and its numbers are only a guide (see the page on limits). None is the limit of
            many dimensions, ``lambda(u) = (1 - exponent) u^-exponent`` for u uniform in (0, 1):
            both exponents must be < 1 there, since the head would hold all the variance, and after
            a step or with Gaussian rows smaller still.

        Returns
        -------
        Covariance

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind or out of range.

        Examples
        --------
        >>> from spikedrf import Covariance
        >>> law = Covariance.power_law(0.5, target_exponent=0.8)
        >>> law, bool(law.accuracy < 1e-3)
        (Covariance(12 eigenvalues, 0.521 to 16.2), True)
        """
        from spikedrf.inputs.power_law import power_law_nodes

        values, shares, target, accuracy = power_law_nodes(
            exponent, target_exponent, nodes, dimension
        )
        made = cls(values, dimensions=shares, target=target, _found=True)
        object.__setattr__(made, "accuracy", accuracy)
        object.__setattr__(made, "law", (float(exponent), target_exponent))
        if dimension is None and exponent > 0.0:
            finite = (1.0 - max(target_exponent or 0.0, 0.0)) / exponent
            object.__setattr__(made, "moments", finite)
        return made

    @classmethod
    def from_data(cls, X: ArrayLike, y: ArrayLike | None = None) -> Covariance:
        r"""Read the covariance, and what a target sees of it, off rows.

        The eigenvalues are those of the population: nodes are fitted such that n of its rows would
        show the resolvent that these rows show (the companion equation of theory.md, section 10,
        read backwards), so the spread that n rows add is taken out. With labels, the linear
        direction is fitted on two halves of the rows, and products between the halves, in which
        their errors are independent, say how it lies across the eigenspaces. What no linear
        function explains is given as noise and as a function of the direction.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Rows. Their mean is taken off; each column in its own units, as given.
        y : array_like, shape (n,), optional
            Labels.

        Returns
        -------
        Covariance
            With ``target`` if there are labels, and then also

            * ``linear`` and ``noise``: the linear function, of the direction scaled to unit
              variance, and the standard deviation of what it leaves of rows left out: give them as
              ``target=`` and ``noise=``;
            * ``link`` and ``link_noise``: instead, a polynomial of the direction of degree up to 7,
              chosen on rows left out; the direction's ranks make it Gaussian for this;
            * ``explained``: share of the variance of y that the linear function explains, from
              rows left out;
            * ``non_gaussian``: largest Kolmogorov distance from the normal distribution among 50
              random projections and the target's direction.

        Raises
        ------
        TypeError, ValueError
            If the arrays are of the wrong kind or shape, there are fewer than 8 rows, or rows or
            labels do not vary.

        Warns
        -----
        DataWarning
            If projections are further from Gaussian than chance explains, with the number.

        Notes
        -----
        Source: theory.md, sections 10 and 12.
        """
        from spikedrf.inputs.rows import read_rows

        found = read_rows(X, y)
        made = cls(found.eigenvalues, dimensions=found.dimensions, target=found.target, _found=True)
        for name in ("linear", "noise", "link", "link_noise", "explained", "non_gaussian"):
            object.__setattr__(made, name, getattr(found, name))
        return made

    def shares(self, directions: int, latents: int | None = None) -> Floats:
        """Return the share of each eigenspace in each latent direction, shape (J, L).

        Parameters
        ----------
        directions : int
            Number M of the target's directions.
        latents : int, optional
            Number L of all latents: the target's directions, then others. Those for which nothing
            is given have the shares of the dimensions.

        Raises
        ------
        ValueError
            If shares are given for fewer directions than the target has.
        """
        total = directions if latents is None else latents
        out = np.repeat(self.dimensions[:, None], total, axis=1)
        if self.target is None:
            return out
        if self.target.ndim == 1:
            out[:, :directions] = self.target[:, None]
            return out
        given = self.target.shape[1]
        if given < directions and given != 1:
            raise ValueError(
                f"target of the covariance has shares for {given} directions, but the target has "
                f"{directions}"
            )
        if given > total:
            raise ValueError(
                f"target of the covariance has shares for {given} directions, but there are only "
                f"{total}: those of the target and those of the means"
            )
        if given == 1:
            out[:, :directions] = self.target
        else:
            out[:, :given] = self.target
        return out

    @property
    def isotropic(self) -> bool:
        """Whether all eigenvalues that have dimensions are equal."""
        used = self.eigenvalues[self.dimensions > 0]
        return bool(np.ptp(used) <= 1e-14 * used.max())

    def __repr__(self) -> str:
        low, high = self.eigenvalues.min(), self.eigenvalues.max()
        if self.eigenvalues.size == 1:
            return "Covariance(1 eigenvalue)"
        return f"Covariance({self.eigenvalues.size} eigenvalues, {low:.3g} to {high:.3g})"


def _check_shares(name: str, shares: Floats, count: int, *, columns: bool) -> None:
    allowed = f"({count},)" + (f" or ({count}, M)" if columns else "")
    if shares.shape[:1] != (count,) or shares.ndim > (2 if columns else 1) or not shares.size:
        raise ValueError(
            f"{name} must have shape {allowed}, one share for each of the {count} eigenvalues, got "
            f"shape {shares.shape}"
        )
    total = np.atleast_1d(shares.sum(axis=0))
    wrong = np.abs(total - 1.0) > 1e-8
    if wrong.any():
        raise ValueError(
            f"{name} must sum to one over the eigenvalues, got a sum of {float(total[wrong][0])!r}"
        )


def _check_carried(target: Floats, values: Floats, shares: Floats) -> None:
    """Refuse a target in eigenspaces without variance or without dimensions."""
    columns = target.reshape(values.size, -1)
    for why, empty in (("eigenvalue is 0", values == 0), ("share of dimensions is 0", shares == 0)):
        bad = empty[:, None] & (columns > 0)
        if bad.any():
            j = int(np.argwhere(bad)[0, 0])
            raise ValueError(
                f"target has the share {float(columns[j].max())!r} at index {j}, where the {why}: "
                f"nothing of the inputs is there"
            )


def _refuse_lonely(values: Floats, shares: Floats) -> None:
    used = np.flatnonzero((shares > 0) & (values > 0))
    top = used[np.argmax(values[used])]
    rest = values[used[values[used] < values[top]]]
    share = float(shares[used][values[used] == values[top]].sum())
    if (
        rest.size
        and share <= _LONELY_SHARE
        and values[top] >= _LONELY_RATIO * rest.max()
        and share * values[top] >= _LONELY_VARIANCE * (shares @ values)
    ):
        raise ValueError(
            f"eigenvalues: the largest, {float(values[top])!r} on a share {share:.3g} of the "
            f"dimensions, is {values[top] / rest.max():.3g} times the next: it is a direction of "
            f"its own, no part of a spectrum. Leave it out and make it a direction of the target "
            f"or of the means of a Mixture; at most {_LONELY_RATIO:g} times is allowed on a share "
            f"of {_LONELY_SHARE:g} or less"
        )
