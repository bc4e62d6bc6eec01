"""The network as scikit-learn estimators."""

from spikedrf.estimators.classifier import SpikedRFClassifier
from spikedrf.estimators.regressor import SpikedRFRegressor
from spikedrf.estimators.transformer import SpikedRandomFeatures

__all__ = ["SpikedRFClassifier", "SpikedRFRegressor", "SpikedRandomFeatures"]
