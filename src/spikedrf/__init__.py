"""Two-layer networks after one large gradient step: exact theory, simulation, estimator."""

from spikedrf import theory
from spikedrf.parameters import ConvergenceWarning
from spikedrf.simulation import Simulation, SimulationFailed, SimulationInterrupted, simulate
from spikedrf.step import GradientStep, Spike

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "GradientStep",
    "Simulation",
    "SimulationFailed",
    "SimulationInterrupted",
    "Spike",
    "__version__",
    "simulate",
    "theory",
]
