"""How long ago, and how long until: for people."""

from datetime import UTC, datetime

from pgstrata.domain import durations


def moment(text: str) -> datetime:
    """An RFC 3339 timestamp. Raises ``ValueError``."""
    return datetime.fromisoformat(text)


def age(timestamp: str | None, now: datetime | None = None) -> str:
    """How long ago: ``3 min``."""
    if timestamp is None:
        return "-"
    return durations.rounded(((now or datetime.now(UTC)) - moment(timestamp)).total_seconds())


def until(timestamp: str | None, now: datetime | None = None) -> str:
    """How long until then; ``-`` for never."""
    if timestamp is None:
        return "-"
    left = (moment(timestamp) - (now or datetime.now(UTC))).total_seconds()
    return durations.rounded(left) if left > 0 else "over"
