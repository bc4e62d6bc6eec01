"""The compiled core: signatures, allocation, one call without the GIL each."""

# Declarations are in _core.pxd.

from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool as cbool

import numpy as np

include "_core_functions.pxi"
include "_core_rules.pxi"
include "_core_batches.pxi"
include "_core_features.pxi"
