"""`trained_bulk`: the bulk of the trained network as nodes."""

from __future__ import annotations

from numpy.typing import ArrayLike

from spikedrf.activations import FunctionLike
from spikedrf.first_layer.bulk import BulkNodes
from spikedrf.first_layer.model import Producer
from spikedrf.first_layer.producers import producer_of


def trained_bulk(
    step: Producer,
    activation: FunctionLike = "tanh",
    target: FunctionLike = "tanh",
    noise: ArrayLike = 0.0,
    *,
    rtol: float = 1e-8,
) -> BulkNodes:
    r"""Return the bulk of the trained network, ``bulk="network"`` of `solve`, as nodes.

    All neurons have seen the same samples: given these, rows of group k have the covariance::

        Sigma_k = (I + a_k M)^2 + b_k S,
        M = (1/n0) sum_mu res_mu x_mu x_mu',      a_k = eta u_k h2
        S = (1/n0) sum_mu res_mu^2 x_mu x_mu',    b_k = (eta u_k)^2 (chk - h2^2)/alpha0

    Those of several groups commute if ``h2 = 0``. Else no common nodes have all of them; these are
    the nearest, and `BulkNodes.accuracy` says how near.

    Parameters
    ----------
    step : GradientStep or Layer
        With ``alpha0 > 0``; ``alpha0 = inf`` is the limit. A `Layer` has its own.
    activation, target, noise
        As for `solve`.
    rtol : float
        The nodes are as many as keep the errors of `solve` well within this.

    Returns
    -------
    BulkNodes
        Batch shape of the step and ``noise`` first.

    Raises
    ------
    TypeError, ValueError
        As `solve` with ``bulk="network"``.

    Notes
    -----
    Source: theory.md, section 10.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=0.5)
    >>> bulk = theory.trained_bulk(step)
    >>> float(round(bulk.trace @ bulk.value[:, 0], 6)), round(step.spike().c, 6)
    (1.692155, 1.692155)
    """
    layer = producer_of(step).first_layer(activation, target, noise, bulk="network")
    return layer.bulk.nodes(rtol)
