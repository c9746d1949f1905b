"""A plan as a table."""

import json
import sys

from pgstrata.cli.command import Context
from pgstrata.cli.steps import title
from pgstrata.cli.text import columns, relative, short, table
from pgstrata.client.http import Json


def show_plan(context: Context, job: Json) -> None:
    """Print a planned job's steps to stdout."""
    if context.json:
        print(json.dumps(job))
        return
    steps = [task for task in job.get("tasks", []) if task["type"] == "state_execute"]
    rows = [
        (
            str(number),
            relative(title(step), context.work_dir),
            _standing(step),
            short(step["output_state_id"]),
        )
        for number, step in enumerate(steps, 1)
    ]
    print(table(("STEP", "WHAT", "STANDING", "STATE"), rows, columns(sys.stdout)))


def _standing(step: Json) -> str:
    return "cached" if step.get("cached") else "to build"
