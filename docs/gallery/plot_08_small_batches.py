r"""
Small batches: the trained network itself
=========================================

The spiked model takes what the step leaves beside the spike as isotropic. With few samples it is
not: all neurons saw the same ones. ``bulk="network"`` uses the spectrum that the trained layer
really has, in closed form.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, simulate, theory

setting = {"activation": "tanh", "target": "tanh", "lam": 0.05}
alpha = np.geomspace(0.3, 5, 40)
step = GradientStep(eta=3.0, alpha0=0.5)
model = theory.solve(alpha, step=step, **setting)
network = theory.solve(alpha, step=step, bulk="network", **setting)
print(f"largest difference: {np.max(network.test_error / model.test_error - 1):.1%}")

# %%
# Which of the two do networks follow? Twelve of them, trained at :math:`d = 300`:

points = np.array([0.5, 1.5, 4.0])
trained = simulate(points, d=300, step=step, model="network", replicates=12, rng=0, **setting)
figure, ax = plt.subplots(layout="constrained")
ax.plot(alpha, model.test_error, "--", label="isotropic bulk: the spiked model")
ax.plot(alpha, network.test_error, label="the trained network's bulk")
ax.errorbar(
    points,
    trained.test_error,
    trained.test_error_sem,
    fmt="o",
    color="black",
    markerfacecolor="white",
    capsize=2,
    label="trained networks",
)
ax.set(
    xlabel=r"$\alpha = n/d$",
    ylabel="test error",
    title=r"A step on half as many samples as dimensions, $\alpha_0$ = 0.5",
)
ax.legend(frameon=False)

# %%
# The two agree for large batches. The closed form exists for one readout value, and for several
# if the activation is odd; elsewhere ``bulk="network"`` is a ``ValueError`` that says so.
