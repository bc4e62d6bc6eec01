"""Pictures of theory, simulation and estimators, as Display objects."""

from spikedrf.plotting.first_layer import FirstLayerDisplay
from spikedrf.plotting.learning_curve import LearningCurveDisplay

__all__ = ["FirstLayerDisplay", "LearningCurveDisplay"]
