"""Starting an engine in the background, by real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pgstrata.client.discovery import read
from pgstrata.client.start import start
from pgstrata.system import subprocesses

SOURCE = Path(__file__).parents[3] / "src"

# An engine that answers nothing but its health, and refuses a store that another one holds.
ENGINE = """
import fcntl, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

lock = os.open("lock", os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("error: the store is in use", file=sys.stderr)
    sys.exit(3)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        health = {"ok": True, "version": "0", "instanceId": str(os.getpid()), "pid": os.getpid()}
        data = json.dumps(health).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

server = HTTPServer(("127.0.0.1", 0), Handler)
fields = {"endpoint": f"http://127.0.0.1:{server.server_port}", "pid": os.getpid(),
          "startedAt": "2025-01-01T00:00:00Z", "authToken": "t", "version": "0",
          "instanceId": str(os.getpid())}
with open("engine.new", "w") as file:
    json.dump(fields, file)
os.rename("engine.new", "engine.json")
server.serve_forever()
"""

# What the command line does, without the command line; its child outlives it.
STARTER = """
import sys
from pathlib import Path
from pgstrata.errors import PgstrataError
from pgstrata.client.start import start

store = Path(sys.argv[1])
try:
    print(start(store, store / "engine.json", sys.argv[2:]).file.pid)
except PgstrataError as error:
    print(error.message, error.details, sep="|")
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store whose engine, if one was started, is ended."""
    path = tmp_path / "deep" / "store"
    yield path
    file = read(path / "engine.json")
    if file is not None:
        os.kill(file.pid, signal.SIGKILL)


def starter(store: Path, program: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(store), sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def outcome(store: Path, program: str) -> str:
    with starter(store, program) as process:
        return process.communicate()[0].strip()


def test_an_engine_is_started_and_outlives_its_starter(store: Path) -> None:
    pid = int(outcome(store, ENGINE))
    os.kill(pid, 0)
    assert json.loads((store / "engine.json").read_text())["pid"] == pid


def test_many_starters_at_once_end_up_with_one_engine(store: Path) -> None:
    starters = [starter(store, ENGINE) for _ in range(4)]
    pids = {process.communicate()[0].strip() for process in starters}
    assert len(pids) == 1
    assert pids.pop().isdigit()


def test_an_engine_that_loses_the_store_to_another_gives_way_to_it(store: Path) -> None:
    store.mkdir(parents=True)
    by_hand = subprocess.Popen([sys.executable, "-c", ENGINE], cwd=store)
    try:
        assert outcome(store, ENGINE) == str(by_hand.pid)
    finally:
        by_hand.kill()
        by_hand.wait()
        (store / "engine.json").unlink()


def test_an_engine_that_ends_at_once_is_told_with_its_own_words(store: Path) -> None:
    words = outcome(store, "import sys; sys.exit('error: no PostgreSQL here')")
    assert words == (
        "the engine did not start: it ended with exit code 1|error: no PostgreSQL here"
    )


def test_words_of_an_earlier_engine_are_not_told_again(store: Path) -> None:
    outcome(store, "import sys; sys.exit('an old story')")
    assert "an old story" not in outcome(store, "import sys; sys.exit('a new one')")


def test_a_log_that_has_grown_large_is_put_aside_in_place_of_the_one_before(store: Path) -> None:
    store.mkdir(parents=True)
    log, aside = store / "engine.log", store / "engine.log.1"
    aside.write_text("long ago")
    log.write_text("a little")
    outcome(store, "print('first')")
    assert log.read_text().startswith("a little")
    os.truncate(log, 9 << 20)
    outcome(store, "print('second')")
    assert log.read_text() == "second\n"
    assert aside.stat().st_size == 9 << 20


def test_an_engine_whose_starter_is_interrupted_does_not_stay(store: Path) -> None:
    store.mkdir(parents=True)
    os.mkfifo(store / "pid")
    program = "import os, signal; open('pid', 'w').write(str(os.getpid())); signal.pause()"
    with starter(store, program) as process:
        pid = int((store / "pid").read_text())
        process.send_signal(signal.SIGINT)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_interrupt_at_the_very_moment_of_the_start_leaves_no_engine_either(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn, engines = subprocesses.start_detached, []

    def interrupted(command: Sequence[str], **how: Any) -> "subprocess.Popen[bytes]":
        engines.append(spawn(command, **how))
        signal.raise_signal(signal.SIGINT)
        return engines[-1]

    monkeypatch.setattr(subprocesses, "start_detached", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(store, store / "engine.json", ["sleep", "600"])
    assert [engine.poll() for engine in engines] == [-signal.SIGTERM]


def test_a_store_that_cannot_be_made_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert outcome(tmp_path / "file" / "store", ENGINE).startswith("cannot make the store ")
