"""The Liquibase kind's own fields of a request."""

from pgstrata.domain.model import Model


class LiquibaseFields(Model, frozen=True, kw_only=True):
    """The arguments of Liquibase, and how it is called."""

    liquibase_args: tuple[str, ...] = ()
    liquibase_exec: str | None = None
    """The user's own Liquibase, to run every step."""
    liquibase_exec_mode: str | None = None
    liquibase_env: dict[str, str] = {}
    """Variables that the changelog may use."""
