"""Two-layer networks after large gradient steps: exact theory, simulation, estimator."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikedrf import losses, theory
    from spikedrf.callables import Function
    from spikedrf.estimators import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor
    from spikedrf.first_layer.transfer import Transfer
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
    from spikedrf.theory.small_step import SmallStep

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
    "SmallStep",
    "Spike",
    "SpikedRFClassifier",
    "SpikedRFRegressor",
    "SpikedRandomFeatures",
    "Transfer",
    "__version__",
    "losses",
    "simulate",
    "simulate_spectrum",
    "theory",
]

# The module that each name is imported from when it is first asked for: nobody waits for
# scikit-learn who wants the theory, nor for the theory who wants to know the version.
_ORIGIN = {
    "ConvergenceWarning": "parameters",
    "Covariance": "inputs",
    "DataWarning": "inputs",
    "Function": "callables",
    "GradientStep": "step",
    "Mixture": "inputs",
    "MultiIndex": "multi_index",
    "SimulatedSpectrum": "simulation",
    "Simulation": "simulation",
    "SimulationFailed": "simulation",
    "SimulationInterrupted": "simulation",
    "SmallStep": "theory.small_step",
    "Spike": "step",
    "SpikedRFClassifier": "estimators",
    "SpikedRFRegressor": "estimators",
    "SpikedRandomFeatures": "estimators",
    "Transfer": "first_layer.transfer",
    "simulate": "simulation",
    "simulate_spectrum": "simulation",
}


def __getattr__(name: str) -> Any:
    if name in ("losses", "theory"):
        return import_module(f"spikedrf.{name}")
    if name not in _ORIGIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"spikedrf.{_ORIGIN[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
