"""Exact high-dimensional asymptotics of the spiked random features model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikedrf.theory.best_function import BestFunction, best_function
from spikedrf.theory.gradient import Gradient, gradient
from spikedrf.theory.optimise import optimise
from spikedrf.theory.solution import Solution
from spikedrf.theory.solve import solve
from spikedrf.theory.spectrum import Spectrum, spectrum
from spikedrf.theory.stieltjes import stieltjes

if TYPE_CHECKING:
    from spikedrf.first_layer.bulk import Bulk, BulkNodes
    from spikedrf.first_layer.model import FirstLayer
    from spikedrf.theory.averaged import ensemble
    from spikedrf.theory.baseline import bayes_error, best_linear_error, conditional_target
    from spikedrf.theory.bias_and_variance import Ensemble
    from spikedrf.theory.bulk import trained_bulk
    from spikedrf.theory.calibration import Calibration
    from spikedrf.theory.class_features import ClassCurve, ClassForecast
    from spikedrf.theory.diagram import PhaseDiagram, PhaseDiagramInterrupted
    from spikedrf.theory.features import FeatureCurve, from_features
    from spikedrf.theory.forecast import Forecast
    from spikedrf.theory.layer import Layer, LayerWarning, from_layer
    from spikedrf.theory.optimum import Optimum
    from spikedrf.theory.phase import phase_diagram
    from spikedrf.theory.steepness import Sensitivity, sensitivity

__all__ = [
    "BestFunction",
    "Bulk",
    "BulkNodes",
    "Calibration",
    "ClassCurve",
    "ClassForecast",
    "Ensemble",
    "FeatureCurve",
    "FirstLayer",
    "Forecast",
    "Gradient",
    "Layer",
    "LayerWarning",
    "Optimum",
    "PhaseDiagram",
    "PhaseDiagramInterrupted",
    "Sensitivity",
    "Solution",
    "Spectrum",
    "bayes_error",
    "best_function",
    "best_linear_error",
    "conditional_target",
    "ensemble",
    "from_features",
    "from_layer",
    "gradient",
    "optimise",
    "phase_diagram",
    "sensitivity",
    "solve",
    "spectrum",
    "stieltjes",
    "trained_bulk",
]

# What most programs do not need is imported when it is first asked for. (A function with the name
# of its module cannot wait: once anything imports the module, its name stands for that.)
_ORIGIN = {
    "Bulk": "spikedrf.first_layer.bulk",
    "BulkNodes": "spikedrf.first_layer.bulk",
    "Calibration": "spikedrf.theory.calibration",
    "ClassCurve": "spikedrf.theory.class_features",
    "ClassForecast": "spikedrf.theory.class_features",
    "Ensemble": "spikedrf.theory.bias_and_variance",
    "FeatureCurve": "spikedrf.theory.features",
    "FirstLayer": "spikedrf.first_layer.model",
    "Forecast": "spikedrf.theory.forecast",
    "Layer": "spikedrf.theory.layer",
    "LayerWarning": "spikedrf.theory.layer",
    "Optimum": "spikedrf.theory.optimum",
    "PhaseDiagram": "spikedrf.theory.diagram",
    "PhaseDiagramInterrupted": "spikedrf.theory.diagram",
    "Sensitivity": "spikedrf.theory.steepness",
    "bayes_error": "spikedrf.theory.baseline",
    "best_linear_error": "spikedrf.theory.baseline",
    "conditional_target": "spikedrf.theory.baseline",
    "ensemble": "spikedrf.theory.averaged",
    "from_features": "spikedrf.theory.features",
    "from_layer": "spikedrf.theory.layer",
    "phase_diagram": "spikedrf.theory.phase",
    "sensitivity": "spikedrf.theory.steepness",
    "trained_bulk": "spikedrf.theory.bulk",
}


def __getattr__(name: str) -> Any:
    if name not in _ORIGIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_ORIGIN[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ORIGIN})
