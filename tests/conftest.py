"""Where the tests find what they compare with."""

import json
import os
import signal
from pathlib import Path

# Tests that run side by side have a core each. Set before NumPy is loaded, which reads it once.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# The same examples in every run, and none of them timed; or many others, in an hour.
settings.register_profile("spikedrf", derandomize=True, deadline=None)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile("spikedrf")

HERE = Path(__file__).resolve().parent

# Jobs that a shell has put in the background ignore Ctrl-C, and so does what they start: the tests
# that send it to a child would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_folder():
    """The folder of shared reference data: SPIKEDRF_SHARED, or `shared` beside the checkout."""
    return Path(os.environ.get("SPIKEDRF_SHARED", HERE.parent.parent / "shared"))


@pytest.fixture(scope="session")
def shared():
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set SPIKEDRF_SHARED to its path")
    return folder


def reference_cases():
    """The cases that the project always carries."""
    return json.loads((HERE / "data" / "reference_cases.json").read_text())["cases"]
