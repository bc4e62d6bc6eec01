"""The ``spikedrf`` command.

A subcommand is a module of this package and its name in `COMMANDS`. The module defines

``SUMMARY``
    one line, in lower case and without a full stop;
``EXAMPLE``
    a command line that works;
``add_options(parser)``
    which adds its options, those of `spikedrf.cli.options` wherever they fit;
``run(args)``
    which does the work and returns an exit status of `spikedrf.cli.output`.

It may define ``EPILOG``, which ends its help instead of `spikedrf.cli.options.EPILOG`.

For ``--help`` all of these modules are imported: what computes is imported by ``run``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import spikedrf
from spikedrf.cli.options import EPILOG
from spikedrf.cli.output import BROKEN_PIPE, CANNOT_WRITE, FAULT, INTERRUPTED, report, say

#: Subcommands, in the order of ``--help``.
COMMANDS = (
    "curve",
    "phase",
    "spectrum",
    "simulate",
    "fit",
    "predict",
    "show",
    "forecast",
    "reproduce",
    "explore",
)


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|inf")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 a file could not be written, 3 some points did not converge,
        4 a replicate failed, 70 a fault of this package, 130 interrupted, 141 standard output was
        closed early.

    Raises
    ------
    SystemExit
        With status 2 on misuse, and with 0 after ``--help`` and ``--version``, as argparse does.
    """
    closed = _open_streams()
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest:
        text = f"unrecognized arguments: {' '.join(rest)}"
        if all(_NUMBER.fullmatch(word) for word in rest):
            text += f" (this option of spikedrf {args.command} takes one value)"
        parser.error(text)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        with _told_warnings(args.command):
            status = run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("spikedrf: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return BROKEN_PIPE
    except OSError as error:
        say(f"spikedrf: error: cannot write to standard output: {error.strerror or error}")
        _discard_stdout()
        return CANNOT_WRITE
    except Exception as error:
        say(f"spikedrf {args.command}: error: it stopped")
        report(error)
        return FAULT
    if closed:
        say("spikedrf: error: cannot write to standard output: it is closed")
        return status or CANNOT_WRITE
    return status


def _open_streams() -> bool:
    """Give what is printed somewhere to go; return whether standard output is closed."""
    closed = sys.stdout is None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    # Names of columns and files are the user's; a terminal may not know their letters.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return closed


@contextmanager
def _told_warnings(command: str) -> Iterator[None]:
    """Say warnings as everything else is said."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        say(f"spikedrf {command}: warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _discard_stdout() -> None:
    """Give Python, which flushes stdout once more on its way out, somewhere to flush to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spikedrf",
        description=(
            "Exact test errors of two-layer networks after large gradient steps, in the limit "
            "of many samples, neurons and dimensions."
        ),
        epilog="example:\n  spikedrf curve --target sin --eta 3 --out curve.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"spikedrf {spikedrf.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"{__name__}.{name}")
        summary: str = module.SUMMARY
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  {module.EXAMPLE}\n\n{getattr(module, 'EPILOG', EPILOG)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(command)
        command.set_defaults(run=module.run, parser=command, command=name)
    return parser
