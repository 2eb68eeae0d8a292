"""The server: on loopback only, for pages of its own only, and nothing that they show is fetched from elsewhere."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument
from experiments.entry.experiment import Experiment
from experiments.entry.open_run import opened
from experiments.pages.page import page
from experiments.ui.blocks import STYLE, ui_blocks
from experiments.ui.runs import Runs

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI, Request, Response

__all__ = ["HOST", "bound_socket", "serve", "ui_app"]

HOST = "127.0.0.1"
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'self'"
)


def bound_socket(port: int) -> socket.socket:
    """A socket of this machine alone; port 0 is any that is free. Raises ``InvalidInput`` for one that is not."""
    from samplers import InvalidInput

    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise InvalidInput(
            f"{argument('port')} {port} cannot be used ({error.strerror}); choose another, or 0 for any that is free"
        ) from error
    return found


def serve(app: FastAPI, bound: socket.socket) -> None:
    """Until Ctrl-C or SIGTERM, whatever pages are open: each keeps a connection that would be waited for."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            logging.getLogger("uvicorn.error").disabled = True  # of connections that end in the middle
            self.should_exit = self.force_exit = True

    Server(uvicorn.Config(app, log_level="warning")).run(sockets=[bound])


def ui_app(runs: Runs, experiments: dict[str, Experiment]) -> FastAPI:
    """The page, and the reports of ``runs``."""
    import fastapi
    import gradio
    from fastapi.middleware.trustedhost import TrustedHostMiddleware
    from fastapi.responses import HTMLResponse, PlainTextResponse

    from samplers import McmcTextError

    blocks = ui_blocks(runs, experiments)
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/report/{name}")
    def report(name: str) -> Response:
        """The page of a run as it is now. Writes nothing."""
        try:
            with opened(runs.path(name)) as found:
                return HTMLResponse(page(found.run, found.summary, found.repeat))
        except McmcTextError as error:
            return PlainTextResponse(str(error), status_code=404)

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Pages of other servers may neither start anything here nor read it, whatever the browser lets them send."""
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers.get('host')}":
            return PlainTextResponse("this is for pages of its own", status_code=403)
        response = await answer(request)
        if not request.url.path.startswith("/report/"):  # which has a narrower one
            response.headers["Content-Security-Policy"] = POLICY
        return response

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    mounted: FastAPI = gradio.mount_gradio_app(
        app, blocks, "/", css=STYLE, footer_links=[], ssr_mode=False, show_error=True, server_name=HOST,
        enable_monitoring=False, run_history=False, mcp_server=False,
    )  # fmt: skip
    return mounted
