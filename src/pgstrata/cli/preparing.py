"""Preparing and planning, for every kind: submits a request and follows its job."""

import sys
from typing import TYPE_CHECKING

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.follow import watch
from pgstrata.cli.options import Given
from pgstrata.cli.prepared import show_ending
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobAccepted
    from pgstrata.client.engine import Engine
    from pgstrata.domain.request import PrepareRequest

WATCH_OPTIONS = (
    Option(("--watch",), "show progress until the database is ready (default)"),
    Option(("--no-watch",), "print JOB=… at once and let the engine continue"),
)


def prepare(context: Context, given: Given, request: "PrepareRequest") -> int:
    """Submit the job, and follow it to its end unless ``--no-watch`` is given."""
    engine, accepted = context.submit(request)
    goes_on = request.on_error == "continue"
    if given.which("--watch", "--no-watch") == "--no-watch":
        _show_accepted(context, accepted)
    else:
        _follow(context, engine, accepted, goes_on=goes_on)
    return 0


def plan(context: Context, request: "PrepareRequest") -> int:
    """Submit a job that only plans, and show the plan."""
    import msgspec

    _follow(context, *context.submit(msgspec.structs.replace(request, plan_only=True)))
    return 0


def _follow(
    context: Context, engine: "Engine", accepted: "JobAccepted", *, goes_on: bool = False
) -> None:
    position = accepted.queue_place
    ending = watch(context, engine, accepted.job_id, queue_place=position)
    show_ending(context, ending, goes_on=goes_on)


def _show_accepted(context: Context, accepted: "JobAccepted") -> None:
    if context.json:
        print_document(accepted)
        return
    print(f"follow it: pgstrata watch {accepted.job_id}", file=sys.stderr)
    print(f"JOB={accepted.job_id}")
