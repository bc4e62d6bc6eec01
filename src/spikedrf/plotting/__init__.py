"""Pictures of theory, simulation and estimators, as Display objects."""

from spikedrf.plotting.first_layer import FirstLayerDisplay
from spikedrf.plotting.learning_curve import LearningCurveDisplay
from spikedrf.plotting.phase_diagram import PhaseDiagramDisplay

__all__ = ["FirstLayerDisplay", "LearningCurveDisplay", "PhaseDiagramDisplay"]
