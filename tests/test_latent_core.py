"""Section 12 of theory.md in the core, against the slow reference solver of the tests."""

from __future__ import annotations

import numpy as np
import pytest

import latent_cases
from spikedrf.activations import resolve
from spikedrf.inputs.frame import frame_of
from spikedrf.inputs.layer_on_inputs import layer_on_inputs
from spikedrf.inputs.population import population
from spikedrf.theory.latents.core import solve_frame

STORED = latent_cases.stored()


def solved(alpha, case, rtol=1e-9):
    """Solutions of the core for what a user writes, at one or several alphas."""
    sigma = resolve(case.get("activation", "tanh"))
    law = population(case.get("inputs"), case.get("target", "tanh"))
    noise = case.get("noise", 0.0)
    layer = layer_on_inputs(case.get("step"), sigma, law, noise, case.get("init", "sphere"))
    frame = frame_of(law, layer)
    alpha = np.atleast_1d(np.asarray(alpha, float))
    rest = {"noise": noise, "beta": case["beta"], "lam": case["lam"]}
    at = {name: np.full(alpha.size, float(value)) for name, value in rest.items()}
    return solve_frame(frame, sigma, at | {"alpha": alpha}, rtol, 1)[1]


@pytest.mark.parametrize("name", list(latent_cases.CASES))
def test_reference_values(name):
    alpha, case = latent_cases.arguments(name)
    found = solved(alpha, case)
    expected = STORED[name]
    assert found.counts[0, 0] == 0
    np.testing.assert_allclose(
        found.scalars[[0, 2, 3], 0],
        [expected["test"], expected["train"], expected["norm"]],
        rtol=3e-8,
    )
    np.testing.assert_allclose(found.by_class[0, 0], expected["by_class"], rtol=3e-8)
    if "wrong" in expected:
        np.testing.assert_allclose(found.by_class[1, 0], expected["wrong"], rtol=1e-7)
