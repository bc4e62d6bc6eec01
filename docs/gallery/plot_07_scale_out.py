r"""
Scale out: phase diagrams that can be killed
============================================

A point of the theory costs microseconds where it shares its spike with others, and a set of
tables where it does not. A map of ten thousand points takes a second, one of a million minutes at
most; and whatever takes longer than a cup of coffee should survive a power cut.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import plotting, theory

# %%
# How much does the step gain, over its size and its number of samples? Neither helps without the
# other: with few samples a large step follows noise.

folder = tempfile.TemporaryDirectory()
setting = {
    "value": "gain",
    "target": "sin",
    "alpha": 2.0,
    "lam": 0.05,
    "noise": 0.2,
    "eta": np.linspace(0.1, 8.0, 60),
    "alpha0": np.geomspace(0.1, 30.0, 40),
    "checkpoint": Path(folder.name) / "gain.sqlite",
}
diagram = theory.phase_diagram(**setting)
figure, ax = plt.subplots(layout="constrained")
plotting.PhaseDiagramDisplay(diagram).plot(ax=ax)

# %%
# With ``checkpoint=`` every finished piece is on the disk. The same call after a kill goes on
# where it was; a call with other parameters refuses the file, and says what changed.

try:
    theory.phase_diagram(**setting | {"noise": 0.3})
except ValueError as error:
    print(error)

# %%
# ``workers=`` sets the number of threads; no digit depends on it. ``simulate`` runs its
# replicates side by side in the same way, no more of them than memory allows, and takes a
# ``checkpoint=`` too. Under ``joblib.parallel_config("loky")`` or ``("dask")`` both run in
# processes or on a cluster.

again = theory.phase_diagram(**setting | {"workers": 1, "checkpoint": None})
print("identical on one thread:", np.array_equal(again.value, diagram.value))
folder.cleanup()
