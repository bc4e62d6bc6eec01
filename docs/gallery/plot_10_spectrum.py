r"""
What a step does to the features: their spectrum
================================================

How a ridge acts on the readout depends on the eigenvalues of the features, those of
:math:`\Phi^T \Phi / p`: along an eigenvector of eigenvalue :math:`x` the readout is shrunk by
:math:`x / (x + \lambda)`. The step changes them. `theory.spectrum` gives their density in the limit
of large networks, and `simulate_spectrum` those of a finite one.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, theory
from spikedrf.plotting import SpectrumDisplay

setting = {"activation": "relu", "target": "relu", "alpha": 2.0}
step = GradientStep(eta=3.0, alpha0=20.0)
display = SpectrumDisplay.from_simulation(d=500, step=step, rng=0, **setting)
before, after = display.spectra["without_step"], display.spectra["with_step"]
for name, spectrum in (("before", before), ("after", after)):
    print(f"{name}: from {spectrum.edges.min():.4f} to {spectrum.edges.max():.4f}")

# %%
# Lines are the theory, areas and steps the eigenvalues of one network of 500 neurons. The bulk has
# sharp ends, and the step moves both outwards: neurons share a direction, and what a sample makes
# of it decides how strongly all of them respond.
#
# Beside the bulk there are eigenvalues that grow with the network, one for every function of the
# spike that the neurons have in common. They are what the network learns the target with.

growth = ", ".join(f"{x:.3f} p" for x in after.growth)
print(f"after the step: isolated at {growth}")
simulated = display.simulated["with_step"]
print(f"of the simulated network: {simulated.eigenvalues[0, -1] / simulated.p:.3f} p")

# %%
# Of all the directions that the readout has, how many does a ridge leave it? Those are its degrees
# of freedom, the sum of :math:`x / (x + \lambda)` over all eigenvalues, and with the transform
# :math:`s(z)` of the spectrum they are :math:`p \, (1 - \lambda s(-\lambda))`.
#
# With half as many samples as neurons there can be no more than :math:`p/2`. Random features get
# there with a small ridge: they fit every sample. After a large step tanh saturates for samples far
# along the spike. All neurons respond alike to them, which makes eigenvalues over many decades,
# and no ridge is small enough.

few = {"activation": "tanh", "target": "sin", "alpha": 0.5}
large = GradientStep(eta=8.0, alpha0=20.0)
lam = np.geomspace(1e-8, 1e2, 200)
figure, ax = plt.subplots(layout="constrained")
for label, taken in (("no step", None), ("after a large step", large)):
    s = theory.stieltjes(-lam, step=taken, **few)
    ax.semilogx(lam, 1.0 - lam * s.real, label=label)
ax.axhline(0.5, color="black", linestyle=":", label="one for every sample")
ax.set(
    xlabel=r"$\lambda$",
    ylabel="degrees of freedom, over $p$",
    ylim=(0.0, 0.53),
    title="What the ridge leaves of the readout",
)
ax.legend(frameon=False)
