"""Finite-size experiments: the spiked model and the trained network itself."""

from spikedrf.simulation.experiment import simulate
from spikedrf.simulation.replicates import SimulationFailed, SimulationInterrupted
from spikedrf.simulation.result import Simulation
from spikedrf.simulation.spectrum import SimulatedSpectrum, simulate_spectrum

__all__ = [
    "SimulatedSpectrum",
    "Simulation",
    "SimulationFailed",
    "SimulationInterrupted",
    "simulate",
    "simulate_spectrum",
]
