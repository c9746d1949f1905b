"""Having a job done for a request: preparing and planning, whatever the kind."""

import json
import sys

from pgstrata.cli.command import Context
from pgstrata.cli.follow import follow
from pgstrata.cli.options import Given, Option
from pgstrata.cli.prepared import show_ending
from pgstrata.client.http import Json

WATCH_OPTIONS = (
    Option(("--watch",), "show progress until the database is there (default)"),
    Option(("--no-watch",), "print JOB=… at once and leave the rest to the engine"),
)


def prepare(context: Context, given: Given, asked: Json) -> int:
    """Submit the job; follow it to its end unless told not to."""
    engine, accepted = context.submit(asked)
    if given.which("--watch", "--no-watch") == "--no-watch":
        _show_accepted(context, accepted)
    else:
        place = accepted.get("queue_place")
        show_ending(context, follow(context, engine, accepted["job_id"], queue_place=place))
    return 0


def plan(context: Context, asked: Json) -> int:
    """Submit a job that stops after its plan, and show that."""
    engine, accepted = context.submit({**asked, "plan_only": True})
    place = accepted.get("queue_place")
    show_ending(context, follow(context, engine, accepted["job_id"], queue_place=place))
    return 0


def _show_accepted(context: Context, accepted: Json) -> None:
    if context.json:
        print(json.dumps(accepted))
        return
    print(f"follow it: pgstrata watch {accepted['job_id']}", file=sys.stderr)
    print(f"JOB={accepted['job_id']}")
