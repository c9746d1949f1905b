"""``ls``: list names, instances, states, jobs and tasks."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.rows import (
    Style,
    Table,
    instance_rows,
    job_rows,
    name_rows,
    state_rows,
    task_rows,
)
from pgstrata.cli.text import columns, table
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine

ABOUT = """
Lists names and instances by default. States are shown as a tree, each below the one it was made
from. DSNs are shown without their passwords, unless `--dsn` is given; JSON has them.
"""

STATE_ID_LENGTH = 64


class Section(NamedTuple):
    """One list: its name, its filters, and how it is shown."""

    name: str
    """Also the name of the engine's method."""
    filters: Mapping[str, str]
    """Our options and the method's parameters for them."""
    rows: Callable[[Sequence[Any], Style], Table]

    @property
    def switch(self) -> str:
        """The option that selects it."""
        return f"--{self.name}"


SECTIONS = (
    Section(
        "names",
        {"--instance": "instance", "--state": "state", "--image": "image"},
        name_rows,
    ),
    Section(
        "instances",
        {"--instance": "id_prefix", "--state": "state", "--image": "image"},
        instance_rows,
    ),
    Section(
        "states",
        {"--state": "id_prefix", "--kind": "kind", "--image": "image"},
        state_rows,
    ),
    Section("jobs", {"--job": "job"}, job_rows),
    Section("tasks", {"--job": "job"}, task_rows),
)


def run(context: Context, given: Given) -> int:
    """Fetch and show every list that is wanted."""
    if given.words:
        raise InvalidArgumentError(
            f'ls takes no "{given.words[0]}"', remedy="choose with --instance, --state or --job"
        )
    engine = context.engine()
    given = _complete_state_id(engine, given)
    found = {section.name: _fetch(engine, section, given) for section in _wanted(given)}
    if context.json:
        print_document(found)
    else:
        print(
            "\n\n".join(_format(section, found[section.name], given) for section in _wanted(given))
        )
    return 0


def _wanted(given: Given) -> list[Section]:
    if given.has("--all"):
        return list(SECTIONS)
    chosen = [section for section in SECTIONS if given.has(section.switch)]
    return chosen or list(SECTIONS[:2])


def _fetch(engine: "Engine", section: Section, given: Given) -> list[Any]:
    filters = {parameter: given.last(option) for option, parameter in section.filters.items()}
    found: list[Any] = getattr(engine, section.name)(**filters)
    return found


def _complete_state_id(engine: "Engine", given: Given) -> Given:
    """Complete a state's id, since the lists of instances and names do not take a prefix."""
    prefix = given.last("--state")
    if prefix is None or len(prefix) == STATE_ID_LENGTH:
        return given
    found = engine.states(id_prefix=prefix)
    if len(found) > 1:
        raise InvalidArgumentError(
            f'"{prefix}" matches {len(found)} states', remedy="give more of the id"
        )
    whole = found[0].state_id if found else prefix
    return Given((*given.options, ("--state", whole)), given.words)


def _format(section: Section, items: Sequence[Any], given: Given) -> str:
    if not items:
        return f"no {section.name}"
    style = Style(long=given.has("--long"), passwords=given.has("--dsn"))
    head, rows = section.rows(items, style)
    width = None if given.has("--wide") else columns(sys.stdout)
    return table(head, rows, width)


COMMAND = Command(
    usage="ls [OPTIONS]",
    about=ABOUT,
    options=(
        Option(("-n", "--names"), "names"),
        Option(("-i", "--instances"), "instances"),
        Option(("-s", "--states"), "states"),
        Option(("-j", "--jobs"), "jobs"),
        Option(("-t", "--tasks"), "tasks"),
        Option(("--all",), "all of them"),
        Option(("--long",), "whole ids"),
        Option(("--dsn",), "DSNs with their passwords"),
        Option(("--wide",), "whole lines, whatever the width of the terminal"),
        Option(("--instance",), "only this instance: 8 or more characters of its id", "ID"),
        Option(("--state",), "only this state: 8 or more characters of its id", "ID"),
        Option(("--job",), "only this job", "ID"),
        Option(("--image",), "only those made with this image", "IMAGE"),
        Option(("--kind",), "only states of this kind, such as psql", "KIND"),
    ),
    examples=(
        "pgstrata ls",
        "pgstrata ls -s --long",
        "pgstrata ls -i --state 3f2a9c1d",
        "pgstrata --output json ls --all",
    ),
    run=run,
)
