"""Finite-size experiments: the spiked model and the trained network itself."""

from spikedrf.simulation.errors import Simulation, simulate
from spikedrf.simulation.replicates import SimulationFailed, SimulationInterrupted
from spikedrf.simulation.spectrum import SimulatedSpectrum, simulate_spectrum

__all__ = [
    "SimulatedSpectrum",
    "Simulation",
    "SimulationFailed",
    "SimulationInterrupted",
    "simulate",
    "simulate_spectrum",
]
