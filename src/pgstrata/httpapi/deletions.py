"""Responses to deletions, which have the same form for everything that can be deleted."""

from starlette.responses import Response

from pgstrata.domain.deletion import DeleteResult
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.routing import Reply

DELETE_REPLIES = (
    Reply(status=200, description="Deleted, or the result of a dry run.", body=DeleteResult),
    Reply(
        status=409,
        description="Something blocks the deletion; nothing was changed.",
        body=DeleteResult,
    ),
)


def delete_answer(result: DeleteResult) -> Response:
    """Respond with what was deleted, or what blocks it. A dry run succeeds either way."""
    blocked = result.outcome == "blocked" and not result.dry_run
    return answer(result, 409 if blocked else 200)
