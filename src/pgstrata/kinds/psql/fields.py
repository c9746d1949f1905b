"""The psql kind's own fields of a request."""

from pgstrata.domain.model import Model


class PsqlFields(Model, frozen=True, kw_only=True):
    """The arguments of psql."""

    psql_args: tuple[str, ...] = ()
