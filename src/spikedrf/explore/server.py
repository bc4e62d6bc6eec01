"""A web server for the page, on this machine."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from bokeh.util.browser import view as open_browser
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import ErrorHandler

from spikedrf.explore.page import Page
from spikedrf.explore.state import State


class _Tornado(BokehTornado):  # type: ignore[misc]  # Bokeh is not followed
    """Answers only requests to names of its own.

    A page of another origin whose name leads here would be one of the same origin otherwise.
    """

    def __init__(self, page: Application, hosts: list[str], **options: Any) -> None:
        self._hosts = frozenset(hosts)
        super().__init__({"/": page}, extra_websocket_origins=hosts, **options)

    def find_handler(self, request: Any, **options: Any) -> Any:
        """Return what answers a request."""
        if request.host.lower() in self._hosts:
            return super().find_handler(request, **options)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})


def serve(
    state: State, *, address: str, port: int, show: bool, announce: Callable[[str], None]
) -> None:
    """Serve the page until Ctrl-C.

    Everything that the page needs comes from this server, nothing from the network. Its address
    has a token that nobody can guess, without which the server tells nothing, and only a page that
    came from this server may talk to it.

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

    sockets, port = bind_sockets(address, port)
    token = secrets.token_urlsafe(16)
    names = _own_names(address)
    url = f"http://{names[0]}:{port}/{token}/"
    # A request that is refused is the business of who asked.
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    tornado = _Tornado(
        Application(FunctionHandler(open_page)),
        [f"{name}:{port}" for name in names],
        prefix=token,
        absolute_url=url,
    )
    http_server = HTTPServer(tornado)
    http_server.add_sockets(sockets)
    loop = IOLoop.current()
    server = BaseServer(loop, tornado, http_server)
    server.start()
    announce(url)
    if show:
        loop.add_callback(partial(open_browser, url))
    try:
        loop.start()
    finally:
        server.stop()
        http_server.stop()


def _own_names(address: str) -> list[str]:
    """Return what an address of a page of this server may have as its host, the best first."""
    listened = {entry[4][0] for entry in socket.getaddrinfo(address, None)}
    hosts = [address]
    if any(ipaddress.ip_address(ip.partition("%")[0]).is_unspecified for ip in map(str, listened)):
        # All interfaces: this machine by its name, by that name's addresses, or from itself.
        name = socket.gethostname()
        hosts = [name, socket.getfqdn(), *_addresses(name), "localhost", "127.0.0.1", "::1"]
    elif listened & {"127.0.0.1", "::1"}:
        hosts += ["localhost", *map(str, sorted(listened))]
    hosts = [f"[{host}]" if ":" in host else host.lower() for host in hosts]
    return list(dict.fromkeys(hosts))


def _addresses(name: str) -> list[str]:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None)]
    except OSError:
        return []
