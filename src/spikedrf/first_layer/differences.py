"""Central differences of sixth order."""

from __future__ import annotations

import numpy as np

#: Multiples of a step, and the weights of the values there over the step.
OFFSETS = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
WEIGHTS = np.array([-1.0, 9.0, -45.0, 45.0, -9.0, 1.0]) / 60.0
