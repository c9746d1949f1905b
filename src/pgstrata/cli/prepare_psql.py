"""``prepare:psql``: a database made by SQL scripts."""

import json
import sys

from pgstrata.cli.command import Command, Context
from pgstrata.cli.follow import follow
from pgstrata.cli.options import Given, Option
from pgstrata.cli.prepared import show_ending
from pgstrata.cli.recipe import INSTANCE_OPTIONS, PLAN_OPTIONS, request
from pgstrata.client.http import Json

ABOUT = """
Makes a database with psql and prints DSN=… once it answers. Each -f or -c is a step, and every
step's outcome is kept: what was built before, with the same content, is cloned in milliseconds.
Words after `--`, or from the first that is no option here, are psql's.
"""


def run(context: Context, given: Given) -> int:
    """Submit the job; follow it to its end unless told not to."""
    engine, accepted = context.submit(request(context, given))
    if given.which("--watch", "--no-watch") == "--no-watch":
        _show_accepted(context, accepted)
    else:
        place = accepted.get("queue_place")
        show_ending(context, follow(context, engine, accepted["job_id"], queue_place=place))
    return 0


def _show_accepted(context: Context, accepted: Json) -> None:
    if context.json:
        print(json.dumps(accepted))
        return
    print(f"follow it: pgstrata watch {accepted['job_id']}", file=sys.stderr)
    print(f"JOB={accepted['job_id']}")


COMMAND = Command(
    usage="prepare:psql [OPTIONS] [--] PSQL-ARGS",
    about=ABOUT,
    options=(
        *PLAN_OPTIONS,
        *INSTANCE_OPTIONS,
        Option(("--watch",), "show progress until the database is there (default)"),
        Option(("--no-watch",), "print JOB=… at once and leave the rest to the engine"),
    ),
    examples=(
        "pgstrata prepare:psql -- -f schema.sql -f seed.sql",
        "pgstrata prepare:psql --image postgres:16 --name shop --ttl 2h -- -f schema.sql",
        "pgstrata prepare:psql -v tenant=acme -1 -f schema.sql -c 'analyze'",
        "pg_dump old | pgstrata prepare:psql -- -f -",
        'eval "$(pgstrata prepare:psql -- -f schema.sql)"; psql "$DSN"',
    ),
    run=run,
    passes_on=True,
)
