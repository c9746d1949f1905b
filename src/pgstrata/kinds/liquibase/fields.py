"""What a request for the Liquibase kind has of its own."""

from pgstrata.domain.model import Model


class LiquibaseFields(Model, frozen=True, kw_only=True):
    """The arguments of Liquibase, and how it is called."""

    liquibase_args: tuple[str, ...] = ()
    liquibase_exec: str | None = None
    """A Liquibase of the user's own that carries out every step."""
    liquibase_exec_mode: str | None = None
    liquibase_env: dict[str, str] = {}
    """Variables that the changelog may use."""
