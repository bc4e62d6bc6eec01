"""Pictures of theory, simulation and estimators, as Display objects."""

from spikedrf.plotting.learning_curve import LearningCurveDisplay

__all__ = ["LearningCurveDisplay"]
