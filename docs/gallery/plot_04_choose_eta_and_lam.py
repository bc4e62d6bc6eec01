r"""
Choose the step and the ridge
=============================

How large should the step be, and how strong the ridge? ``theory.optimise`` finds the best of
either, or of both together, from exact derivatives, and says where the best is at a bound: no
step at all, or no ridge at all.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, theory

setting = {"activation": "tanh", "target": "sin", "noise": 0.3}
alpha = np.geomspace(0.2, 20, 25)

# %%
# The best ridge after a given step, and what it is worth against a ridge chosen once for all:

step = GradientStep(eta=3.0, alpha0=20.0)
best = theory.optimise(alpha, step=step, **setting)
fixed = theory.solve(alpha, lam=0.01, step=step, **setting)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.loglog(alpha, fixed.test_error, "--", label=r"$\lambda$ = 0.01")
left.loglog(alpha, best.test_error, label=r"best $\lambda$")
left.set(xlabel=r"$\alpha = n/d$", ylabel="test error")
left.legend(frameon=False)
right.loglog(alpha, best.lam)
right.set(xlabel=r"$\alpha = n/d$", ylabel=r"best $\lambda$")

# %%
# The ridge and the step together, for batches of different size. With few samples the gradient is
# mostly noise: a small step is best, and the best one grows with the batch.

batch = np.geomspace(0.1, 100, 13)
both = theory.optimise(
    2.0, over=("lam", "eta"), step=GradientStep(eta=1.0, alpha0=batch), **setting
)
for samples, eta, lam, error, at_bound in zip(
    batch[::3], both.eta[::3], both.lam[::3], both.test_error[::3], both.at_bound[::3], strict=True
):
    bound = " (at a bound)" if at_bound else ""
    print(f"alpha0 {samples:6.2f}: eta {eta:5.2f}, lam {lam:.3f}, error {error:.4f}{bound}")

# %%
# Derivatives
# -----------
#
# The error's derivatives in any parameter come by implicit differentiation, with no finite
# differences. At the optimum those in ``lam`` and ``eta`` vanish; the others say what would help
# most, here another sample for the readout or for the step.

point = {"lam": both.lam[6], "step": GradientStep(eta=both.eta[6], alpha0=batch[6])}
slope = theory.gradient(2.0, wrt=("lam", "eta", "alpha", "alpha0", "noise"), **point, **setting)
for name, value in slope.items():
    print(f"d test_error / d {name}: {value:+.1e}")
