"""Pictures of theory, simulation and estimators, as Display objects."""

from spikedrf.plotting.display import Display
from spikedrf.plotting.error_curves import ErrorCurvesDisplay
from spikedrf.plotting.first_layer import FirstLayerDisplay
from spikedrf.plotting.forecast import ForecastDisplay
from spikedrf.plotting.learned_function import LearnedFunctionDisplay
from spikedrf.plotting.learning_curve import LearningCurveDisplay
from spikedrf.plotting.phase_diagram import PhaseDiagramDisplay
from spikedrf.plotting.spectrum import SpectrumDisplay
from spikedrf.plotting.steps import StepsDisplay

__all__ = [
    "Display",
    "ErrorCurvesDisplay",
    "FirstLayerDisplay",
    "ForecastDisplay",
    "LearnedFunctionDisplay",
    "LearningCurveDisplay",
    "PhaseDiagramDisplay",
    "SpectrumDisplay",
    "StepsDisplay",
]
