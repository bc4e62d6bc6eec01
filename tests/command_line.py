"""What the tests of the command line share: one model, and how a command is run and read."""

import contextlib
import json
import subprocess
import sys

from spikedrf.cli import main

MODEL = {"lam": 0.05, "beta": 0.7, "activation": "relu", "target": "tanh", "noise": 0.2}
STEP = {"eta": 2.0, "alpha0": 5.0, "u": [1.0, -0.5], "pi": [0.4, 0.6]}


def run(capsys, line, *more):
    """Exit status, stdout, stderr of a command line (and arguments that may hold spaces)."""
    try:
        status = main([*line.split(), *map(str, more)])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def rows_of(table):
    return [line.split() for line in table.splitlines() if not line.startswith("#")]


@contextlib.contextmanager
def explore_server(*arguments):
    """`spikedrf explore` on a free port: the process and what it said when it was ready."""
    command = [sys.executable, "-m", "spikedrf", "explore", "--port", "0", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()
