"""What an engine that allows no programs makes of a kind."""

from pgstrata.domain.request import PrepareRequest
from pgstrata.engine.programs import WithoutPrograms
from pgstrata.kinds.base import check_on_error
from pgstrata.kinds.psql.kind import PsqlRecipe


def test_a_kind_that_can_go_on_after_errors_still_can_without_programs() -> None:
    request = PrepareRequest(prepare_kind="psql", image_id="postgres", on_error="continue")
    check_on_error(WithoutPrograms(PsqlRecipe()), request)
