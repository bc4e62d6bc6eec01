"""Exact high-dimensional asymptotics of the spiked random features model."""

from spikedrf.theory.solution import Solution
from spikedrf.theory.solve import solve

__all__ = ["Solution", "solve"]
