"""``ls``: list names, instances, states, jobs and tasks."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.filters import RESOLVED, check_kind, complete, image_filter
from pgstrata.cli.fitting import fitted, width_of
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
from. DSNs are shown without their passwords, unless `--dsn` is given; JSON has them. In a terminal
too narrow for all columns, some are left out: `--wide` shows them. `--long` shows whole ids, and
images by their digests instead of PostgreSQL's version. SIZE of a state is what it takes alone, and
after a `+` what its settled copy takes, which its instances are cloned from.

STATUS of an instance: active, its server runs; expired, its time is up and it is about to be
removed; orphaned, its server is gone, and in place of its DSN stands why and what to do. Of a name:
active and expired likewise; missing, it has no instance, or that has no server.
"""

_NARROW_ID = 8
"""How much of ids is shown where there is little room: as much as commands need at least."""


class Section(NamedTuple):
    """One list: its name, its filters, and how it is shown."""

    name: str
    """Also the name of the engine's method."""
    filters: Mapping[str, str]
    """Our options and the method's parameters for them."""
    rows: Callable[[Sequence[Any], Style], Table]
    yielding: tuple[str, ...]
    """The columns that are left out where there is no room for all, the first first."""

    @property
    def switch(self) -> str:
        """The option that selects it."""
        return f"--{self.name}"


SECTIONS = (
    Section(
        "names",
        {"--instance": "instance", "--state": "state", "--image": "image"},
        name_rows,
        ("STATE", "USED"),
    ),
    Section(
        "instances",
        {"--instance": "id_prefix", "--state": "state", "--image": "image"},
        instance_rows,
        ("STATE", "AGE", "IMAGE", "STATUS", "EXPIRES"),
    ),
    Section(
        "states",
        {"--state": "id_prefix", "--kind": "kind", "--image": "image"},
        state_rows,
        ("IMAGE", "AGE", "PINNED", "INSTANCES", "SIZE"),
    ),
    Section("jobs", {"--job": "job"}, job_rows, ("IMAGE", "KIND", "AGE")),
    Section("tasks", {"--job": "job"}, task_rows, ("TYPE", "JOB")),
)


def run(context: Context, given: Given) -> int:
    """Fetch and show every list that is wanted."""
    if given.words:
        raise InvalidArgumentError(
            f'ls takes no "{given.words[0]}"', remedy="choose with --instance, --state or --job"
        )
    engine = context.engine()
    given = complete(engine, given)
    if (kind := given.last("--kind")) is not None:
        check_kind(engine, kind)
    versions = _Versions(engine)
    found = {section.name: _fetch(engine, section, given, versions) for section in _wanted(given)}
    if context.json:
        print_document(found)
    else:
        print(
            "\n\n".join(
                _format(section, found[section.name], given, versions) for section in _wanted(given)
            )
        )
    return 0


class _Versions(dict[str, str]):
    """The versions of images, each asked for once."""

    def __init__(self, engine: "Engine") -> None:
        super().__init__()
        self._engine = engine
        self._unknown: set[str] = set()

    def get(self, image_id: str, default: Any = None) -> Any:
        if image_id not in self and image_id not in self._unknown and RESOLVED.fullmatch(image_id):
            if (entry := self._engine.image(image_id)) is not None:
                self[image_id] = entry.version
            else:
                self._unknown.add(image_id)
        return super().get(image_id, default)


def _wanted(given: Given) -> list[Section]:
    if given.has("--all"):
        return list(SECTIONS)
    chosen = [section for section in SECTIONS if given.has(section.switch)]
    return chosen or list(SECTIONS[:2])


def _fetch(engine: "Engine", section: Section, given: Given, versions: _Versions) -> list[Any]:
    filters = {parameter: given.last(option) for option, parameter in section.filters.items()}
    image = filters.get("image")
    if image is not None and not RESOLVED.fullmatch(image):
        del filters["image"]
        meant = image_filter(image, versions.get)
        return [item for item in _all(engine, section, filters) if meant(item.image_id)]
    return _all(engine, section, filters)


def _all(engine: "Engine", section: Section, filters: Mapping[str, str | None]) -> list[Any]:
    found: list[Any] = getattr(engine, section.name)(**filters)
    return found


def _format(section: Section, items: Sequence[Any], given: Given, versions: _Versions) -> str:
    if not items:
        return f"no {section.name}"
    style = Style(given.has("--long"), given.has("--dsn"), versions)
    head, rows = section.rows(items, style)
    width = None if given.has("--wide") else columns(sys.stdout)
    if width is None:
        return table(head, rows)
    if width_of(head, rows) > width:
        head, rows = section.rows(items, style._replace(short_id=_NARROW_ID))
    # Half a DSN connects to nothing.
    return fitted(head, rows, section.yielding, width, whole=head[-1] == "DSN")


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
        Option(
            ("--instance",), "only this instance: its name, or 8 or more characters of its id", "ID"
        ),
        Option(
            ("--state",),
            "only this state: its name, an instance's, or 8 or more characters of its id",
            "ID",
        ),
        Option(("--job",), "only this job", "ID"),
        Option(
            ("--image",),
            "only those made with this image: postgres:16, 16.4, or what IMAGE shows",
            "IMAGE",
        ),
        Option(("--kind",), "only states of this kind, such as psql", "KIND"),
    ),
    examples=(
        "pgstrata ls",
        "pgstrata ls -s --long",
        "pgstrata ls -i --state 3f2a9c1d",
        "pgstrata ls -s --image postgres:16",
        "pgstrata --output json ls --all",
    ),
    run=run,
)
