"""Starts the engine of a store if none runs."""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pgstrata.client.discovery import Found, find
from pgstrata.client.interrupts import defer_interrupts, ignore_interrupts
from pgstrata.client.patience import LONGEST_SECONDS, Patience, done_by
from pgstrata.config.model import LOG_FILE
from pgstrata.errors import PgstrataError, UnreachableError
from pgstrata.system.reserve import Reserve

if TYPE_CHECKING:
    import subprocess

DEFAULT_IDLE = "30m"
"""How long an engine that a command started stays without requests."""

_POLL_SECONDS = 0.02
_LOST_RACE_SECONDS = 2.0
"""How long to look for the engine that locked the store, if our own could not."""
_END_SECONDS = 5.0
_STORE_IN_USE = 3
"""The exit code of an engine whose store is in use, among other causes."""
_TAIL_LINES = 15
_LOG_BYTES = 8 << 20
"""A log that is larger is put aside when an engine starts, in place of the one before it."""


def serve_command(store: Path, arguments: Sequence[str]) -> list[str]:
    """The command that runs the engine of a store in the foreground."""
    # -P: a file in the store must never be imported as one of the engine's modules.
    python = [sys.executable, "-P", "-X", "utf8", "-m", "pgstrata"]
    return [*python, "engine", "serve", "--store", str(store), *arguments]


def start(
    store: Path, engine_json: Path, command: Sequence[str], *, timeout: float | None = None
) -> Found:
    """Start an engine in the background and return once it answers, or find another's.

    Two commands at the same time start one engine: they wait for each other, and the second finds
    the first's. If an engine is started by hand at the same moment, ours exits, and that one is
    found. One that takes long is waited for as long as it does something, and the log told so.
    Raises ``UnreachableError``, with the engine's own output, if none answers in the end.
    """
    # Otherwise it takes no part in what a command imports.
    from pgstrata.statefs.store_image import StoreImage

    StoreImage(store).attach()
    _make(store)
    log = store / LOG_FILE
    reserve = Reserve(store)
    if reserve.is_needed:
        reserve.give_up()  # a lock and a log take room, too
    with _start_lock(store, time.monotonic() + LONGEST_SECONDS):
        found = find(engine_json, timeout)
        if found is not None:
            return found
        _put_aside(log)
        _make_private(log)
        written_before = log.stat().st_size
        child = None
        try:
            with defer_interrupts():
                from pgstrata.system.subprocesses import start_detached

                child = start_detached(command, log=log, cwd=store, env=os.environ)
            began = time.monotonic()
            found = _await(child, engine_json, log, timeout)
        except KeyboardInterrupt:
            # No client knows about this engine yet.
            if child is not None:
                with ignore_interrupts():
                    _end(child)
            raise
    if found is None:
        raise _did_not_start(child, log, written_before, time.monotonic() - began)
    _forget(child)
    return found


def _await(
    child: "subprocess.Popen[bytes]", engine_json: Path, log: Path, timeout: float | None
) -> Found | None:
    """The engine, or None if the child exited and no other answers, or it is stuck."""
    patience = Patience(time.monotonic(), done_by(child.pid, log))
    while patience.lasts(now := time.monotonic(), done_by(child.pid, log)):
        found = find(engine_json, timeout)
        if found is not None:
            return found
        if child.poll() is not None:
            return _of_another(engine_json, child.returncode, timeout)
        if patience.to_tell(now):
            _say_that_it_takes_long(child.pid, log)
        time.sleep(_POLL_SECONDS)
    return None


def _of_another(engine_json: Path, exit_code: int, timeout: float | None) -> Found | None:
    """The engine that holds the store, if that is why ours ended."""
    grace = _LOST_RACE_SECONDS if exit_code == _STORE_IN_USE else 0.0
    deadline = time.monotonic() + grace
    while (found := find(engine_json, timeout)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return found


def _say_that_it_takes_long(pid: int, log: Path) -> None:
    # Few commands wait long enough to need it.
    import logging

    logging.getLogger(__name__).warning(
        "waiting for the engine (pid %s), which is still starting; its log is %s", pid, log
    )


def _forget(child: "subprocess.Popen[bytes]") -> None:
    """Have whoever ends last not matter: a program that goes on does not leave it a zombie."""
    if child.poll() is None:
        threading.Thread(target=child.wait, name="engine", daemon=True).start()


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    deadline = time.monotonic() + _END_SECONDS
    while child.poll() is None:
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(_POLL_SECONDS)


def _did_not_start(
    child: "subprocess.Popen[bytes]", log: Path, written_before: int, waited: float
) -> UnreachableError:
    exit_code = child.poll()
    if exit_code is None:
        message = f"the engine (pid {child.pid}) does not answer after {waited:.0f} s"
    else:
        message = f"the engine did not start: it ended with exit code {exit_code}"
    with log.open("rb") as lines:
        lines.seek(written_before)
        words = lines.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return UnreachableError(message, remedy=f"see its log, {log}", details="\n".join(words) or None)


def _make(store: Path) -> None:
    try:
        if not store.is_dir():
            store.mkdir(parents=True, exist_ok=True)
            # Servers that run as another user must be able to enter it, but not to list it,
            # whatever the umask.
            store.chmod(0o711)
    except OSError as error:
        raise PgstrataError(
            f"cannot make the store {store}: {error.strerror}",
            remedy="set PGSTRATA_STORE to a directory you own",
        ) from error


def _put_aside(log: Path) -> None:
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            log.rename(log.with_name(f"{log.name}.1"))


def _make_private(log: Path) -> None:
    """See to it that the log is there and its owner's alone, also one of an earlier version."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


@contextmanager
def _start_lock(store: Path, deadline: float) -> Iterator[None]:
    """Hold the store's lock for starting engines, or continue without it after the deadline."""
    try:
        lock = os.open(store / "engine.start", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PgstrataError(
            f"cannot write to the store {store}: {error.strerror}",
            remedy="set PGSTRATA_STORE to a directory you own",
        ) from error
    try:
        while not _try_lock(lock) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
