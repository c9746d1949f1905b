"""The SQLite store's records that let a plan say why its states are not in the cache."""

from collections.abc import Collection, Sequence
from sqlite3 import Connection

import msgspec

from pgstrata.domain.model import utc_now
from pgstrata.domain.reason import Evidence, Removal, RemovedFor, StepRecord
from pgstrata.store.base import ALIKE_AT_MOST
from pgstrata.store.sqlite_cache import listed

_ADD_STEP = """
    INSERT OR REPLACE INTO step_records
        (state_id, kept_in, start, from_image, kind, title, digest, body)
    VALUES
        (:state_id, :kept_in, :start, :from_image, :kind, :title, :digest, :body)
"""
_ALIKE = (
    "start = :start AND kind = :kind AND title = :title",
    "start = :start AND kind = :kind",
    "from_image = 1 AND :from_image AND digest = :digest",
)
_LIKE = """
    SELECT state_id, body FROM step_records
    WHERE state_id <> :state_id AND {} ORDER BY seq DESC LIMIT :limit
"""
# Run before the rows are deleted, so that only existing states are recorded.
_NOTE_REMOVED = """
    INSERT OR REPLACE INTO removed_states (state_id, body)
    SELECT state_id, :body FROM states WHERE state_id IN (SELECT value FROM json_each(:states))
"""
_FORGET_REMOVED = """
    DELETE FROM removed_states WHERE seq <= (SELECT MAX(seq) FROM removed_states) - :kept
"""
_REMOVED = """
    SELECT state_id, body FROM removed_states
    WHERE state_id IN (SELECT value FROM json_each(?))
"""
_STORED = "SELECT state_id FROM states WHERE state_id IN (SELECT value FROM json_each(?))"

_STEPS = "SELECT body FROM step_records WHERE state_id IN (SELECT value FROM json_each(?))"
_RUN = "SELECT state_id FROM step_records WHERE state_id IN (SELECT value FROM json_each(?))"

_decode_removal = msgspec.json.Decoder(Removal).decode
_decode_step = msgspec.json.Decoder(StepRecord).decode


def add_steps(connection: Connection, steps: Sequence[StepRecord], *, kept_in: str) -> None:
    """Keep what a stored state was made of, as long as it is stored."""
    connection.executemany(_ADD_STEP, [{**_columns(step), "kept_in": kept_in} for step in steps])


def note_removed(
    connection: Connection, state_ids: Collection[str], why: RemovedFor, *, kept: int
) -> None:
    """Remember why states are about to be removed, and at most ``kept`` removals in all."""
    removal = msgspec.json.encode(Removal(why=why, at=utc_now()))
    connection.execute(_NOTE_REMOVED, {"body": removal, "states": listed(state_ids)})
    connection.execute(_FORGET_REMOVED, {"kept": kept})


def evidence(
    connection: Connection, state_ids: Collection[str], step: StepRecord | None
) -> Evidence:
    """See ``Store.evidence``."""
    ids = (listed(state_ids),)
    return Evidence(
        removals={
            state_id: _decode_removal(body) for state_id, body in connection.execute(_REMOVED, ids)
        },
        stored=tuple(state_id for (state_id,) in connection.execute(_STORED, ids)),
        alike=() if step is None else _alike(connection, step),
    )


def failures(connection: Connection, state_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """See ``Store.failures``."""
    found = connection.execute(_STEPS, (listed(state_ids),))
    steps = (_decode_step(body) for (body,) in found)
    return {step.state_id: step.failures for step in steps if step.failures}


def run_before(connection: Connection, state_ids: Collection[str]) -> frozenset[str]:
    """See ``Store.run_before``."""
    found = connection.execute(_RUN, (listed(state_ids),))
    return frozenset(state_id for (state_id,) in found)


def _alike(connection: Connection, step: StepRecord) -> tuple[StepRecord, ...]:
    values = {**_columns(step), "limit": ALIKE_AT_MOST}
    found: dict[str, bytes] = {}
    for condition in _ALIKE:
        for state_id, body in connection.execute(_LIKE.format(condition), values):
            found.setdefault(state_id, body)
    return tuple(map(_decode_step, found.values()))


def _columns(step: StepRecord) -> dict[str, str | int | bytes]:
    return {
        "state_id": step.state_id,
        "start": step.start.id,
        "from_image": step.start.kind == "image",
        "kind": step.kind,
        "title": step.title,
        "digest": step.digest,
        "body": msgspec.json.encode(step),
    }
