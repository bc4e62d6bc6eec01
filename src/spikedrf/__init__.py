"""Two-layer networks after one large gradient step: exact theory, simulation, estimator."""

from typing import TYPE_CHECKING, Any

from spikedrf import losses, theory
from spikedrf.callables import Function
from spikedrf.inputs import Covariance, DataWarning, Mixture
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import ConvergenceWarning
from spikedrf.simulation import (
    SimulatedSpectrum,
    Simulation,
    SimulationFailed,
    SimulationInterrupted,
    simulate,
    simulate_spectrum,
)
from spikedrf.step import GradientStep, Spike

if TYPE_CHECKING:
    from spikedrf.estimators import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "Covariance",
    "DataWarning",
    "Function",
    "GradientStep",
    "Mixture",
    "MultiIndex",
    "SimulatedSpectrum",
    "Simulation",
    "SimulationFailed",
    "SimulationInterrupted",
    "Spike",
    "SpikedRFClassifier",
    "SpikedRFRegressor",
    "SpikedRandomFeatures",
    "__version__",
    "losses",
    "simulate",
    "simulate_spectrum",
    "theory",
]

_ESTIMATORS = ("SpikedRFClassifier", "SpikedRFRegressor", "SpikedRandomFeatures")


def __getattr__(name: str) -> Any:
    """Import the estimators when they are first asked for: scikit-learn takes its time."""
    if name in _ESTIMATORS:
        from spikedrf import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ESTIMATORS})
