r"""
Classes of inputs, and inputs with a covariance
===============================================

Nobody's inputs are white. `Mixture` gives them classes, `Covariance` a spectrum; theory and
simulation take both.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import Covariance, GradientStep, Mixture, simulate, theory

# %%
# Two classes, one of them rare
# -----------------------------
# The label is +1 or -1 by class, a fifth of the samples are +1. Least squares on such labels errs
# mostly on the rare class; a weight in the loss for its samples trades the two. Rates of wrong
# signs come by class.

means, shares = [[1.0, 0.5], [-1.0, -0.5]], [0.2, 0.8]
network = {"activation": "relu", "lam": 0.3, "step": GradientStep(eta=1.0, alpha0=5.0)}
weights = np.geomspace(1.0, 10.0, 15)
rates = []
for weight in weights:
    classes = Mixture(means, proportions=shares, labels=[1, -1], weights=[weight, 1.0])
    rates.append(theory.solve(2.0, inputs=classes, **network).class_error_rate)
rates = np.array(rates)
figure, ax = plt.subplots(layout="constrained")
ax.semilogx(weights, rates[:, 0], label="rare class")
ax.semilogx(weights, rates[:, 1], label="common class")
ax.semilogx(weights, rates.mean(axis=1), "--", color="black", label="balanced error")

# %%
# Networks of 200 dimensions beside it:

for weight in (1.0, 4.0):
    classes = Mixture(means, proportions=shares, labels=[1, -1], weights=[weight, 1.0])
    measured = simulate(2.0, d=200, inputs=classes, replicates=8, rng=0, **network)
    for k, color in enumerate(("C0", "C1")):
        ax.errorbar(
            weight, measured.class_error_rate[k], measured.class_error_rate_sem[k], fmt="o",
            color=color,
        )  # fmt: skip
ax.set(xlabel="weight of the rare class", ylabel="rate of wrong signs")
ax.legend()

# %%
# A power law, with the target at its head or at its tail
# -------------------------------------------------------
# Eigenvalues ``k^-0.5``. A target whose variance lies on the first eigenvectors is learned from few
# samples, one on the last from many.

alpha = np.geomspace(0.1, 30, 40)
figure, ax = plt.subplots(layout="constrained")
for exponent, label in ((0.8, "head"), (None, "everywhere"), (-2.0, "tail")):
    law = Covariance.power_law(0.5, target_exponent=exponent)
    solution = theory.solve(alpha, lam=0.05, target="sin", noise=0.1, inputs=law)
    ax.loglog(alpha, solution.test_error, label=label)
ax.set(xlabel=r"samples over dimension $\alpha$", ylabel="test error")
ax.legend(title="the target is at the")

# %%
# Rows of the first layer
# -----------------------
# Gaussian rows are not all of one length. That matters at leading order: to first approximation
# each neuron then has another slope, and the readout can use it.

for init in ("sphere", "gaussian"):
    solution = theory.solve(
        3.0, lam=0.1, activation="relu", target="tanh", noise=0.1, init=init,
        step=GradientStep(2.0, np.inf),
    )  # fmt: skip
    print(init, round(solution.test_error, 4))

plt.show()
