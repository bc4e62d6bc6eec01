"""A web server for the page, on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import Server

from spikedrf.explore.page import Page
from spikedrf.explore.state import State

#: Addresses that only this machine reaches.
LOOPBACK = ("localhost", "127.0.0.1")


def serve(
    state: State, *, address: str, port: int, show: bool, announce: Callable[[str], None]
) -> None:
    """Serve the page until Ctrl-C.

    Everything that the page needs comes from this server, nothing from the network.

    Parameters
    ----------
    state : State
        What is shown where the address says nothing.
    address : str
        Of the interface to listen on.
    port : int
        0 takes a free one.
    show : bool
        Whether to open a browser.
    announce : callable
        Is told the address of the page once it can be opened.

    Raises
    ------
    OSError
        If the port is in use, or the address is not this machine's.
    """

    def open_page(document: Any) -> None:
        Page(document, state)

    if port == 0:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as free:
            port = free.getsockname()[1]
    # Pages of other origins may not talk to it; who listens beyond loopback wants visitors.
    hosts = LOOPBACK if address in LOOPBACK else ("*",)
    server = Server(
        {"/": Application(FunctionHandler(open_page))},
        address=address,
        port=port,
        allow_websocket_origin=[f"{host}:{port}" for host in hosts],
    )
    server.start()
    name = f"[{address}]" if ":" in address else address
    announce(f"http://{name}:{port}/")
    if show:
        server.io_loop.add_callback(partial(server.show, "/"))
    try:
        server.io_loop.start()
    finally:
        server.stop()
