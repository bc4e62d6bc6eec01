r"""
Compare theory and simulation
=============================

``theory.solve`` and ``simulate`` speak of the same step, activation and ridge, so one set of
keyword arguments serves both, and a picture of both takes three calls. Theory is a line, a
simulation is points with error bars.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, plotting, simulate, theory

setting = {"activation": "tanh", "target": "tanh", "lam": 0.01, "noise": 0.1}
step = GradientStep(eta=1.0, alpha0=2.0)

# %%
# ``model="srf"`` draws the spiked random features model itself, the one that the theory solves.
# ``model="network"`` trains a first layer for real: it draws ``n0`` samples, computes the
# gradient and moves every weight. The points of one curve share their networks, so a curve costs
# little more than its largest point.

alpha = np.array([0.3, 0.6, 1.5, 3.0])
spiked = simulate(alpha, d=250, step=step, replicates=6, rng=1, **setting)
network = simulate(alpha, d=250, step=step, replicates=6, rng=1, model="network", **setting)
exact = theory.solve(alpha, step=step, **setting)
print("z of the spiked model:", spiked.z(exact)["test_error"].round(1))
print("z of the network:     ", network.z(exact)["test_error"].round(1))
print(f"measured r {network.r[0]:.3f}, gamma {network.gamma:.3f}; formula {exact.spike}")

# %%
figure, ax = plt.subplots(layout="constrained")
plotting.LearningCurveDisplay.from_theory(
    np.geomspace(0.2, 4, 80),
    step=step,
    points={"with_step": (alpha, network.test_error, network.test_error_sem)},
    ax=ax,
    **setting,
)
ax.set_title("Lines: theory. Points: networks that were trained, d = 250")
ax.legend(loc="center left", frameon=False, fontsize="small")
ax.set_ylim(0.03, 0.6)

# %%
# The peak of the curve without a step is the interpolation threshold, ``n = p``. The same from
# the shell:
#
# .. code-block:: console
#
#    spikedrf curve --activation tanh --target tanh --eta 1 --alpha0 2 --lam 0.01 --noise 0.1 \
#        --simulate network --d 250 --out curve.png
#
# Replicates are independent and their random streams are spawned from one seed: the result does
# not depend on ``workers``, and more replicates repeat the first ones. At ``d`` of a few hundred,
# expect deviations of order ``1/d`` on top of the error bars.
