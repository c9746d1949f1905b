"""Prepare requests."""

from typing import Annotated, Any, Literal

import msgspec

from pgstrata.domain.durations import LONGEST
from pgstrata.domain.initdb import AS_ALWAYS, Initdb
from pgstrata.domain.model import Model
from pgstrata.domain.plan import OnError, States

Uncacheable = Literal["refuse", "run"]
"""Whether a recipe whose inputs cannot be known is refused, or run without caching anything."""


class PrepareRequest(Model, frozen=True, kw_only=True):
    """One prepare request."""

    prepare_kind: str
    image_id: str = ""
    """May be omitted if it goes on from a state, whose image it is then."""
    start_from: str | None = msgspec.field(name="from", default=None)
    """The state that the first step starts from, by its id, 8 or more characters of it, or its
    name; None for the image. A job's is a whole id."""
    plan_only: bool = False
    work_dir: str | None = None
    """Absolute directory that relative paths in the arguments start from."""
    ref: str | None = None
    """The revision that inputs are read from, of the git repository with ``work_dir``; None for
    the files as they are. A job's is a commit."""
    stdin: str | None = None
    fields: dict[str, Any] = {}
    """The kind's own fields, as plain data; on the wire they are next to the others."""
    instance_name: Annotated[str, msgspec.Meta(pattern="^[^/]+$")] | None = None
    """Part of a path of the API: not empty, no slash."""
    replace: bool = False
    """Whether an instance that has this name ends in favour of the new one."""
    instance_ttl: Annotated[int, msgspec.Meta(gt=0, le=LONGEST)] | None = None
    """Seconds the instance may live."""
    timeout: Annotated[int, msgspec.Meta(gt=0, le=LONGEST)] | None = None
    """Seconds the job may run once it has a slot; then it is stopped."""
    labels: dict[str, str] = {}
    uncacheable: Uncacheable = "refuse"
    on_error: OnError = "stop"
    """Whether a step that fails in part is kept all the same."""
    states: States = "auto"
    """Which of its steps leave a state of their own."""
    settings: dict[str, str] = {}
    """PostgreSQL settings of the servers that build its states and of the instance, over the
    engine's own."""
    initdb: Initdb = AS_ALWAYS
    """How the cluster is made that the first step starts from."""
