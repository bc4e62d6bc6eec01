r"""
What one gradient step buys
===========================

Five minutes, from random features to a network that has learned a direction.

A two-layer network of width :math:`p` sees inputs :math:`x \in \mathbb R^d` and labels :math:`y =
g(\langle\theta, x\rangle)`: only one direction of the input matters, and nobody says which. At
initialisation the first layer is random. If only the readout is fitted, the network is a *random
features* model, and that has a ceiling: with :math:`n`, :math:`p` and :math:`d` of the same order
it learns the linear part of :math:`g` and nothing else, however many samples it gets.

How high is the ceiling? ``theory.solve`` computes the test error in the limit of large :math:`n,
p, d` at fixed ratios ``alpha = n/d`` and ``beta = p/d``, without training anything.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, plotting, simulate, theory

network = {"activation": "tanh", "target": "sin", "beta": 4.0, "lam": 0.1}
alpha = np.geomspace(0.2, 100, 60)
before = theory.solve(alpha, **network)
print(f"test error at alpha = 100: {before.test_error[-1]:.4f}")
print(f"best linear function:      {theory.best_linear_error('sin'):.4f}")

# %%
# A hundred times as many samples as dimensions, and the error has only just come near that of the
# best *linear* function. Now let the first layer take a single gradient step, with a large
# learning rate ``eta``, on ``n0 = alpha0 d`` other samples, before the readout is fitted. All
# that matters of the step, in the limit, are three numbers.

step = GradientStep(eta=3.0, alpha0=20.0)
print(step.spike(activation="tanh", target="sin"))

# %%
# Every neuron now is :math:`w_i = r v + \sqrt c\, \tilde w_i`: it has the component ``r`` along
# one common direction :math:`v`, whose overlap with the target direction is ``gamma``; the rest
# is as random as before, with variance ``c``. This is the *spiked random features* model. And the
# error:

figure, ax = plt.subplots(layout="constrained")
plotting.LearningCurveDisplay.from_theory(alpha, step=step, ax=ax, **network)
ax.set_title("One gradient step breaks through the linear ceiling")

# %%
# What has it learned? Averaged over everything but :math:`\kappa = \langle v, x\rangle`, the
# network's output is a function of :math:`\kappa` alone. Before the step it is a constant. After
# it, it is a nonlinear function, the conditional mean of the feature:

kappa = np.linspace(-3.5, 3.5, 200)
samples = [0.5, 2.0, 20.0]
after = theory.solve(samples, step=step, **network)
figure, ax = plt.subplots(layout="constrained")
ax.plot(kappa, np.sin(kappa), color="black", linewidth=1, label=r"target $\sin\kappa$")
for curve, a, shade in zip(after.learned_function(kappa), samples, (0.75, 0.5, 0.2), strict=True):
    ax.plot(kappa, curve, color=plt.cm.viridis(1 - shade), label=rf"learned, $\alpha$ = {a:g}")
ax.plot(kappa, 0 * kappa, "--", color="0.5", label="no step")
ax.set(
    xlabel=r"$\kappa = \langle v, x\rangle$",
    ylabel="output",
    title="A nonlinear function of one direction",
)
ax.legend(frameon=False)

# %%
# The hyperbolic tangent cannot fall again beyond :math:`\kappa = \pi/2` as the sine does: with
# one value of the initial readout there is one function of :math:`\kappa` to scale. That is why
# the error levels off instead of vanishing, and what a larger vocabulary
# (``GradientStep(u=[...])``) is for.
#
# Is it true?
# ------------
#
# The limit is exact for infinite :math:`d`. ``simulate`` draws networks of finite size and fits
# them. Here the spiked model at :math:`d = 200`, four draws; ``z`` counts standard errors from
# the theory.

points = np.array([0.5, 2.0, 8.0])
experiment = simulate(points, d=200, step=step, replicates=4, rng=0, noise=0.1, **network)
exact = theory.solve(points, step=step, noise=0.1, **network)
for a, error, sem, predicted in zip(
    points, experiment.test_error, experiment.test_error_sem, exact.test_error, strict=True
):
    print(f"alpha {a:3g}: simulated {error:.4f} +- {sem:.4f}, theory {predicted:.4f}")

# %%
# Where to go from here: the gallery's other pages, :doc:`/theory` for the equations,
# :doc:`/limits` for where a real network differs, and ``SpikedRFRegressor`` for your own data.
