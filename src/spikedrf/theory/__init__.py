"""Exact high-dimensional asymptotics of the spiked random features model."""

from spikedrf.first_layer.bulk import Bulk, BulkNodes
from spikedrf.first_layer.model import FirstLayer
from spikedrf.theory.baseline import bayes_error, best_linear_error, conditional_target
from spikedrf.theory.best_function import BestFunction, best_function
from spikedrf.theory.bulk import trained_bulk
from spikedrf.theory.calibration import Calibration
from spikedrf.theory.diagram import PhaseDiagram, PhaseDiagramInterrupted
from spikedrf.theory.features import FeatureCurve, from_features
from spikedrf.theory.forecast import Forecast
from spikedrf.theory.gradient import Gradient, gradient
from spikedrf.theory.layer import Layer, LayerWarning, from_layer
from spikedrf.theory.optimise import optimise
from spikedrf.theory.optimum import Optimum
from spikedrf.theory.phase import phase_diagram
from spikedrf.theory.solution import Solution
from spikedrf.theory.solve import solve
from spikedrf.theory.spectrum import Spectrum, spectrum
from spikedrf.theory.stieltjes import stieltjes

__all__ = [
    "BestFunction",
    "Bulk",
    "BulkNodes",
    "Calibration",
    "FeatureCurve",
    "FirstLayer",
    "Forecast",
    "Gradient",
    "Layer",
    "LayerWarning",
    "Optimum",
    "PhaseDiagram",
    "PhaseDiagramInterrupted",
    "Solution",
    "Spectrum",
    "bayes_error",
    "best_function",
    "best_linear_error",
    "conditional_target",
    "from_features",
    "from_layer",
    "gradient",
    "optimise",
    "phase_diagram",
    "solve",
    "spectrum",
    "stieltjes",
    "trained_bulk",
]
