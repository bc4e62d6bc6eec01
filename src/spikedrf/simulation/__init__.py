"""Finite-size experiments: the spiked model and the trained network itself."""

from spikedrf.simulation.errors import Simulation, simulate
from spikedrf.simulation.replicates import SimulationFailed, SimulationInterrupted

__all__ = ["Simulation", "SimulationFailed", "SimulationInterrupted", "simulate"]
