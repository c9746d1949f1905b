"""Reports errors: what is wrong, what to do, and the tool's output."""

import os
import sys
from typing import TextIO

from pgstrata.cli.text import one_line, printable
from pgstrata.errors import PgstrataError, is_known


def report(error: PgstrataError, *, as_json: bool) -> None:
    """Write an error to stderr; with ``as_json`` also to stdout, as the only document."""
    print(f"error: {one_line(error.message)}", file=sys.stderr)
    if error.remedy:
        print(f"hint: {one_line(error.remedy)}", file=sys.stderr)
    if not is_known(error.code):
        # Nothing else identifies the error.
        print(f"  code: {one_line(error.code)}", file=sys.stderr)
    for line in _more(error):
        print(f"  {printable(line)}", file=sys.stderr)
    if as_json:
        import msgspec

        print(msgspec.json.encode({"error": error.body()}).decode())


def _more(error: PgstrataError) -> list[str]:
    """A tool's lines without the one that is the message already."""
    lines = (error.details or "").splitlines()
    said = next((n for n, line in enumerate(lines) if line.strip() == error.message), None)
    return lines if said is None else [*lines[:said], *lines[said + 1 :]]


def report_detached(job_id: str, *, as_json: bool) -> None:
    """Say that a job keeps running, and how to attach to it again."""
    try:
        print(f"job {job_id} continues in the engine", file=sys.stderr)
        print(f"  follow it:  pgstrata watch {job_id}", file=sys.stderr)
        print(f"  stop it:    pgstrata rm --force {job_id}", file=sys.stderr)
    except OSError:
        # Nobody is there to be told but the engine, which has seen us go.
        abandon(sys.stderr)
    if as_json:
        import json

        print(json.dumps({"job_id": job_id, "detached": True}))


def abandon(stream: TextIO) -> None:
    """Let all that is written to a stream that nobody reads go nowhere: a failure is no help."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
