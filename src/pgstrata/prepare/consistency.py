"""Decides whether a server may stay up while its data directory becomes a state. Pure.

A copy of a frozen server's files is what a crash would leave: a server that starts on it first
replays the WAL since the last checkpoint. Nothing committed may be lost by that, and the next step
must see what it would see after a clean start from the state.
"""

import re

from pgstrata.domain.model import Model
from pgstrata.settings import Consistency

_SETTING = re.compile(rb"^\s*([\w.]+)", re.MULTILINE)


class Situation(Model, frozen=True, kw_only=True):
    """What the decision depends on."""

    last: bool
    """Whether no step of the same job follows, so that the server is no longer needed."""
    can_clone_live: bool
    """Whether the snapshot backend can copy files that a frozen server has open."""
    lost: str | None
    """What a crash would lose, for people."""
    settings_changed: bool
    """Whether a server started now would read other settings than the running one did."""
    let_in: bool = False
    """Whether roles or databases were changed for the step to get into its server."""


def settings_changed(before: bytes, after: bytes) -> list[str]:
    """The names of settings that differ between two contents of a server's files, in order."""
    lines = set(before.splitlines()) ^ set(after.splitlines())
    return sorted({name.decode() for line in lines for name in _SETTING.findall(line)})


def reason_to_stop(wanted: Consistency, situation: Situation) -> str | None:
    """Return why the server must stop for the snapshot, for people; None if it may stay up."""
    if wanted == "clean":
        return "snapshot.consistency is clean"
    if not situation.can_clone_live:
        return "the snapshot backend cannot copy open files"
    if situation.lost is not None:
        return f"{situation.lost} would not survive a crash"
    if situation.settings_changed:
        return "settings that are read at start-up were changed"
    if situation.let_in:
        return "what let the step in has to be taken back"
    if wanted == "auto" and situation.last:
        return "no step follows, and starting from a clean state is faster"
    return None
