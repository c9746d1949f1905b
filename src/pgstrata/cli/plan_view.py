"""A plan as a table."""

import sys
from typing import TYPE_CHECKING

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.steps import steps_of, title
from pgstrata.cli.text import columns, relative, short, table

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobStatus


def show_plan(context: Context, job: "JobStatus") -> None:
    """Print a planned job's steps to stdout."""
    if context.json:
        print_document(job)
        return
    rows = [
        (
            str(number),
            relative(title(step), context.work_dir),
            "cached" if step.cached else "to build",
            short(step.output_state_id),
            ""
            if step.cached or step.reason is None
            else relative(step.reason.text, context.work_dir),
        )
        for number, step in enumerate(steps_of(job.tasks), 1)
    ]
    print(table(("STEP", "WHAT", "STATUS", "STATE", "REASON"), rows, columns(sys.stdout)))
