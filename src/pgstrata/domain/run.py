"""Running a tool against an instance: what is to be run, and what it says."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pgstrata.domain.job import ErrorBody
from pgstrata.domain.model import Model

RunKind = Literal["psql", "pgbench"]
"""The tools that an engine runs."""

Word = Annotated[str, msgspec.Meta(pattern="^[^\\x00]*$")]
"""An argument of a program, which cannot contain a zero byte."""


class RunStep(Model, frozen=True, kw_only=True):
    """One of several calls of the tool."""

    args: tuple[Word, ...] = ()
    stdin: str | None = None


class RunRequest(Model, frozen=True, kw_only=True):
    """A tool to run against an instance."""

    instance_ref: str
    """Its id, its name, or 8 or more characters of its id."""
    kind: RunKind
    command: str | None = None
    """The tool's name, if it is given at all; a path to it is taken for its name."""
    args: tuple[Word, ...] = ()
    stdin: str | None = None
    """What the tool reads from standard input; nothing if omitted."""
    steps: tuple[RunStep, ...] = ()
    """For psql, in place of ``args`` and ``stdin``: one call after the other, up to one that
    fails."""


RunEventType = Literal["start", "stdout", "stderr", "exit", "error", "log"]


class RunEvent(Model, frozen=True, kw_only=True):
    """What happens in a run: ``start``, output and logs, then ``exit`` or ``error``."""

    type: RunEventType
    ts: datetime
    instance_id: str | None = None
    data: str | None = None
    """A piece of output, which may end anywhere; bytes that are not UTF-8 become U+FFFD."""
    exit_code: int | None = None
    """The tool's own; 128 + n if signal n ended it."""
    error: ErrorBody | None = None


LEASE_SECONDS = 120
"""How long an instance lives whose client should hold it and does not."""


class Held(Model, frozen=True, kw_only=True):
    """That an instance is held."""

    instance_id: str
    expires_at: datetime
    """When it is removed if it is not held any more."""


class StartedInstance(Model, frozen=True, kw_only=True):
    """An instance whose server runs, for a tool on the same machine."""

    instance_id: str
    dsn: str
    programs: Path
    """The directory with psql and the other programs of its PostgreSQL."""
    restarted: bool = False
    """Whether the server had ended, and was started again from the instance's data."""


def restarted(instance_id: str) -> str:
    """Say that a server was started again."""
    return f"the server of instance {instance_id} had ended; it was started again from its data"
