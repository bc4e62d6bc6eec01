"""``spikedrf explore``."""

from __future__ import annotations

import argparse
import importlib.util
import socket
from typing import TYPE_CHECKING

from spikedrf import losses
from spikedrf.cli import options, output, vocabulary

if TYPE_CHECKING:
    from spikedrf.explore.state import State

SUMMARY = "a local page that redraws the theory while its parameters are dragged"
EXAMPLE = "spikedrf explore --target relu --show"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        f"{parser.description} The options of the model are what it shows first; the address of "
        f"the page says what it shows now. Ctrl-C ends it."
    )
    group = parser.add_argument_group("page")
    group.add_argument(
        "--address",
        type=_address,
        default="127.0.0.1",
        metavar="HOST",
        help="interface to listen on; other machines reach only another one (%(default)s)",
    )
    group.add_argument(
        "--port", type=_port, default=5006, metavar="N", help="0 takes a free one (%(default)d)"
    )
    group.add_argument("--show", action="store_true", help="open it in a browser")
    vocabulary.add(parser, "model", "first layer", "readout", without=("alpha", "flip"))
    parser.add_argument(
        "--alpha", type=float, default=2.0, metavar="X", help="samples over dimension (%(default)g)"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the address as JSON")
    group.add_argument("--quiet", action="store_true", help="no messages but errors")


def run(args: argparse.Namespace) -> int:
    """Serve the page; print its address."""
    state = options.checked(args, lambda: _state(args))
    if importlib.util.find_spec("bokeh") is None:
        args.parser.error("explore needs Bokeh: pip install 'spikedrf[explore]'")
    from spikedrf.explore.server import serve

    def announce(url: str) -> None:
        if args.json:
            output.print_json(args, {"url": url})
        else:
            print(url)
        # Whoever reads it waits for nothing else.
        print(end="", flush=True)
        if not args.quiet:
            output.say("spikedrf explore: Ctrl-C ends it")

    try:
        serve(state, address=args.address, port=args.port, show=args.show, announce=announce)
    except OSError as error:
        args.parser.error(
            f"cannot listen on --address {args.address} --port {args.port}: "
            f"{error.strerror or error}"
        )
    except KeyboardInterrupt:
        pass
    return output.OK


def _state(args: argparse.Namespace) -> State:
    from spikedrf.explore.state import State
    from spikedrf.explore.view import view

    words = ("activation", "target", "bulk")
    names = ("alpha", "beta", "lam", "noise", "eta", "alpha0", "steps", *words)
    if args.loss != losses.resolve(args.loss.name):
        raise ValueError("loss has no parameter on the page: give its name alone")
    state = State(
        **{name: getattr(args, name) for name in names},
        loss=args.loss.name,
        labels=args.labels,
        u=tuple(args.u),
        pi=tuple(args.pi or ()),
    )
    shown = view(state)  # says now what is wrong with it
    if shown.missing:
        raise ValueError(shown.missing)
    return state


def _port(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, got {text}")
    return value


def _address(text: str) -> str:
    try:
        socket.getaddrinfo(text, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a machine") from None
    return text
