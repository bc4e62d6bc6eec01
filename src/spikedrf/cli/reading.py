"""The options that say how a table is read, and the table that is read with them."""

from __future__ import annotations

import argparse
import codecs
import os

from spikedrf.cli import files, output
from spikedrf.cli.table import Table, column, read_table


def add_file(group: argparse._ArgumentGroup, help: str = "") -> None:
    """Add the file."""
    group.add_argument(
        "data",
        type=_readable,
        metavar="DATA",
        help="table: text (CSV and its like) or Parquet, also compressed (.gz, .xz, .bz2, .zip); - "
        f"is standard input{help}",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for what cannot be told from the file itself."""
    group = parser.add_argument_group(
        "how the table is read", "told from the file itself unless given"
    )
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line holds the names of the columns",
    )
    group.add_argument(
        "--separator", type=_separator, metavar="CHAR", help="between cells; tab for a tabulator"
    )
    group.add_argument("--decimal", choices=(".", ","), help="mark of decimal fractions")
    group.add_argument(
        "--encoding", type=_encoding, metavar="NAME", help="of the text, such as latin-1 or utf-16"
    )
    group.add_argument(
        "--missing",
        choices=("fill", "error"),
        default="fill",
        help="what to do where cells are missing: fill in the median or the most frequent "
        "category and say so, or refuse (%(default)s)",
    )


def read(args: argparse.Namespace) -> Table:
    """Read the table; what is wrong with it is misuse."""
    parser: argparse.ArgumentParser = args.parser
    try:
        return read_table(
            args.data, header=args.header, separator=args.separator, encoding=args.encoding
        )
    except OSError as error:
        parser.error(f"argument DATA: {args.data!r}: {error.strerror or error}")
    except (ValueError, ImportError) as error:
        parser.error(f"argument DATA: {error}")


def columns(args: argparse.Namespace, option: str, names: list[str], given: list[str]) -> list[str]:
    """Return the names of columns given by name or position; others are misuse."""
    parser: argparse.ArgumentParser = args.parser
    try:
        return [names[column(names, which)] for which in given]
    except LookupError as error:
        parser.error(f"argument {option}: {error}")


def note(args: argparse.Namespace, text: str) -> None:
    """Say what a user should know, unless told to be quiet."""
    if not args.quiet:
        output.say(f"spikedrf {args.command}: note: {text}")


def _readable(text: str) -> str:
    # A pipe such as <(zcat file) is no regular file.
    if text != files.STDIN and (
        not os.path.exists(text) or os.path.isdir(text) or not os.access(text, os.R_OK)
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not a file that can be read")
    return text


def _separator(text: str) -> str:
    words = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
    character = words.get(text, text)
    if len(character) != 1 or character in '"\r\n':
        raise argparse.ArgumentTypeError(f"must be one character or tab, got {text!r}")
    return character


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise argparse.ArgumentTypeError(f"there is no encoding {text!r}") from None
