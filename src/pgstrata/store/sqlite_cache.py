"""The SQLite store's queries for the cache: which states may be evicted, and trees of states."""

from collections.abc import Collection
from datetime import datetime
from sqlite3 import Connection

import msgspec

from pgstrata.domain.cache import Eviction, Totals

STATES = """
    SELECT body, use_count, last_used_at, pinned,
        (SELECT COUNT(*) FROM instances WHERE instances.state_id = states.state_id)
    FROM states
"""
"""All columns of a ``State``."""
INSTANCES = "SELECT body FROM instances"

# The partial index states_evictable contains just these, in this order: the only rows read are the
# result and those that are young or in use.
_MAY_GO = """
    WHERE dependents = 0 AND pinned = 0 AND created <= :created
        AND state_id NOT IN (SELECT value FROM json_each(:excluding))
"""
_EVICTABLE = f"{STATES} {_MAY_GO} ORDER BY worth LIMIT :limit"
_NOT_EVICTABLE = """
    WITH RECURSIVE kept (state_id) AS (
        SELECT state_id FROM instances
        UNION SELECT state_id FROM states WHERE pinned = 1
        UNION SELECT state_id FROM states WHERE created > :created
        UNION SELECT value FROM json_each(:excluding)
        UNION
        SELECT parent_state_id FROM kept JOIN states USING (state_id)
        WHERE parent_state_id IS NOT NULL
    )
    SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM kept JOIN states USING (state_id)
"""
_TOTALS = "SELECT states, size_bytes FROM state_totals"

_BELOW = """
    WITH RECURSIVE below (state_id, depth) AS (
        SELECT state_id, 0 FROM states WHERE state_id = :state_id
        UNION ALL
        SELECT states.state_id, depth + 1
        FROM below JOIN states ON states.parent_state_id = below.state_id
    )
"""
_STATES_BELOW = f"{_BELOW} {STATES} JOIN below USING (state_id) ORDER BY depth, seq"
_INSTANCES_BELOW = f"{_BELOW} {INSTANCES} JOIN below USING (state_id) ORDER BY seq DESC"
_REMOVE_INSTANCES = """
    DELETE FROM instances WHERE instance_id IN (SELECT value FROM json_each(?))
"""
_REMOVE_STATES = "DELETE FROM states WHERE state_id IN (SELECT value FROM json_each(?))"
_STEMMING = """
    SELECT parent_state_id, 'state ' || state_id FROM states
    WHERE parent_state_id IN (SELECT value FROM json_each(:states))
        AND state_id NOT IN (SELECT value FROM json_each(:states))
    UNION ALL
    SELECT state_id, 'instance ' || instance_id FROM instances
    WHERE state_id IN (SELECT value FROM json_each(:states))
        AND instance_id NOT IN (SELECT value FROM json_each(:instances))
    LIMIT 1
"""
_NOTE_EVICTION = "INSERT OR REPLACE INTO last_eviction (row, body) VALUES (1, ?)"
_LAST_EVICTION = "SELECT body FROM last_eviction"

StateRow = tuple[bytes, int | None, str | None, int, int]

_decode_eviction = msgspec.json.Decoder(Eviction).decode


def listed(ids: Collection[str]) -> str:
    """Any number of ids as one parameter, so that a statement is prepared only once."""
    return msgspec.json.encode(list(ids)).decode()


def evictable(
    connection: Connection, created_before: datetime, limit: int, excluding: Collection[str]
) -> list[StateRow]:
    """See ``Store.evictable``."""
    values = {
        "created": created_before.timestamp(),
        "excluding": listed(excluding),
        "limit": limit,
    }
    return connection.execute(_EVICTABLE, values).fetchall()


def not_evictable(
    connection: Connection, created_before: datetime, excluding: Collection[str]
) -> Totals:
    """See ``Store.not_evictable``."""
    values = {"created": created_before.timestamp(), "excluding": listed(excluding)}
    states, size_bytes = connection.execute(_NOT_EVICTABLE, values).fetchone()
    return Totals(states=states, size_bytes=size_bytes)


def totals(connection: Connection) -> Totals:
    """See ``Store.count_states``."""
    states, size_bytes = connection.execute(_TOTALS).fetchone()
    return Totals(states=states, size_bytes=size_bytes)


def below(connection: Connection, state_id: str) -> tuple[list[StateRow], list[bytes]]:
    """A state with its descendants, parents first, and the bodies of all their instances."""
    key = {"state_id": state_id}
    instances = connection.execute(_INSTANCES_BELOW, key)
    return connection.execute(_STATES_BELOW, key).fetchall(), [body for (body,) in instances]


def stemming_from(
    connection: Connection, state_ids: Collection[str], instance_ids: Collection[str]
) -> tuple[str, str] | None:
    """One of the states with a dependent outside these, described for people; None without."""
    values = {"states": listed(state_ids), "instances": listed(instance_ids)}
    found: tuple[str, str] | None = connection.execute(_STEMMING, values).fetchone()
    return found


def remove(
    connection: Connection, state_ids: Collection[str], instance_ids: Collection[str]
) -> None:
    """Remove rows that no other row depends on."""
    connection.execute(_REMOVE_INSTANCES, (listed(instance_ids),))
    # In one statement, so that the order of parents and children does not matter.
    connection.execute(_REMOVE_STATES, (listed(state_ids),))


def record_eviction(connection: Connection, eviction: Eviction) -> None:
    """See ``Store.record_eviction``."""
    connection.execute(_NOTE_EVICTION, (msgspec.json.encode(eviction),))


def last_eviction(connection: Connection) -> Eviction | None:
    """See ``Store.last_eviction``."""
    found = connection.execute(_LAST_EVICTION).fetchone()
    return None if found is None else _decode_eviction(found[0])
