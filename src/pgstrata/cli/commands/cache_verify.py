"""``cache verify``: check every state."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.text import one_line, short
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.domain.cache import CheckOutcome, StateCheck

ABOUT = """
Checks every cached state, looks for orphaned rows and files, and reports problems. Names, modes,
owners, sizes and times of a state's files are compared with what was kept; with --deep, their
content is read as well, and compared with what it was when it was first read so; that first time, a
server on a clone reads it, which notices bad pages if the cluster has checksums. With --repair,
unusable states are removed; they are rebuilt when they are needed. The exit code is 1 if there is
a problem that was not repaired, or if something could not be examined, as on a full disk.
"""

_OUTCOMES: "Mapping[CheckOutcome | None, str]" = {
    "removed": "removed",
    "would_remove": "--repair removes it",
    "emptied": "its files were removed; it is rebuilt when it is needed",
    "in_use": "a job is using it and will deal with it",
    "sound": "found sound when checked again",
    None: "it is left as it is",
}
_CLEAR = "\r\x1b[K"


def run(context: Context, given: Given) -> int:
    """Check, showing the progress, and report problems."""
    checks = context.engine().verify_cache(repair=given.has("--repair"), deep=given.has("--deep"))
    total, problems, first_read = _follow(checks, as_json=context.json)
    left = sum(problem.outcome == "would_remove" for problem in problems)
    unknown = sum(problem.outcome is None for problem in problems)
    if context.json:
        document = {"checked": total, "problems": [one._asdict() for one in problems]}
        print_document(document | ({"first_read": first_read} if given.has("--deep") else {}))
    else:
        print(_summary(total, len(problems) - unknown, left, unknown))
        if first_read:
            print(f"the content of {first_read} was read for the first time: nothing to compare")
    return 1 if left or unknown else 0


class _Problem(NamedTuple):
    state_id: str | None
    problem: str
    outcome: "CheckOutcome | None"


def _follow(checks: "Iterable[StateCheck]", *, as_json: bool) -> tuple[int, list[_Problem], int]:
    live = sys.stderr.isatty()
    total, first_read, problems = 0, 0, []
    for check in checks:
        total, first_read = check.total, check.first_read
        if live:
            print(_CLEAR, end="", file=sys.stderr)
        if check.problem is not None:
            problem = _Problem(check.state_id, check.problem, check.outcome)
            problems.append(problem)
            if not as_json:
                print(_line(problem), flush=True)
        if live and check.checked < total:
            print(f"checked {check.checked} of {total}", end="", file=sys.stderr, flush=True)
    return total, problems, first_read


def _line(found: _Problem) -> str:
    outcome = _OUTCOMES.get(found.outcome, "the outcome is unknown")
    return one_line(f"state {short(found.state_id)}: {found.problem} ({outcome})")


def _summary(total: int, problems: int, left: int, unknown: int) -> str:
    if not problems and not unknown:
        return f"checked {total} states, all of them sound"
    summary = (
        f"checked {total} states: {problems} cannot be used, {left} of them were left as they are"
    )
    return summary + (f"; {unknown} could not be examined" if unknown else "")


COMMAND = Command(
    usage="cache verify [--repair] [--deep]",
    about=ABOUT,
    options=(
        Option(("--repair",), "remove what cannot be used"),
        Option(("--deep",), "read the content of all files, too"),
    ),
    examples=("pgstrata cache verify", "pgstrata cache verify --repair --deep"),
    run=run,
    wordless=True,
)
