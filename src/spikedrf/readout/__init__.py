"""The readout of a network: ridge regression, its leave-one-out errors, and any convex loss."""
