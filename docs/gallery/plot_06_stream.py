r"""
Fit a stream of rows
====================

``partial_fit`` keeps sums, not rows. Its first call chooses the first layer and takes the step;
every later one adds to a ``p x p`` Gram matrix, of which the readout is made anew. Memory does
not grow with the number of rows, and the result is that of one fit of the readout on all of them.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikedrf import SpikedRFRegressor

rng = np.random.default_rng(3)
direction = rng.standard_normal(50) / np.sqrt(50)


def block(rows):
    """Rows as they might come from a file or a queue."""
    X = rng.standard_normal((rows, 50))
    return X, np.sin(2 * X @ direction) + 0.1 * rng.standard_normal(rows)


# %%
# Give the first call enough rows for the step: a few times the dimension.

model = SpikedRFRegressor(300, random_state=0)
held_out = block(2000)
seen, scores = [], []
for rows in [4000] + [2000] * 12:
    model.partial_fit(*block(rows))
    seen.append(rows + (seen[-1] if seen else 0))
    scores.append(model.score(*held_out))

figure, ax = plt.subplots(layout="constrained")
ax.plot(seen, scores, "o-")
ax.set(
    xlabel="rows seen",
    ylabel=r"$R^2$ on held-out rows",
    title="The first layer stays, the readout keeps learning",
)

# %%
# Streams on two machines
# -----------------------
#
# Estimators that share a first layer can each see a part of the rows, and be merged. The second
# begins as a copy of the first that has seen no rows: weights, scaling and ridge are the same.

first = SpikedRFRegressor(300, random_state=0)
first.partial_fit(*block(4000))
second = first.without_rows()
for _ in range(5):
    first.partial_fit(*block(1000))
    second.partial_fit(*block(1000))
print("apart: ", round(first.score(*held_out), 4), round(second.score(*held_out), 4))
print("merged:", round(first.merge(second).score(*held_out), 4))
