"""Names of instances on the wire, in addition to the domain's own models."""

from pgstrata.domain.model import Model


class NameBinding(Model, frozen=True, kw_only=True):
    """The instance to give a name to."""

    instance_id: str
