"""Names of instances, as they travel beside what the domain says of them."""

from pgstrata.domain.model import Model


class NameBinding(Model, frozen=True, kw_only=True):
    """Which instance shall bear a name."""

    instance_id: str
