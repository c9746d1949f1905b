"""A package registry of a test's own, which can be slow, broken or wrong."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Registry:
    """Serves files from memory, with ranges; notes every request for one."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}
        """Media types of those that have one."""
        self.requests: list[tuple[str, str | None, str | None]] = []
        """Path, ``Range`` and ``Authorization`` of each."""
        self.breaks = 0
        """How many answers are still to break off half way."""
        self.statuses: list[int] = []
        """With what the next requests are refused."""
        self.ranges = True
        self.stalled: threading.Event | None = None
        """Set when an answer has come half way and waits for ``go_on``."""
        self.go_on = threading.Event()
        self.url = ""


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry for the length of the block."""
    registry = Registry()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Some clients have seen enough before the end.
            with suppress(ConnectionError):
                _answer(self, registry)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True  # one that a failed test left waiting holds up nobody
        registry.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield registry
        finally:
            registry.go_on.set()
            server.shutdown()
            thread.join()


def _answer(handler: Any, registry: Registry) -> None:
    wanted = handler.headers["Range"]
    registry.requests.append((handler.path, wanted, handler.headers["Authorization"]))
    if registry.statuses:
        handler.send_error(registry.statuses.pop(0))
        return
    content = registry.files.get(handler.path)
    if content is None:
        handler.send_error(404)
        return
    if wanted and registry.ranges and int(wanted[6:-1]) >= len(content):
        handler.send_error(416)
        return
    start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and registry.ranges else 0
    rest = content[start:]
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(rest)))
    if handler.path in registry.kinds:
        handler.send_header("Content-Type", registry.kinds[handler.path])
    handler.end_headers()
    half = len(rest) // 2
    handler.wfile.write(rest[:half])
    if registry.breaks:
        registry.breaks -= 1
        handler.close_connection = True
        return
    if registry.stalled is not None:
        handler.wfile.flush()
        registry.stalled.set()
        registry.go_on.wait()
    handler.wfile.write(rest[half:])
