r"""
What a larger vocabulary buys
=============================

With one value of the initial readout all neurons move alike, and the network learns one nonlinear
function of the direction that it has found. Each further value adds one: the *vocabulary* of
functions that the readout can combine.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, theory

vocabularies = {
    "1": [1.0],
    "1, -1": [1.0, -1.0],
    "1, 1/3": [1.0, 1 / 3],
    "1, 1/2, 1/5": [1.0, 0.5, 0.2],
}
setting = {"activation": "tanh", "target": "sin", "beta": 4.0}

# %%
# However many samples there are, what part of the target's variance can each vocabulary explain?
# For an odd activation the values 1 and -1 give the same function but for its sign, so the second
# one adds nothing.

kappa = np.linspace(-4, 4, 300)
figure, ax = plt.subplots(layout="constrained")
ax.plot(kappa, np.sin(kappa), color="black", linewidth=1, label="target")
for name, u in vocabularies.items():
    step = GradientStep(eta=6.0, alpha0=50.0, u=u)
    best = theory.best_function(step=step, **setting)
    linear = best.linear / best.variance
    print(f"u = {name}: {best.explained:.2%} explained, by a linear function {linear:.2%}")
    ax.plot(kappa, best(kappa), label=f"u = {name}")
ax.set(
    xlabel=r"$\kappa = \langle v, x\rangle$",
    ylabel="best function",
    title="One function for each value of the readout",
)
ax.legend(frameon=False)
