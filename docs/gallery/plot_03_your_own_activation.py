r"""
Use your own activation or target
=================================

Activations and targets go by name (``spikedrf.activations.NAMES``) or are vectorised functions.
The equations only ever see Gaussian averages of them, so anything that can be averaged can be
solved.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, theory


def bump(x):
    """A Gaussian bump: even, so random features of it are blind to odd targets."""
    return np.exp(-(x**2))


# %%
# A gradient step needs the derivative of the activation. Give the pair ``(sigma, sigma')``, or
# leave it to integration by parts, which needs only ``sigma`` itself.

alpha = np.geomspace(0.3, 30, 50)
step = GradientStep(eta=4.0, alpha0=10.0)
shared = {"lam": 1e-3, "beta": 2.0, "target": "relu", "noise": 0.1}
print(step.spike(activation=(bump, lambda x: -2 * x * bump(x)), target="relu", noise=0.1))
print(step.spike(activation="relu", target="relu", noise=0.1))

# %%
# An even activation has :math:`\mathbb E\,z\,\sigma(z) = 0`: the gradient step plants no spike,
# ``r = 0``, and all that it changes is the variance of the bulk. Kinks and jumps are found and
# become end points of the quadrature, so that a shifted ReLU is as certain as a named one:


def shifted(x):
    """A ReLU with a threshold."""
    return np.maximum(x - 0.5, 0.0)


figure, ax = plt.subplots(layout="constrained")
for name, activation in {"relu": "relu", "relu(x - 0.5)": shifted, "bump": bump}.items():
    solution = theory.solve(alpha, activation=activation, step=step, **shared)
    worst = solution.quadrature_error.max()
    print(f"{name}: all converged {solution.success.all()}, quadrature error up to {worst:.0e}")
    ax.loglog(alpha, solution.test_error, label=name)
ax.set(
    xlabel=r"$\alpha = n/d$",
    ylabel="test error",
    title="Three activations on a ReLU target, after the step",
)
ax.legend(frameon=False)

# %%
# A function that is not piecewise smooth is not integrated to ten digits by anybody; such a point
# comes back with ``success=False`` and one ``ConvergenceWarning`` for the call.
