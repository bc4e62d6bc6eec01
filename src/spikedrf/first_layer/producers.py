"""What ``step`` of the theory may be, and the producer that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikedrf.first_layer.model import NoStep, Producer
from spikedrf.first_layer.several_steps import SeveralSteps
from spikedrf.step import GradientStep

#: Everything that ``step`` may be: `GradientStep`, `Spike`, `Layer` and `FirstLayer` are producers.
StepLike = Producer | Sequence[GradientStep] | None

_NO_STEP = NoStep()


def producer_of(step: Any, kinds: str = "a GradientStep, a Spike or None") -> Producer:
    """Return what ``step`` of the theory is: None is no step, a list several gradient steps.

    Parameters
    ----------
    step : Producer, sequence of GradientStep or None
        The argument.
    kinds : str
        What it may be, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is none of the things that it may be.
    """
    if step is None:
        return _NO_STEP
    if isinstance(step, list | tuple):
        return SeveralSteps(step)
    if not isinstance(step, Producer):
        raise TypeError(f"step must be {kinds}, got {step!r}")
    return step
