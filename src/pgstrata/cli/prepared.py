"""The end of a job that was watched: its DSN, or its plan."""

import json
import sys

from pgstrata.cli.command import Context
from pgstrata.cli.follow import Ending
from pgstrata.cli.plan_view import show_plan
from pgstrata.cli.text import short


def show_ending(context: Context, ending: Ending) -> None:
    """Print what the job was for: ``DSN=…`` alone on stdout, or a plan."""
    if ending.result is None:
        show_plan(context, ending.engine.job(ending.job_id))
        return
    if context.json:
        print(json.dumps({"job_id": ending.job_id, **ending.result}))
        return
    instance_id = ending.result["instance_id"]
    print(f"instance {short(instance_id)}", file=sys.stderr)
    print(f"DSN={ending.result['dsn']}")
