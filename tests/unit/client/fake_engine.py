"""An engine that says what a test scripted, over real HTTP."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pgstrata.api.codec import ENCODER

INSTANCE_ID = "e" * 32
TOKEN = "token-of-the-fake"
JOB_ID = "5f0c2a9d4be14c6f8a3d7e1b2c4f6a80"
_EVENTS_PATH = f"/v1/prepare-jobs/{JOB_ID}/events"


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """What to answer."""

    body: Any
    status: int = 200


class Cut(NamedTuple):
    """An attempt to stream that goes wrong after this many events."""

    after: int
    how: Literal["broken", "torn", "ended", "silent", "stranger"] = "broken"
    """Cut off, cut off within the next event, ended in good order, left open with nothing more
    said, or not begun at all, as by an engine that does not know the token."""


class FakeEngine:
    """Answers by script and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.connections: set[tuple[str, int]] = set()
        """The callers' addresses: one for each connection."""
        self.answers: dict[tuple[str, str], Reply] = {}
        self.first: dict[tuple[str, str], list[Reply]] = {}
        self.events: Sequence[Any] = ()
        self.cuts: list[Cut] = []
        """How the next streams break, one each; when used up, streams are whole."""
        self.chunk_bytes: int | None = None
        """How large the chunks of streams are; one for each event if None."""
        self.unsatisfiable_from: int | None = None
        """A range that starts here or later is answered with 416."""
        self.on("GET", "/v1/health", health())
        self.endpoint = ""
        self.closing = threading.Event()

    def once(self, method: str, path: str, body: Any, status: int = 200) -> None:
        """Script what is answered once, before what ``on`` scripts."""
        self.first.setdefault((method, path), []).append(Reply(body, status))

    def on(self, method: str, path: str, body: Any, status: int = 200) -> None:
        """Script an answer."""
        self.answers[method, path] = Reply(body, status)

    def requests(self, method: str, path: str) -> list[Asked]:
        """What was asked of one route."""
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    @property
    def submitted(self) -> Any:
        """The only job request that came."""
        (asked,) = self.requests("POST", "/v1/prepare-jobs")
        return asked.body

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each attempt to read events."""
        return [asked.headers.get("range") for asked in self.requests("GET", _EVENTS_PATH)]

    @contextmanager
    def serving(self) -> Iterator["FakeEngine"]:
        """Listen on a free port meanwhile."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            server.shutdown()
            thread.join()
            server.server_close()


def health(instance_id: str = INSTANCE_ID) -> dict[str, Any]:
    return {"ok": True, "version": "0.1.0", "instanceId": instance_id, "pid": 1}


def _handler_for(engine: FakeEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        client_address: tuple[str, int]
        # A client that keeps its connection open may be slow on a busy machine.
        timeout = 60

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def _answer(self) -> None:
            asked = self._asked()
            engine.asked.append(asked)
            engine.connections.add(self.client_address)
            if asked.path != "/v1/health" and asked.headers.get("authorization") != _BEARER:
                self._reply(Reply({"code": "unauthorized", "message": "wrong token"}, 401))
            elif asked.path == _EVENTS_PATH and engine.events:
                self._stream(asked)
            elif first := engine.first.get((asked.method, asked.path)):
                self._reply(first.pop(0))
            else:
                missing = Reply({"code": "not_found", "message": f"no {asked.path}"}, 404)
                self._reply(engine.answers.get((asked.method, asked.path), missing))

        def _asked(self) -> Asked:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            return Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)

        def _reply(self, reply: Reply) -> None:
            data = reply.body if isinstance(reply.body, bytes) else ENCODER.encode(reply.body)
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, asked: Asked) -> None:
            start = int(asked.headers.get("range", "events=0-")[7:-1])
            if engine.unsatisfiable_from is not None and start >= engine.unsatisfiable_from:
                self._reply(Reply({"code": "range_not_satisfiable", "message": "none"}, 416))
                return
            cut = engine.cuts.pop(0) if engine.cuts else None
            if cut is not None and cut.how == "stranger":
                self._reply(Reply({"code": "unauthorized", "message": "wrong token"}, 401))
                return
            self.send_response(206 if start else 200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            events = [json.dumps(event).encode() + b"\n" for event in engine.events[start:]]
            told = events[: cut.after if cut else None]
            if cut is not None and cut.how == "torn":
                told.append(events[cut.after][:-5])
            for chunk in _chunks(told, engine.chunk_bytes):
                self._chunk(chunk)
            if cut is None or cut.how == "ended":
                self._chunk(b"")
                return
            if cut.how == "silent":
                engine.closing.wait()
            self.close_connection = True

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    return Handler


def _chunks(lines: list[bytes], size: int | None) -> list[bytes]:
    if size is None:
        return lines
    data = b"".join(lines)
    return [data[start : start + size] for start in range(0, len(data), size)]


_BEARER = f"Bearer {TOKEN}"
