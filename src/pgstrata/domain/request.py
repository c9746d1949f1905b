"""What a caller asks for."""

from typing import Annotated, Any, Literal

import msgspec

from pgstrata.domain.model import Model

Uncacheable = Literal["refuse", "run"]
"""What to do with a recipe whose inputs cannot be known: refuse it, or run it and cache nothing."""


class PrepareRequest(Model, frozen=True, kw_only=True):
    """One prepare request."""

    prepare_kind: str
    image_id: str
    plan_only: bool = False
    work_dir: str | None = None
    """Absolute directory that relative paths in the arguments start from."""
    stdin: str | None = None
    fields: dict[str, Any] = {}
    """What the kind has of its own in a request, as plain data; beside the others on the wire."""
    instance_name: Annotated[str, msgspec.Meta(pattern="^[^/]+$")] | None = None
    """It has to fit into a path of the API: not empty, no slash."""
    instance_ttl: Annotated[int, msgspec.Meta(gt=0, le=10**9)] | None = None
    """Seconds the instance may live."""
    timeout: Annotated[int, msgspec.Meta(gt=0, le=10**9)] | None = None
    """Seconds the job may run, from getting a slot to its end; then it is stopped."""
    labels: dict[str, str] = {}
    uncacheable: Uncacheable = "refuse"
