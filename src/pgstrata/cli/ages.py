"""Times in the past and the future, relative to now, for people."""

from datetime import UTC, datetime

from pgstrata.domain import durations


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Say how long ago it was: ``3 min``."""
    if moment is None:
        return "-"
    return durations.rounded(((now or datetime.now(UTC)) - moment).total_seconds())


def until(moment: datetime | None, now: datetime | None = None) -> str:
    """Say how long it is until then; ``-`` for never."""
    if moment is None:
        return "-"
    left = (moment - (now or datetime.now(UTC))).total_seconds()
    return durations.rounded(left) if left > 0 else "over"
