"""The output at the end of a job: its DSN, or its plan."""

import sys

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.follow import Ending
from pgstrata.cli.plan_view import show_plan
from pgstrata.cli.text import short


def show_ending(context: Context, ending: Ending) -> None:
    """Print the result of the job: only ``DSN=…`` on stdout, or a plan."""
    if ending.result is None:
        show_plan(context, ending.engine.job(ending.job_id))
        return
    if context.json:
        import msgspec

        print_document({"job_id": ending.job_id, **msgspec.structs.asdict(ending.result)})
        return
    print(f"instance {short(ending.result.instance_id)}", file=sys.stderr)
    print(f"DSN={ending.result.dsn}")
