"""Requests that would run programs as the engine's user, where the engine does not allow that.

What a step does that cannot be known may be a program, or a file with one in it. So nothing that
cannot be known is taken, whatever the request says, nor what names a program outright, nor
variables for Java, which obeys some of them.
"""

from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ProgramsNotAllowedError
from pgstrata.kinds.base import RecipeSide
from pgstrata.kinds.sources.base import Sources

_FIELDS = {
    "liquibase_exec": "leave it out for the engine's own Liquibase",
    "liquibase_env": "leave it out, or give -Dname=value to Liquibase",
    "exec_command": "prepare with psql or Liquibase",
}


class WithoutPrograms:
    """A recipe side that refuses such requests with ``ProgramsNotAllowedError``."""

    def __init__(self, recipe: RecipeSide) -> None:
        self._recipe = recipe

    @property
    def name(self) -> str:
        return self._recipe.name

    @property
    def can_continue(self) -> bool:
        """Whether its steps can go on after errors (``kinds.base.check_on_error``)."""
        return getattr(self._recipe, "can_continue", False)

    @property
    def has_tags(self) -> bool:
        """Whether its steps may have tags (``kinds.base.check_states``)."""
        return getattr(self._recipe, "has_tags", False)

    @property
    def reads_directories(self) -> bool:
        """Whether its sources must be in a directory (``kinds.base.reads_directories``)."""
        return getattr(self._recipe, "reads_directories", False)

    def normalize(self, request: PrepareRequest) -> str:
        _check(request)
        return self._recipe.normalize(request)

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        _check(request)
        steps = await self._recipe.steps(request, sources)
        for step in steps:
            if step.uncacheable:
                raise _refusal(
                    f"uncacheable=run would run what cannot be known: {step.title}",
                    "omit --uncacheable=run to see what it is",
                )
        return steps


def _check(request: PrepareRequest) -> None:
    for field, remedy in _FIELDS.items():
        if request.fields.get(field):
            raise _refusal(f"{field} would run a program as the engine's user", remedy)


def _refusal(what: str, remedy: str) -> ProgramsNotAllowedError:
    return ProgramsNotAllowedError(
        f"{what}, which this engine does not allow",
        remedy=f"{remedy}; or start the engine with engine.allowPrograms=true",
    )
