"""A plan as a table, with the reason for each step that is to be built."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.steps import steps_of, title
from pgstrata.cli.text import cells, columns, cut, one_line, relative, short, table

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobStatus

_HEAD = ("STEP", "WHAT", "STATUS", "STATE", "REASON")
_BESIDE_WHAT = len("STEP    to build  ") + len("  ") + 12
"""How many columns all but WHAT and REASON take."""
_LEAST_WHAT = 12
_INDENT = " " * len("STEP  ")
_LEAST_REASON = 20


class _Row(NamedTuple):
    step: str
    what: str
    status: str
    state: str
    reason: str


def show_plan(context: Context, job: "JobStatus") -> None:
    """Print a planned job's steps to stdout."""
    if context.json:
        print_document(job)
        return
    rows = [
        _Row(
            str(number),
            relative(title(step), context.work_dir),
            "cached" if step.cached else "to build" if step.kept else "to run",
            short(step.output_state_id) if step.kept else "-",
            ""
            if step.cached or step.reason is None
            else relative(step.reason.text, context.work_dir),
        )
        for number, step in enumerate(steps_of(job.tasks), 1)
    ]
    text, width = table(_HEAD, rows), columns(sys.stdout)
    if width is not None and max(map(cells, text.splitlines())) > width:
        text = "\n".join(_narrow(rows, width))
    print(text)


def _narrow(rows: list[_Row], width: int) -> Iterator[str]:
    """Lines for a terminal in which a row has no room for its reason, which comes below it."""
    import textwrap

    room = max(width - _BESIDE_WHAT, _LEAST_WHAT)
    shortened = [row._replace(what=cut(one_line(row.what), room))[:-1] for row in rows]
    head, *lines = table(_HEAD[:-1], shortened, width).splitlines()
    yield head
    for line, row in zip(lines, rows, strict=True):
        yield line
        yield from textwrap.wrap(
            one_line(row.reason),
            max(width, len(_INDENT) + _LEAST_REASON),
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
        )
