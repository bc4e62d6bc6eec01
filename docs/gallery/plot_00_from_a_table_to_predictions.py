r"""
From a table to predictions
===========================

From a CSV file to the predictions of a saved model: read it, prepare its columns, let the model
choose its step and its ridge, look at what it has learned, save it, and use it where nobody knows
how it was made.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io as skops

from spikedrf import SpikedRFRegressor, plotting

# %%
# The file
# --------
#
# Here it is made first, so that the page runs anywhere: two thousand homes, and what they were
# sold for. The price depends on the town and, not linearly, on an index of size, age and distance;
# ten more readings say nothing about it. Some cells are empty, as in real files.

folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
n = 2000
homes = pd.DataFrame(
    {
        "size": rng.normal(90, 25, n).round(1),
        "age": rng.gamma(2.0, 15.0, n).round(),
        "distance": rng.gamma(2.0, 4.0, n).round(1),
        "town": rng.choice(["Bonn", "Ulm", "Trier"], n),
        **{f"reading {i}": rng.standard_normal(n).round(3) for i in range(10)},
    }
)
index = (homes["size"] - 90) / 25 - (homes["age"] - 30) / 21 - (homes["distance"] - 8) / 5.7
homes["price"] = 300 + 80 * np.tanh(1.2 * index) + 10 * (homes["town"] == "Bonn")
homes["price"] = (homes["price"] + 8 * rng.standard_normal(n)).round(1)
homes.loc[rng.choice(n, 60, replace=False), "age"] = np.nan
homes.loc[rng.choice(n, 20, replace=False), "town"] = None
homes.to_csv(folder / "homes.csv", index=False)

# %%
# From here on any file will do.

table = pd.read_csv(folder / "homes.csv")
print(table.iloc[:4, [0, 1, 2, 3, 4, -1]])

# %%
# Columns
# -------
#
# Numbers get the median where they are missing, and unit scale; words become a column for each. All
# of that is part of the model, so that new rows are prepared as those of the fit were.

X, y = table.drop(columns="price"), table["price"]
X_fit, X_new, y_fit, y_new = train_test_split(X, y, test_size=0.25, random_state=0)
words = ["town"]
numbers = [name for name in X if name not in words]


def prepared(model):
    """Return a pipeline that prepares the columns and fits a model to them."""
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), numbers),
            (
                "words",
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"),
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                words,
            ),
        ],
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns, StandardScaler(), model)


# %%
# The fit
# -------
#
# ``SpikedRFRegressor`` has to be told how many features to take. It chooses the gradient steps and
# the ridge by the error on rows that it leaves out, and no step is among the candidates.
# ``loo_error_`` is the error to expect on new rows.

model = prepared(SpikedRFRegressor(400, random_state=0))
model.fit(X_fit, y_fit)
network = model[-1]
print(f"step {network.step_size_:.3g}, ridge {network.alpha_:.3g}")
expected = 1 - network.loo_error_ / y_fit.var()
print(f"R^2 expected {expected:.3f}, on rows never seen {model.score(X_new, y_new):.3f}")

# %%
# What it has learned
# -------------------
#
# Bars: the direction that the step adds to all features; one has found the index of size, age and
# distance. Diamonds: how large the weights of an input are over all features, and what they were
# before the step. On the right the errors among which it has chosen.

inputs = list(model[0].get_feature_names_out())
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
plotting.FirstLayerDisplay.from_estimator(network, feature_names=inputs, most=10, axes=axes)

# %%
# Save, load, predict
# -------------------
#
# `skops <https://skops.readthedocs.io>`_ writes a model into a file without code in it: whoever
# reads it says which types they trust.

skops.dump(model, folder / "price.skops")
trusted = skops.get_untrusted_types(file=folder / "price.skops")
print(trusted)
again = skops.load(folder / "price.skops", trusted=trusted)
print(again.predict(X_new.iloc[:3]).round(1), "predicted")
print(y_new.iloc[:3].to_numpy(), "what they were sold for")

# %%
# The same without Python
# -----------------------
#
# ``spikedrf`` does all of this on the command line, and tells what it has filled in:
#
# .. code-block:: console
#
#    $ spikedrf fit homes.csv --target price --features 400 --model price.skops --out learned.png
#    $ spikedrf show price.skops
#    $ spikedrf predict price.skops new.csv --out predicted.csv
#
# When to use something else
# --------------------------
#
# The step pays where the target depends on few *directions* of many inputs. Where it depends on all
# of them alike, on single inputs with jumps and interactions, or is little more than linear,
# other models are as good or better, and quicker. Try them on the same rows:

rivals = {
    "a line": RidgeCV(np.logspace(-3, 3, 13)),
    "random features, no step": make_pipeline(
        RBFSampler(gamma=1 / 32, n_components=400, random_state=0), RidgeCV(np.logspace(-4, 3, 15))
    ),
    "boosted trees": HistGradientBoostingRegressor(random_state=0, max_iter=50),
}
print(f"{'one gradient step':26s}{model.score(X_new, y_new):.3f}")
for name, rival in rivals.items():
    score = prepared(rival).fit(X_fit, y_fit).score(X_new, y_new)
    print(f"{name:26s}{score:.3f}")
