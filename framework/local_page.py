"""A web page that this machine serves to itself, and what is computed for it.

- It listens on 127.0.0.1. A request whose Host is another name is refused, so that a name that was made to point here
  (DNS rebinding) reaches nothing.
- What costs anything is asked for by POST with the token that the page was served with; another site can neither read
  it nor send the header that carries it. Origin and Sec-Fetch-Site are checked besides.
- The page may load from here only (Content-Security-Policy), so that nothing is fetched from elsewhere.
- Bytes, connections and waiting have limits; one activity runs at a time.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from framework.errors import UserError

# Sends one JSON object to the page; False once the visitor has gone.
Send = Callable[[Mapping[str, Any]], bool]
# (send, options, bytes that were posted); a UserError is shown on the page.
Activity = Callable[[Send, Mapping[str, str], bytes], None]
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
# Seconds that a connection may be silent.
SILENCE = 20
CONNECTIONS = 32


class LocalPage:
    """The page while it is served: `with LocalPage(files, activities) as page: page.wait()`.

    Args:
        files: everything that is served, by path; `/` is the page. In it `{{TOKEN}}` becomes the token, which a POST
            carries as `X-Page-Token`, and so do the other `marks`.
        find: the activity of a name; None: there is none.
        port: of this machine; 0: any that is free.
        most_bytes: that may be posted at once.
        patience: seconds that an activity waits for the one before it.

    Raises:
        UserError: the port is taken, or not to be had.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        find: Callable[[str], Activity | None],
        *,
        port: int = 0,
        marks: Mapping[str, str] | None = None,
        most_bytes: int = 0,
        patience: float = 30,
    ) -> None:
        self.token, self.working = secrets.token_urlsafe(32), threading.Lock()
        try:
            self.server = Server(("127.0.0.1", port), partial(Handler, self))
        except OSError as error:
            raise UserError(f"port = {port}: {error.strerror}; port=0 takes any free one") from None
        self.files, self.find = files, find
        self.marks = {"TOKEN": self.token, **(marks or {})}
        self.most_bytes, self.patience = most_bytes, patience
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

    def wait(self) -> None:
        """Until Ctrl-C."""
        self.thread.join()


def files_of(folder: Path, below: str = "/") -> dict[str, Path]:
    """The files of a folder that a page may consist of, by path; `index.html` is the page itself."""
    found = {f"{below}{p.name}": p for p in sorted(folder.iterdir()) if p.suffix in KINDS}
    index = found.get(f"{below}index.html")
    return found if index is None else {below: index, **found}


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

    def __init__(self, page: LocalPage, *arguments: Any) -> None:
        self.page = page
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
        path = self.page.files.get(urlsplit(self.path).path)
        if path is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        data = path.read_bytes()
        if path.name == "index.html":
            for mark, value in self.page.marks.items():
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
        activity = self.page.find(address.path.removeprefix("/do/"))
        if activity is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such activity")
            return
        data = self.body()
        if data is None:
            return
        if not self.page.working.acquire(timeout=self.page.patience):
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "something else is being computed")
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
            self.perform(activity, dict(parse_qsl(address.query)), data)
        finally:
            self.page.working.release()

    def perform(self, activity: Activity, options: Mapping[str, str], data: bytes) -> None:
        """Run an activity; whatever goes wrong is its last line, `error`."""
        try:
            activity(self.send, options, data)
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
        if self.headers.get("Host", "").lower() in self.page.hosts:
            return False
        self.refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this page is at {self.page.url} only")
        return True

    def not_from_the_page(self) -> bool:
        """Refuse what another site had a visitor's browser send."""
        origin = self.headers.get("Origin")
        ours = {f"http://{host}" for host in self.page.hosts}
        token = self.headers.get("X-Page-Token", "").encode(errors="replace")
        right = (
            (origin is None or origin in ours)
            and self.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
            and secrets.compare_digest(token, self.page.token.encode())
        )
        if not right:
            self.refuse(HTTPStatus.FORBIDDEN, "only the page itself may ask; reload it")
        return not right

    def body(self) -> bytes | None:
        """What was posted; None where it was refused."""
        given = self.headers.get("Content-Length", "")
        if not (given.isascii() and given.isdecimal()) or "Transfer-Encoding" in self.headers:
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "the length of what is posted is missing")
            return None
        if int(given) > self.page.most_bytes:
            self.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{int(given):,} bytes were posted; expected at most {self.page.most_bytes:,}",
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
