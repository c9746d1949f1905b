"""The output at the end of a job: its DSN, or its plan."""

import sys
from typing import TypedDict

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.follower import Ending
from pgstrata.cli.plan_view import show_plan
from pgstrata.cli.steps import steps_of, title
from pgstrata.cli.text import one_line, relative, short


class _Failed(TypedDict):
    step: str
    failures: tuple[str, ...]


def show_ending(context: Context, ending: Ending, *, goes_on: bool = False) -> None:
    """Print the result of the job: only ``DSN=…`` on stdout, or a plan.

    ``goes_on``: its steps went on after errors, and what failed in them is shown as well.
    """
    if ending.result is None:
        show_plan(context, ending.job())
        return
    failures = _failures(context, ending) if goes_on else []
    if context.json:
        import msgspec

        more = {"failures": failures} if failures else {}
        print_document({"job_id": ending.job_id, **msgspec.structs.asdict(ending.result), **more})
        return
    _show(failures)
    print(f"instance {short(ending.result.instance_id)}", file=sys.stderr)
    print(f"DSN={ending.result.dsn}")


def show_failures(context: Context, ending: Ending) -> None:
    """Print what failed in the steps of a job that went on after errors."""
    _show(_failures(context, ending))


def _show(failures: list[_Failed]) -> None:
    for failed in failures:
        print(f"{len(failed['failures'])} failed in {failed['step']}:", file=sys.stderr)
        for line in failed["failures"]:
            print(f"  {one_line(line)}", file=sys.stderr)


def _failures(context: Context, ending: Ending) -> list[_Failed]:
    """The steps in which something failed when their states were made, with what it was."""
    made = steps_of(ending.job().tasks)
    return [
        {"step": relative(title(step), context.work_dir), "failures": step.failures}
        for step in made
        if step.failures
    ]
