"""Names of instances and states on the wire, in addition to the domain's own models."""

from pgstrata.domain.model import Model


class NameBinding(Model, frozen=True, kw_only=True):
    """The instance to give a name to."""

    instance_id: str


class SnapshotRequest(Model, frozen=True, kw_only=True):
    """What to call the state that is made of an instance."""

    name: str | None = None
