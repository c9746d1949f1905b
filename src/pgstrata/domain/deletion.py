"""The outcome of a deletion, or of its dry run."""

from typing import Literal

from pgstrata.domain.model import Model

DeleteOutcome = Literal["deleted", "would_delete", "blocked"]
DeleteKind = Literal["state", "instance", "job"]
BlockedBy = Literal[
    "active_connections", "active_tasks", "has_descendants", "blocked_by_descendant"
]


class DeleteNode(Model, frozen=True, kw_only=True):
    """One thing to delete, with what depends on it."""

    kind: DeleteKind
    id: str
    connections: int | None = None
    """Clients connected to an instance; None for what is not an instance."""
    runtime_id: str | None = None
    """The runtime's name for the instance's server."""
    blocked: BlockedBy | None = None
    """Why this one cannot be deleted; None if it can."""
    children: tuple["DeleteNode", ...] = ()


class DeleteResult(Model, frozen=True, kw_only=True):
    """The outcome of a deletion: everything in the tree was deleted, or nothing."""

    dry_run: bool
    outcome: DeleteOutcome
    root: DeleteNode
