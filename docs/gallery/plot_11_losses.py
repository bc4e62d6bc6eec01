r"""
Classification and other losses
===============================

Ridge regression is not the only readout. ``loss=`` takes any of `spikedrf.losses`, and with
``labels="sign"`` the network learns signs instead of numbers; errors are then rates of wrong signs.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, losses, simulate, theory

model = {"target": "tanh", "noise": 0.3}
step = GradientStep(eta=2.0, alpha0=5.0)
alpha = np.geomspace(0.3, 10, 24)

# %%
# Three ways to learn signs on the same features, and how far each is from the best classifier:

signs = {"labels": "sign", "lam": 0.3, **model}
figure, ax = plt.subplots(layout="constrained")
for loss, color in {"logistic": "C0", "hinge": "C1", "square": "C2"}.items():
    after = theory.solve(alpha, step=step, loss=loss, **signs)
    before = theory.solve(alpha, loss=loss, **signs)
    ax.plot(alpha, after.error_rate, color=color, label=f"{loss} loss")
    ax.plot(alpha, before.error_rate, "--", color=color, linewidth=1)
ax.axhline(theory.bayes_error(**model), color="black", linestyle=":", label="best classifier")
points = np.array([0.5, 1.5, 5.0])
networks = simulate(points, d=300, step=step, loss="logistic", replicates=6, rng=0, **signs)
z = networks.z(theory.solve(points, step=step, loss="logistic", **signs))
print("standard errors from the theory:", np.round(z["test_error"], 1))
ax.errorbar(
    points,
    networks.test_error,
    networks.test_error_sem,
    fmt="o",
    color="C0",
    markerfacecolor="white",
    capsize=2,
    label="logistic, simulated",
)
ax.set(
    xscale="log",
    xlabel=r"$\alpha = n/d$",
    ylabel="rate of wrong signs",
    title="After the step, and without it (dashed)",
)
ax.legend(frameon=False)

# %%
# For numbers there are robust losses. Each at its own best ridge: as the noise here is Gaussian the
# square has nothing to fear, and the others cost little.

noise = np.linspace(0.0, 2.0, 9)
lam = np.geomspace(0.01, 10, 13)[:, None]
figure, ax = plt.subplots(layout="constrained")
for loss in ("square", losses.Huber(0.5), "absolute"):
    every = theory.solve(2.0, lam=lam, noise=noise, target="tanh", step=step, loss=loss)
    name = losses.resolve(loss).name
    ax.plot(noise, every.excess_error.min(axis=0), label=name)
ax.set(
    xlabel="standard deviation of the noise",
    ylabel="test error above the noise",
    title=r"The best of 13 ridges, $\alpha$ = 2",
)
ax.legend(frameon=False)

# %%
# `SpikedRFClassifier` and ``SpikedRFRegressor(loss=...)`` are these networks for data, and
# ``spikedrf curve --loss logistic --labels sign`` draws the first picture's curves.
