"""How an error is told: what is wrong, what to do, and the tool's own words."""

import json
import sys

from pgstrata.cli.text import one_line, printable
from pgstrata.errors import PgstrataError, is_known


def report(error: PgstrataError, *, as_json: bool) -> None:
    """Write an error to stderr; with ``as_json`` also to stdout, as the one document there."""
    print(f"error: {one_line(error.message)}", file=sys.stderr)
    if error.remedy:
        print(f"hint: {one_line(error.remedy)}", file=sys.stderr)
    if not is_known(error.code):
        # All there is to look it up by.
        print(f"  code: {one_line(error.code)}", file=sys.stderr)
    # A tool with only one thing to say has been quoted in full.
    if error.details and error.details.strip() != error.message:
        for line in error.details.splitlines():
            print(f"  {printable(line)}", file=sys.stderr)
    if as_json:
        import msgspec

        print(msgspec.json.encode({"error": error.body()}).decode())


def report_detached(job_id: str, *, as_json: bool) -> None:
    """Say that a job keeps running, and how to attach to it again."""
    print(f"job {job_id} continues in the engine", file=sys.stderr)
    print(f"  follow it:  pgstrata watch {job_id}", file=sys.stderr)
    print(f"  stop it:    pgstrata rm --force {job_id}", file=sys.stderr)
    if as_json:
        print(json.dumps({"job_id": job_id, "detached": True}))
