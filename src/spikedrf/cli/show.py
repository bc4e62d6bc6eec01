"""``spikedrf show``."""

from __future__ import annotations

import argparse
from functools import partial

from spikedrf.cli import learned, options, output
from spikedrf.cli.predict import load_model, saved_model

SUMMARY = "what a model that fit has saved takes, and what it has learned"
EXAMPLE = "spikedrf show price.skops --out learned.png"
EPILOG = """\
exit status:
  0 done; 1 a file could not be written; 2 misuse
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "model", type=saved_model, metavar="MODEL", help="file that fit --model has written"
    )
    options.add_output(parser, output.PICTURES)


def run(args: argparse.Namespace) -> int:
    """Read the model, print what is in it; draw it."""
    pipeline, about = load_model(args)
    if args.json:
        result = {
            "target": about.target or None,
            "version": about.version,
            "columns": learned.columns(pipeline, about),
            **learned.numbers(pipeline, about),
        }
        output.print_json(args, result, given={"model": str(args.model)})
    else:
        learned.print_network(pipeline, about)
        learned.print_columns(pipeline, about)
    print(end="", flush=True)
    status = output.OK
    for path in args.out:
        status = output.write(args, path, partial(learned.draw, pipeline, about)) or status
    return status
