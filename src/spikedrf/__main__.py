"""Run the command line: ``python -m spikedrf``."""

import sys

from spikedrf.cli import main

if __name__ == "__main__":
    sys.exit(main())
