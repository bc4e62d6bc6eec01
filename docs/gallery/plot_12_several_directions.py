r"""
A target of several directions
==============================

What one gradient step finds of it, and what is left.

Few targets depend on one direction of the input. A `MultiIndex` depends on up to three. One large
step moves all neurons along a single direction, the mean of residual times input; what of the
target does not change along it is seen by the network as random features see everything: its linear
part, and noise.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import GradientStep, MultiIndex, simulate, theory

target = MultiIndex(lambda s: np.tanh(2 * s[..., 0]) + s[..., 0] * s[..., 1], directions=2)
step = GradientStep(eta=3.0, alpha0=10.0)
network = {"target": target, "lam": 0.1, "noise": 0.1, "step": step}

# %%
# The alignment of the spike has one entry for each direction. The product has no linear part, so
# the step finds the first direction only:

solution = theory.solve(3.0, **network)
print(solution.spike)
print(solution)

# %%
# What was learned, over the plane of the two directions, beside the target. Along the first
# direction there is a nonlinear function; the product of the two is nowhere.

axis = np.linspace(-2.5, 2.5, 81)
plane = np.stack(np.meshgrid(axis, axis), axis=-1)
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.8), layout="constrained", sharey=True)
for ax, values, title in (
    (axes[0], target(plane), "target"),
    (axes[1], solution.learned_function(plane), "learned after one step"),
):
    image = ax.pcolormesh(axis, axis, values, vmin=-4, vmax=4, cmap="RdBu", shading="auto")
    ax.set(title=title, xlabel="$s_1$", aspect="equal")
axes[0].set_ylabel("$s_2$")
figure.colorbar(image, ax=axes)

# %%
# The theory is exact for many samples, neurons and dimensions; networks of a finite number are
# drawn by the same arguments. ``z`` counts standard errors between the two.

simulation = simulate(3.0, d=200, replicates=8, rng=0, **network)
print(simulation)
print({name: round(float(z), 1) for name, z in simulation.z(solution).items()})

# %%
# How much there is to gain from more samples: the error falls to what one direction can give, and
# far above that of a network that knew both.

alpha = np.geomspace(0.3, 30, 13)
after = theory.solve(alpha, **network)
before = theory.solve(alpha, **network | {"step": None})
floor = theory.solve(np.inf, **network | {"beta": 50.0})
figure, ax = plt.subplots(layout="constrained")
ax.loglog(alpha, before.test_error, "--", color="0.5", label="no step")
ax.loglog(alpha, after.test_error, label="after one step")
ax.axhline(floor.test_error, linestyle=":", color="black", label="one direction, a wide network")
ax.axhline(0.01, linewidth=0.8, color="0.7", label="label noise")
ax.set(xlabel=r"samples over dimension $\alpha$", ylabel="test error")
ax.legend()

# %%
# Several steps, each on fresh samples, climb what one cannot: a staircase. On ``s1 + s1 s2`` with
# relu and two values of the readout the first step finds the first direction. Then the two groups
# of neurons lie on its two sides, where the product has slopes of opposite sign: the second step
# moves both along the second direction. The spikes span a plane, ``span=2``, and the components of
# each group on the two directions are ``r @ gamma``.

step = GradientStep(eta=1.5, alpha0=8.0, u=[1.0, -1.0])
model = {"activation": "relu", "target": "staircase", "beta": 2.0, "lam": 0.1, "noise": 0.1}
for count in (1, 2, 3):
    solution = theory.solve(4.0, step=[step] * count, rtol=1e-6, **model)
    spike = solution.spike
    parts = spike.r @ spike.gamma if spike.span == 2 else np.outer(spike.r, spike.gamma)
    print(
        count, "steps: test error", round(solution.test_error, 3), "spikes", parts.round(2).tolist()
    )

# %%
# Trained networks take the same steps:

networks = simulate(4.0, d=150, model="network", replicates=4, rng=0, step=[step] * 3, **model)
print(round(networks.test_error, 3), "+-", round(networks.test_error_sem, 3))

# %%
# One can differentiate by the size of one of the steps, ``eta_2``, or by that of all, ``eta``, and
# optimise it:

slope = theory.gradient(4.0, step=[step] * 2, wrt=("eta_1", "eta_2"), rtol=1e-6, **model)
print(slope)

plt.show()
