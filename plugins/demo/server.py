"""The demo's web server: this machine only, for its own page only.

- It listens on 127.0.0.1. A request whose Host is another name is refused, so that a name that was made to point here
  (DNS rebinding) reaches nothing.
- What costs anything is asked for by POST with the token that the page was served with; another site can neither read
  it nor send the header that carries it. Origin and Sec-Fetch-Site are checked besides.
- The page may load from here only (Content-Security-Policy), so that nothing is fetched from elsewhere.
- Bytes, pixels, connections and waiting have limits; one activity runs at a time.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import traceback
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from framework.config.validation import check_options
from framework.errors import UserError
from plugins.demo.activities import ACTIVITIES
from plugins.demo.pictures import MAX_BYTES, accept
from plugins.demo.runs import Runs

HOME = Path(__file__).parent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Seconds that a connection may be silent, and that an activity may wait for the one before it.
SILENCE, PATIENCE = 20, 30
CONNECTIONS = 32


def static_files() -> dict[str, Path]:
    """Every file that is served, by path."""
    page = {f"/{p.name}": p for p in (HOME / "page").iterdir() if p.suffix in KINDS}
    examples = {f"/examples/{p.name}": p for p in sorted((HOME / "examples").glob("*.png"))}
    return {"/": page["/index.html"], **page, **examples}


class Demo:
    """The demo while it is served: `with Demo() as demo: demo.wait()`.

    Args:
        port: of this machine; 0: any that is free.

    Raises:
        UserError: the port is taken, or not to be had.
    """

    def __init__(self, port: int = 0) -> None:
        self.runs, self.token, self.working = Runs(), secrets.token_urlsafe(32), threading.Lock()
        try:
            self.server = Server(("127.0.0.1", port), partial(Handler, self))
        except OSError as error:
            self.runs.close()
            raise UserError(f"port = {port}: {error.strerror}; port=0 takes any free one") from None
        self.files = static_files()
        self.port = self.server.server_port
        names = ("127.0.0.1", "localhost")
        self.hosts = {f"{name}:{self.port}" for name in names}
        self.hosts |= set(names) if self.port == 80 else set()
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.runs.close()

    def wait(self) -> None:
        """Until Ctrl-C."""
        self.thread.join()


class Server(ThreadingHTTPServer):
    """A server with a limit on connections."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self.free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who has gone is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = SILENCE
    server_version, sys_version = "diffobj", ""

    def __init__(self, demo: Demo, *arguments: Any) -> None:
        self.demo = demo
        super().__init__(*arguments)

    def log_message(self, *arguments: Any) -> None:
        """Nothing is logged about visitors."""

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        """A file of the page."""
        if self.foreign():
            return
        path = self.demo.files.get(urlsplit(self.path).path)
        if path is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        data = path.read_bytes()
        if path.name == "index.html":
            for mark, value in (("TOKEN", self.demo.token), ("MAX_BYTES", str(MAX_BYTES))):
                data = data.replace(f"{{{{{mark}}}}}".encode(), value.encode())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", KINDS[path.suffix])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        """An activity: its JSON objects, one a line, as they are made."""
        if self.foreign() or self.not_from_the_page():
            return
        address = urlsplit(self.path)
        activity = ACTIVITIES.get(address.path.removeprefix("/do/"))
        if activity is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such activity")
            return
        data = self.body()
        if data is None:
            return
        if not self.demo.working.acquire(timeout=PATIENCE):
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "something else is being computed")
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
            self.perform(activity, dict(parse_qsl(address.query)), data)
        finally:
            self.demo.working.release()

    def perform(self, activity: Any, options: Mapping[str, str], data: bytes) -> None:
        """Run an activity; whatever goes wrong is its last line, `error`."""
        runs = self.demo.runs
        try:
            checked = check_options(activity, options, activity.__name__)
            picture = accept(data, runs.folder) if data else None
            activity(runs, self.send, picture, **checked)
        except UserError as error:
            self.send({"error": str(error)})
        # A fault of ours, which the page must not wait for.
        except Exception as error:
            traceback.print_exc()
            self.send({"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"})

    def send(self, line: Mapping[str, Any]) -> bool:
        """Send one JSON object; False where the visitor has gone."""
        try:
            self.wfile.write(json.dumps(line).encode() + b"\n")
        except (ConnectionError, TimeoutError):
            return False
        return True

    def foreign(self) -> bool:
        """Refuse a request that was sent to another name than this machine's."""
        if self.headers.get("Host", "").lower() in self.demo.hosts:
            return False
        self.refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this page is at {self.demo.url} only")
        return True

    def not_from_the_page(self) -> bool:
        """Refuse what another site had a visitor's browser send."""
        origin = self.headers.get("Origin")
        ours = {f"http://{host}" for host in self.demo.hosts}
        token = self.headers.get("X-Demo-Token", "").encode(errors="replace")
        right = (
            (origin is None or origin in ours)
            and self.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
            and secrets.compare_digest(token, self.demo.token.encode())
        )
        if not right:
            self.refuse(HTTPStatus.FORBIDDEN, "only the demo's own page may ask; reload it")
        return not right

    def body(self) -> bytes | None:
        """What was posted; None where it was refused."""
        given = self.headers.get("Content-Length", "")
        if not (given.isascii() and given.isdecimal()) or "Transfer-Encoding" in self.headers:
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the picture is missing")
            return None
        if int(given) > MAX_BYTES:
            self.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the picture has {int(given):,} bytes; expected at most {MAX_BYTES:,}",
            )
            return None
        data = self.rfile.read(int(given))
        return data if len(data) == int(given) else None

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer with an error in one line."""
        data = json.dumps({"error": why}).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
