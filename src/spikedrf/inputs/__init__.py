"""What inputs may be besides N(0, I): a covariance, classes."""

from spikedrf.inputs.covariance import Covariance
from spikedrf.inputs.mixture import Mixture
from spikedrf.inputs.rows import DataWarning

__all__ = ["Covariance", "DataWarning", "Mixture"]
