"""The first layer: how it came about, and what of it the theory needs."""
