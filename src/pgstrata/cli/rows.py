"""Names, instances, states, jobs and tasks as rows of a table."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli.ages import age, until
from pgstrata.cli.steps import title
from pgstrata.cli.text import SHORT_ID, at_depth, image, short
from pgstrata.domain.sizes import rounded

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobEntry, TaskEntry
    from pgstrata.domain.listing import InstanceEntry, NameEntry
    from pgstrata.domain.state import State

_PASSWORD = re.compile("(?<=[^/]):[^@/]*(?=@)")

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


class Style(NamedTuple):
    """How much is shown."""

    long: bool
    passwords: bool = False
    """Whether DSNs are whole."""
    versions: Mapping[str, str] = {}
    """Of PostgreSQL, by image."""
    short_id: int = SHORT_ID
    """How much of an id is shown unless ``long``."""

    def id(self, identifier: str | None) -> str:
        """An id as it is shown."""
        return short(identifier, self.short_id, long=self.long)

    def image(self, image_id: str | None) -> str:
        """An image as it is shown: by its version, if that is known."""
        known = None if self.long else self.versions.get(image_id or "")
        return known or image(image_id, long=self.long)


def name_rows(items: "Sequence[NameEntry]", style: Style) -> Table:
    """Format names and their instances."""
    head = ("NAME", "INSTANCE", "STATE", "IMAGE", "STATUS", "USED")
    return head, [
        (
            item.name,
            style.id(item.instance_id),
            style.id(item.state_id),
            style.image(item.image_id),
            item.status,
            age(item.last_used_at),
        )
        for item in items
    ]


def instance_rows(items: "Sequence[InstanceEntry]", style: Style) -> Table:
    """Format instances, with the DSN last since it is the longest."""
    head = ("INSTANCE", "NAME", "STATE", "IMAGE", "STATUS", "AGE", "EXPIRES", "DSN")
    return head, [
        (
            style.id(item.instance_id),
            item.name or "-",
            style.id(item.state_id),
            style.image(item.image_id),
            item.status,
            age(item.created_at),
            until(item.expires_at) + (" (extended)" if item.extensions else ""),
            item.stopped or _dsn(item, style) or "-",
        )
        for item in items
    ]


def _dsn(item: "InstanceEntry", style: Style) -> str | None:
    if item.dsn is None or style.passwords:
        return item.dsn
    return _PASSWORD.sub("", item.dsn, count=1)


def state_rows(items: "Sequence[State]", style: Style) -> Table:
    """Format states as a forest, each below its parent."""
    head = ("STATE", "NAME", "SIZE", "AGE", "INSTANCES", "PINNED", "IMAGE", "STEP")
    return head, [
        (
            at_depth(depth, style.id(item.state_id)),
            item.name or "-",
            _size(item),
            age(item.created_at),
            str(item.refcount),
            "yes" if item.pinned else "-",
            style.image(item.image_id) if depth == 0 else "",
            _made_by(item),
        )
        for depth, item in _forest(items)
    ]


def _made_by(state: "State") -> str:
    before = state.steps - 1
    return state.prepare_args_normalized + (f" (and {before} before it)" if before else "")


def _size(item: "State") -> str:
    size = rounded(item.size_bytes)
    return size if item.settled_bytes is None else f"{size} + {rounded(item.settled_bytes)}"


def job_rows(items: "Sequence[JobEntry]", style: Style) -> Table:
    """Format jobs, always with complete ids, which `watch` and `rm` require."""
    head = ("JOB", "STATUS", "KIND", "IMAGE", "AGE", "ARGUMENTS")
    return head, [
        (
            item.job_id,
            _job_status(item),
            item.prepare_kind,
            style.image(item.resolved_image_id or item.image_id),
            age(item.created_at),
            item.prepare_args_normalized or "",
        )
        for item in items
    ]


def _job_status(item: "JobEntry") -> str:
    if item.cancelled:
        return "cancelled"
    return f"{item.status} #{item.queue_place}" if item.queue_place else item.status


def task_rows(items: "Sequence[TaskEntry]", style: Style) -> Table:
    """Format tasks of jobs."""
    head = ("JOB", "TASK", "TYPE", "STATUS", "WHAT")
    return head, [
        (
            style.id(item.job_id),
            item.task_id,
            str(item.__struct_config__.tag),
            item.status,
            title(item),
        )
        for item in items
    ]


def _forest(items: "Sequence[State]") -> "list[tuple[int, State]]":
    """Return depths and states, parents first; a state whose parent is not listed is a root.

    No recursion, since a chain of states may be longer than Python's stack.
    """
    listed = {item.state_id for item in items}
    children: dict[str | None, list[State]] = {}
    for item in items:
        parent = item.parent_state_id
        children.setdefault(parent if parent in listed else None, []).append(item)
    ordered: list[tuple[int, State]] = []
    waiting = [(0, root) for root in reversed(children.get(None, []))]
    while waiting:
        depth, item = waiting.pop()
        ordered.append((depth, item))
        below = children.get(item.state_id, [])
        waiting.extend((depth + 1, child) for child in reversed(below))
    return ordered
