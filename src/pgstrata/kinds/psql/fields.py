"""What a request for the psql kind has of its own."""

from pgstrata.domain.model import Model


class PsqlFields(Model, frozen=True, kw_only=True):
    """The arguments of psql."""

    psql_args: tuple[str, ...] = ()
