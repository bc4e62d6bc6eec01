r"""
Fit real rows
=============

``SpikedRFRegressor`` on real measurements: ten readings of 442 people with diabetes, and how their
disease went on in the year after, a data set that comes with scikit-learn. It is small and nearly
linear, so this page is about what the estimator does where a step does *not* pay.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikedrf import SpikedRFRegressor, plotting

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X_fit, X_new, y_fit, y_new = train_test_split(X, y, test_size=0.25, random_state=1)
print(X.head(3).to_string())

# %%
# A line, fixed random features, and features that may take a step. The step and the ridge are
# chosen by the error on rows left out; a step is taken only if it improves on none by more than
# two standard errors.

models = {
    "a line": RidgeCV(np.logspace(-3, 3, 13)),
    "fixed features": make_pipeline(
        RBFSampler(gamma=1 / 20, n_components=200, random_state=0), RidgeCV(np.logspace(-4, 3, 15))
    ),
    "features with a step": SpikedRFRegressor(200, random_state=0),
}
for name, model in models.items():
    pipeline = make_pipeline(StandardScaler(), model).fit(X_fit, y_fit)
    print(f"{name:22s}R^2 {pipeline.score(X_new, y_new):.3f}")
network = pipeline[-1]
print(f"step {network.step_size_:.3g}, ridge {network.alpha_:.3g}")
print(f"expected R^2 {1 - network.loo_error_ / y_fit.var():.3f}")

# %%
# Every candidate, and what it is estimated to cost. If the lowest line is the dashed one, or too
# little beneath it to tell, no step is taken, and the model is plain random features with a
# well-chosen ridge.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
plotting.FirstLayerDisplay.from_estimator(network, feature_names=list(X), axes=axes)

# %%
# Given a step all the same, one sees what the network turns to: the body mass index and a blood
# value, which is what a line finds as well.

stepped = make_pipeline(StandardScaler(), SpikedRFRegressor(200, step_size=4.0, random_state=0))
stepped.fit(X_fit, y_fit)
print(f"with a step of 4: R^2 {stepped.score(X_new, y_new):.3f}")
figure, axes = plt.subplots(1, 1, figsize=(5, 4), layout="constrained")
plotting.FirstLayerDisplay.from_estimator(stepped, feature_names=list(X), axes=[axes])
