"""The store in its SQLite database."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import NoReturn

import msgspec

from pgstrata.domain.cache import Eviction, Totals
from pgstrata.domain.instance import Instance, Pause, Server
from pgstrata.domain.model import from_plain, to_plain, utc_now
from pgstrata.domain.name import Name, name_of
from pgstrata.domain.reason import Evidence, RemovedFor, StepRecord
from pgstrata.domain.state import State, worth
from pgstrata.errors import ConflictError, NotFoundError
from pgstrata.sqlite.database import Database
from pgstrata.store import sqlite_cache, sqlite_evidence
from pgstrata.store.base import NAMES_KEPT, REMOVALS_KEPT, Tree, lease_lost, name_taken

_ADD_STATE = """
    INSERT INTO states
        (state_id, parent_state_id, image_id, prepare_kind, use_count, last_used_at,
         pinned, created, size_bytes, worth, name, body)
    VALUES
        (:state_id, :parent_state_id, :image_id, :prepare_kind, :use_count, :last_used_at,
         :pinned, :created, :size_bytes, :worth, :name, :body)
    ON CONFLICT (state_id) DO UPDATE SET
        parent_state_id = excluded.parent_state_id,
        image_id = excluded.image_id,
        prepare_kind = excluded.prepare_kind,
        use_count = excluded.use_count,
        last_used_at = excluded.last_used_at,
        created = excluded.created,
        size_bytes = excluded.size_bytes,
        worth = excluded.worth,
        body = excluded.body
"""
_USE_STATE = """
    UPDATE states SET use_count = :use_count, last_used_at = :last_used_at, worth = :worth
    WHERE state_id = :state_id
"""
_PIN_STATE = "UPDATE states SET pinned = ? WHERE state_id = ?"
_WANT_WARM = "UPDATE states SET warm = ? WHERE state_id = ?"
_WARM_STATES = "SELECT state_id, warm FROM states WHERE warm > 0"
_REMOVE_STATE = "DELETE FROM states WHERE state_id = ?"
_EXISTING_STATES = """
    SELECT state_id FROM states WHERE state_id IN (SELECT value FROM json_each(?))
"""
_STATE = f"{sqlite_cache.STATES} WHERE state_id = ?"
_STATE_NAMED = f"{sqlite_cache.STATES} WHERE name = ?"
_STATE_WITH_NAME = "SELECT state_id FROM states WHERE name = ?"
_STEMMING = """
    SELECT 'state ' || state_id FROM states WHERE parent_state_id = :state_id
    UNION ALL
    SELECT 'instance ' || instance_id FROM instances WHERE state_id = :state_id
    LIMIT 1
"""

_LEASE_BUILD = """
    INSERT INTO build_leases (item, owner) VALUES (?, ?)
    ON CONFLICT (item) DO UPDATE SET owner = excluded.owner WHERE owner = excluded.owner
"""
_END_BUILD = "DELETE FROM build_leases WHERE item = ? AND owner = ?"
_BUILD_LEASES = "SELECT item, owner FROM build_leases"
_CLEAR_BUILD_LEASES = "DELETE FROM build_leases"

_ADD_INSTANCE = """
    INSERT INTO instances (instance_id, state_id, image_id, name, expires, job_id, body)
    VALUES (:instance_id, :state_id, :image_id, :name, :expires, :job_id, :body)
"""
_REMOVE_INSTANCE = "DELETE FROM instances WHERE instance_id = ?"
_INSTANCE = f"{sqlite_cache.INSTANCES} WHERE instance_id = ?"
_INSTANCE_OF_JOB = f"{sqlite_cache.INSTANCES} WHERE job_id = ?"
_INSTANCE_NAMED = f"{sqlite_cache.INSTANCES} WHERE name = ?"
_SET_NAME = "UPDATE instances SET name = :name, body = :body WHERE instance_id = :instance_id"
_COUNT_INSTANCES = "SELECT COUNT(*) FROM instances"
_EXPIRED = f"{sqlite_cache.INSTANCES} WHERE expires <= ? ORDER BY expires"
_NEXT_EXPIRY = "SELECT MIN(expires) FROM instances WHERE expires IS NOT NULL"
_CHANGE = "UPDATE instances SET expires = :expires, body = :body WHERE instance_id = :instance_id"
_BEARER = "SELECT instance_id FROM instances WHERE name = ?"

_REMEMBER_NAME = """
    INSERT OR REPLACE INTO names (name, port, used, body) VALUES (:name, :port, :used, :body)
"""
_FORGET_NAME = "DELETE FROM names WHERE name = ?"
_FORGET_OLD_NAMES = """
    DELETE FROM names WHERE name IN (
        SELECT name FROM names
        WHERE NOT EXISTS (SELECT 1 FROM instances WHERE instances.name = names.name)
        ORDER BY used DESC LIMIT -1 OFFSET ?
    )
"""
_NAME = "SELECT body FROM names WHERE name = ?"
_NAMES = "SELECT body FROM names ORDER BY used DESC"
_PORTS_OF_NAMES = "SELECT port FROM names"

_LAST_CHARACTER = "\U0010ffff"


_encode = msgspec.json.Encoder(enc_hook=to_plain).encode
_decode_state = msgspec.json.Decoder(State).decode
_decode_name = msgspec.json.Decoder(Name).decode
_decode_instance = msgspec.json.Decoder(Instance, dec_hook=from_plain).decode


class SqliteStore:
    """A ``Store`` whose transactions are SQLite's. The opener of the database closes it."""

    def __init__(
        self,
        database: Database,
        *,
        removals_kept: int = REMOVALS_KEPT,
        names_kept: int = NAMES_KEPT,
    ) -> None:
        self._database = database
        self._removals_kept = removals_kept
        self._names_kept = names_kept

    async def add_state(
        self, state: State, *, built_by: str | None = None, steps: Sequence[StepRecord] = ()
    ) -> None:
        def change(connection: Connection) -> None:
            if built_by is not None:
                ended = connection.execute(_END_BUILD, (state.state_id, built_by))
                if not ended.rowcount:
                    raise lease_lost(state)
            _check_name_of_state(connection, state)
            try:
                connection.execute(_ADD_STATE, _state_columns(state))
            except sqlite3.IntegrityError as error:
                raise ConflictError(
                    f"state {state.state_id} cannot be stored without its "
                    f"parent {state.parent_state_id}",
                    remedy="build the parent first",
                ) from error
            sqlite_evidence.add_steps(connection, steps, kept_in=state.state_id)

        await self._database.write(change, step="store.add_state")

    async def lease_build(self, item: str, owner: str) -> bool:
        return await self._database.write(
            lambda connection: connection.execute(_LEASE_BUILD, (item, owner)).rowcount == 1,
            step="store.lease_build",
        )

    async def end_build(self, item: str, owner: str) -> None:
        await self._database.write(
            lambda connection: connection.execute(_END_BUILD, (item, owner)), step="store.end_build"
        )

    async def build_leases(self) -> dict[str, str]:
        return await self._database.look_up(
            lambda connection: dict(connection.execute(_BUILD_LEASES).fetchall())
        )

    async def clear_build_leases(self) -> None:
        await self._database.write(
            lambda connection: connection.execute(_CLEAR_BUILD_LEASES),
            step="store.clear_build_leases",
        )

    async def state(self, state_id: str) -> State | None:
        def question(connection: Connection) -> State | None:
            found = connection.execute(_STATE, (state_id,)).fetchone()
            return None if found is None else _state(*found)

        return await self._database.look_up(question)

    async def state_named(self, name: str) -> State | None:
        def question(connection: Connection) -> State | None:
            found = connection.execute(_STATE_NAMED, (name,)).fetchone()
            return None if found is None else _state(*found)

        return await self._database.look_up(question)

    async def states(
        self, *, kind: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[State]:
        filters = {"prepare_kind = ?": kind, "image_id = ?": image_id}
        return await self._states(_with_prefix(filters, "state_id", id_prefix))

    async def existing_states(self, state_ids: Iterable[str]) -> frozenset[str]:
        wanted = list(state_ids)

        def question(connection: Connection) -> frozenset[str]:
            ids = sqlite_cache.listed(wanted)
            return frozenset(
                state_id for (state_id,) in connection.execute(_EXISTING_STATES, (ids,))
            )

        return await self._database.look_up(question, keys=len(wanted))

    async def evidence(self, state_ids: Collection[str], step: StepRecord | None) -> Evidence:
        return await self._database.look_up(
            lambda connection: sqlite_evidence.evidence(connection, state_ids, step),
            keys=len(state_ids),
        )

    async def failures(self, state_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        return await self._database.look_up(
            lambda connection: sqlite_evidence.failures(connection, state_ids),
            keys=len(state_ids),
        )

    async def run_before(self, state_ids: Collection[str]) -> frozenset[str]:
        return await self._database.look_up(
            lambda connection: sqlite_evidence.run_before(connection, state_ids),
            keys=len(state_ids),
        )

    async def remove_state(self, state_id: str, *, why: RemovedFor = "removed") -> bool:
        def change(connection: Connection) -> bool:
            self._note_removed(connection, [state_id], why)
            try:
                return connection.execute(_REMOVE_STATE, (state_id,)).rowcount == 1
            except sqlite3.IntegrityError as error:
                (stemming,) = connection.execute(_STEMMING, {"state_id": state_id}).fetchone()
                raise _stemming(state_id, stemming) from error

        return await self._database.write(change, step="store.remove_state", frees=True)

    async def tree(self, state_id: str) -> Tree | None:
        def question(connection: Connection) -> Tree | None:
            states, instances = sqlite_cache.below(connection, state_id)
            if not states:
                return None
            return Tree(
                states=tuple(_state(*row) for row in states),
                instances=tuple(map(_decode_instance, instances)),
            )

        return await self._database.read(question)

    async def remove_all(
        self, *, state_ids: Collection[str], instance_ids: Collection[str]
    ) -> None:
        def change(connection: Connection) -> None:
            if found := sqlite_cache.stemming_from(connection, state_ids, instance_ids):
                raise _stemming(*found)
            self._note_removed(connection, state_ids, "removed")
            sqlite_cache.remove(connection, state_ids, instance_ids)

        await self._database.write(change, step="store.remove_all", durable=True, frees=True)

    async def set_pinned(self, state_id: str, *, pinned: bool) -> bool:
        return await self._database.write(
            lambda connection: connection.execute(_PIN_STATE, (pinned, state_id)).rowcount == 1,
            step="store.pin",
            durable=True,
            frees=not pinned,
        )

    async def set_warm(self, state_id: str, count: int) -> bool:
        return await self._database.write(
            lambda connection: connection.execute(_WANT_WARM, (count, state_id)).rowcount == 1,
            step="store.set_warm",
            durable=True,
        )

    async def warm_states(self) -> dict[str, int]:
        return await self._database.look_up(
            lambda connection: dict(connection.execute(_WARM_STATES).fetchall())
        )

    async def count_states(self) -> Totals:
        return await self._database.look_up(sqlite_cache.totals)

    async def evictable(
        self, *, created_before: datetime, limit: int, excluding: Collection[str] = ()
    ) -> list[State]:
        return await self._database.read(
            lambda connection: [
                _state(*row)
                for row in sqlite_cache.evictable(connection, created_before, limit, excluding)
            ]
        )

    async def not_evictable(
        self, *, created_before: datetime, excluding: Collection[str] = ()
    ) -> Totals:
        return await self._database.read(
            lambda connection: sqlite_cache.not_evictable(connection, created_before, excluding)
        )

    async def record_eviction(self, eviction: Eviction) -> None:
        await self._database.write(
            lambda connection: sqlite_cache.record_eviction(connection, eviction),
            step="store.record_eviction",
        )

    async def last_eviction(self) -> Eviction | None:
        return await self._database.look_up(sqlite_cache.last_eviction)

    async def add_instance(self, instance: Instance) -> None:
        """As in the port. Also raises ``ConflictError`` if the instance's id is not new."""
        await self._database.write(
            lambda connection: self._add_instance(connection, instance), step="store.add_instance"
        )

    async def replace_instance(self, instance_id: str, instance: Instance) -> None:
        def change(connection: Connection) -> None:
            connection.execute(_REMOVE_INSTANCE, (instance_id,))
            self._add_instance(connection, instance)

        await self._database.write(change, step="store.replace_instance")

    async def instance(self, instance_id: str) -> Instance | None:
        return await self._one_instance(_INSTANCE, instance_id)

    async def instance_of_job(self, job_id: str) -> Instance | None:
        return await self._one_instance(_INSTANCE_OF_JOB, job_id)

    async def instance_named(self, name: str) -> Instance | None:
        return await self._one_instance(_INSTANCE_NAMED, name)

    async def name(self, name: str) -> Name | None:
        def question(connection: Connection) -> Name | None:
            found = connection.execute(_NAME, (name,)).fetchone()
            return None if found is None else _decode_name(found[0])

        return await self._database.look_up(question)

    async def names(self) -> list[Name]:
        return await self._database.read(
            lambda connection: [_decode_name(body) for (body,) in connection.execute(_NAMES)]
        )

    async def ports_of_names(self) -> frozenset[int]:
        return await self._database.look_up(
            lambda connection: frozenset(
                port for (port,) in connection.execute(_PORTS_OF_NAMES).fetchall()
            )
        )

    async def bind_name(self, name: str, instance_id: str) -> None:
        def change(connection: Connection) -> None:
            instance = _found_instance(connection, _INSTANCE, instance_id)
            if instance is None:
                raise NotFoundError(
                    f"there is no instance {instance_id}", remedy="use an existing instance"
                )
            _check_no_state_has(connection, name)
            try:
                _set_name(connection, instance, name)
            except sqlite3.IntegrityError as error:
                (bearer,) = connection.execute(_BEARER, (name,)).fetchone()
                raise name_taken(name, f"instance {bearer}") from error
            if instance.name != name:
                connection.execute(_FORGET_NAME, (instance.name,))
            named = msgspec.structs.replace(instance, name=name)
            self._remember_name(connection, named, utc_now())

        await self._database.write(change, step="store.bind_name", durable=True)

    async def unbind_name(self, name: str) -> bool:
        def change(connection: Connection) -> bool:
            instance = _found_instance(connection, _INSTANCE_NAMED, name)
            if instance is not None:
                _set_name(connection, instance, None)
            return connection.execute(_FORGET_NAME, (name,)).rowcount == 1

        return await self._database.write(
            change, step="store.unbind_name", durable=True, frees=True
        )

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[Instance]:
        filters = {"state_id = ?": state_id, "image_id = ?": image_id}
        return await self._instances(_with_prefix(filters, "instance_id", id_prefix))

    async def count_instances(self) -> int:
        def question(connection: Connection) -> int:
            (count,) = connection.execute(_COUNT_INSTANCES).fetchone()
            return int(count)

        return await self._database.look_up(question)

    async def expired(self, now: datetime) -> list[Instance]:
        return await self._database.read(
            lambda connection: [
                _decode_instance(body)
                for (body,) in connection.execute(_EXPIRED, (now.timestamp(),))
            ]
        )

    async def next_expiry(self) -> datetime | None:
        def question(connection: Connection) -> datetime | None:
            (moment,) = connection.execute(_NEXT_EXPIRY).fetchone()
            return None if moment is None else datetime.fromtimestamp(moment, UTC)

        return await self._database.look_up(question)

    async def extend(self, instance_id: str, expires_at: datetime) -> bool:
        def longer(instance: Instance) -> Instance:
            return msgspec.structs.replace(
                instance, expires_at=expires_at, extensions=instance.extensions + 1
            )

        return await self._change_instance(instance_id, longer, step="store.extend")

    async def begin_reset(self, instance_id: str) -> bool:
        return await self._change_instance(
            instance_id,
            lambda instance: msgspec.structs.replace(instance, resetting=True),
            step="store.begin_reset",
        )

    async def begin_pause(self, instance_id: str, how: Pause) -> bool:
        return await self._change_instance(
            instance_id,
            lambda instance: msgspec.structs.replace(instance, paused=how),
            step="store.begin_pause",
        )

    async def set_server(self, instance_id: str, server: Server) -> bool:
        return await self._change_instance(
            instance_id,
            lambda instance: msgspec.structs.replace(
                instance, server=server, resetting=False, paused=None
            ),
            step="store.set_server",
        )

    async def _change_instance(
        self, instance_id: str, changed: Callable[[Instance], Instance], *, step: str
    ) -> bool:
        def change(connection: Connection) -> bool:
            instance = _found_instance(connection, _INSTANCE, instance_id)
            if instance is not None:
                connection.execute(_CHANGE, _instance_columns(changed(instance)))
            return instance is not None

        return await self._database.write(change, step=step)

    async def remove_instance(self, instance_id: str) -> bool:
        return await self._database.write(
            lambda connection: connection.execute(_REMOVE_INSTANCE, (instance_id,)).rowcount == 1,
            step="store.remove_instance",
            frees=True,
        )

    def _add_instance(self, connection: Connection, instance: Instance) -> None:
        if instance.name is not None:
            _check_no_state_has(connection, instance.name)
        try:
            connection.execute(_ADD_INSTANCE, _instance_columns(instance))
        except sqlite3.IntegrityError as error:
            _refuse_instance(connection, instance, error)
        _use(connection, instance)
        if instance.name is not None:
            self._remember_name(connection, instance, instance.created_at)

    def _remember_name(self, connection: Connection, instance: Instance, used_at: datetime) -> None:
        name = name_of(instance, used_at)
        columns = {
            "name": name.name,
            "port": name.address.port,
            "used": used_at.timestamp(),
            "body": _encode(name),
        }
        connection.execute(_REMEMBER_NAME, columns)
        connection.execute(_FORGET_OLD_NAMES, (self._names_kept,))

    def _note_removed(
        self, connection: Connection, state_ids: Collection[str], why: RemovedFor
    ) -> None:
        sqlite_evidence.note_removed(connection, state_ids, why, kept=self._removals_kept)

    async def _one_instance(self, statement: str, key: str) -> Instance | None:
        return await self._database.look_up(
            lambda connection: _found_instance(connection, statement, key)
        )

    async def _states(self, filters: dict[str, str | None]) -> list[State]:
        where, values = _where(filters)
        statement = f"{sqlite_cache.STATES} {where} ORDER BY seq"
        return await self._database.read(
            lambda connection: [_state(*row) for row in connection.execute(statement, values)]
        )

    async def _instances(self, filters: dict[str, str | None]) -> list[Instance]:
        where, values = _where(filters)
        statement = f"{sqlite_cache.INSTANCES} {where} ORDER BY seq DESC"
        return await self._database.read(
            lambda connection: [
                _decode_instance(body) for (body,) in connection.execute(statement, values)
            ]
        )


def _with_prefix(filters: dict[str, str | None], column: str, prefix: str) -> dict[str, str | None]:
    """Filters combined with a prefix of an id, as a range that an index can answer."""
    if not prefix:
        return filters
    # A prefix is almost unique. The plus sign keeps SQLite from using another filter's index, which
    # would find many more rows.
    others = {f"+{condition}": value for condition, value in filters.items()}
    return others | {f"{column} >= ?": prefix, f"{column} < ?": prefix + _LAST_CHARACTER}


def _where(filters: dict[str, str | None]) -> tuple[str, list[str]]:
    """The filters that are not None, as a WHERE clause and its values."""
    given = {condition: value for condition, value in filters.items() if value is not None}
    return ("WHERE " + " AND ".join(given) if given else ""), list(given.values())


def _state_columns(state: State) -> dict[str, str | int | float | bytes | None]:
    used = state.last_used_at
    return {
        "state_id": state.state_id,
        "parent_state_id": state.parent_state_id,
        "image_id": state.image_id,
        "prepare_kind": state.prepare_kind,
        "use_count": state.use_count,
        "last_used_at": None if used is None else used.isoformat(),
        "pinned": state.pinned,
        "created": state.created_at.timestamp(),
        "size_bytes": state.size_bytes or 0,
        "worth": worth(state),
        "name": state.name,
        "body": _encode(state),
    }


def _state(
    body: bytes, use_count: int | None, last_used_at: str | None, pinned: int, refcount: int
) -> State:
    used = None if last_used_at is None else datetime.fromisoformat(last_used_at)
    return msgspec.structs.replace(
        _decode_state(body),
        use_count=use_count,
        last_used_at=used,
        pinned=bool(pinned),
        refcount=refcount,
    )


def _use(connection: Connection, instance: Instance) -> None:
    """Count a new instance as a use of its state."""
    state = _state(*connection.execute(_STATE, (instance.state_id,)).fetchone())
    used = msgspec.structs.replace(
        state, use_count=(state.use_count or 0) + 1, last_used_at=instance.created_at
    )
    assert used.last_used_at is not None
    columns = {
        "state_id": used.state_id,
        "use_count": used.use_count,
        "last_used_at": used.last_used_at.isoformat(),
        "worth": worth(used),
    }
    connection.execute(_USE_STATE, columns)


def _stemming(state_id: str, stemming: str) -> ConflictError:
    return ConflictError(
        f"state {state_id} cannot be removed: {stemming} depends on it",
        remedy="remove what depends on it first",
    )


def _instance_columns(instance: Instance) -> dict[str, str | float | bytes | None]:
    end = instance.expires_at
    return {
        "instance_id": instance.instance_id,
        "state_id": instance.state_id,
        "image_id": instance.image_id,
        "name": instance.name,
        "expires": None if end is None else end.timestamp(),
        "job_id": instance.job_id,
        "body": _encode(instance),
    }


def _found_instance(connection: Connection, statement: str, key: str) -> Instance | None:
    found = connection.execute(statement, (key,)).fetchone()
    return None if found is None else _decode_instance(found[0])


def _set_name(connection: Connection, instance: Instance, name: str | None) -> None:
    columns = _instance_columns(msgspec.structs.replace(instance, name=name))
    connection.execute(_SET_NAME, columns)


def _check_name_of_state(connection: Connection, state: State) -> None:
    """Raise ``ConflictError`` if a state has the name of another, or of an instance."""
    if state.name is None:
        return
    other = connection.execute(_STATE_WITH_NAME, (state.name,)).fetchone()
    if other is not None and other[0] != state.state_id:
        raise name_taken(state.name, f"state {other[0]}")
    if connection.execute(_NAME, (state.name,)).fetchone() is not None:
        raise name_taken(state.name, "an instance")


def _check_no_state_has(connection: Connection, name: str) -> None:
    if (found := connection.execute(_STATE_WITH_NAME, (name,)).fetchone()) is not None:
        raise name_taken(name, f"state {found[0]}")


def _refuse_instance(
    connection: Connection, instance: Instance, error: sqlite3.IntegrityError
) -> NoReturn:
    """Raise the error for an instance that cannot be stored."""
    if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        raise ConflictError(
            f"instance {instance.instance_id} cannot be stored without its "
            f"state {instance.state_id}",
            remedy="build the state first",
        ) from error
    bearer = connection.execute(_BEARER, (instance.name,)).fetchone()
    if bearer is None or bearer[0] == instance.instance_id:
        raise ConflictError(
            f"instance {instance.instance_id} exists already",
            remedy="give the new instance a unique id",
        ) from error
    raise name_taken(instance.name, f"instance {bearer[0]}") from error
