r"""
Fit your data
=============

``SpikedRFRegressor`` is the network as a scikit-learn estimator. It chooses the size of the step
and the ridge itself, with no step among the candidates.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikedrf import SpikedRFRegressor, plotting

# %%
# Forty inputs, of which the label sees one combination of three; a tenth of its variance is
# noise.

rng = np.random.default_rng(0)
names = [f"x{i}" for i in range(40)]
X = rng.standard_normal((3000, 40))
index = (X[:, 0] - X[:, 1] + 0.5 * X[:, 2]) / 1.5
y = np.tanh(2 * index) + 0.3 * index**2 + 0.25 * rng.standard_normal(3000)
train, test = slice(0, 2000), slice(2000, 3000)

# %%
# Random Fourier features see forty directions alike, and two thousand rows are few for forty
# dimensions. One gradient step turns the features towards the direction that matters.

fixed = make_pipeline(
    StandardScaler(),
    RBFSampler(gamma=1 / 80, n_components=400, random_state=0),
    RidgeCV(np.logspace(-4, 3, 15)),
)
learned = make_pipeline(StandardScaler(), SpikedRFRegressor(400, random_state=0))
for model in (fixed, learned):
    model.fit(X[train], y[train])
    print(f"{model[1].__class__.__name__}: R^2 {model.score(X[test], y[test]):.3f}")
network = learned[-1]
print(
    f"step {network.step_size_:.3g}, ridge {network.alpha_:.3g}, "
    f"expected error {network.loo_error_:.3f}"
)
print("error on the held-out rows", ((learned.predict(X[test]) - y[test]) ** 2).mean().round(3))

# %%
# ``spike_`` is the direction in input space that the step has found; the display shows it, and
# the error of every candidate.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
plotting.FirstLayerDisplay.from_estimator(network, feature_names=names, most=12, axes=axes)
