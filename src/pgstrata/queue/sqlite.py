"""The queue in the store's SQLite database."""

import codecs
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from sqlite3 import Connection

import msgspec

from pgstrata.domain.job import Event, Job, Status, Task, Transition
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ConflictError
from pgstrata.queue.base import JobCounts, Kept, up_to, without_stdin
from pgstrata.sqlite.database import Database

_encode = msgspec.json.Encoder().encode
_decode_job = msgspec.json.Decoder(Job).decode
_decode_task = msgspec.json.Decoder(Task).decode
_decode_event = msgspec.json.Decoder(Event).decode

_ADD_JOB = """
    INSERT INTO jobs (job_id, status, signature, cancel_requested, body)
    VALUES (:job_id, :status, :signature, :cancel_requested, :body)
"""
_ADD_STDIN = "INSERT INTO standard_inputs (job_id, text) VALUES (?, CAST(zeroblob(?) AS TEXT))"
_REMOVE_STDIN = "DELETE FROM standard_inputs WHERE job_id = ?"
_STDIN = "SELECT rowid FROM standard_inputs WHERE job_id = ?"
_CHANGE_JOB = """
    UPDATE jobs SET
        status = :status,
        signature = :signature,
        cancel_requested = cancel_requested OR :cancel_requested,
        finish_number = NULL,
        body = :body
    WHERE job_id = :job_id AND status IN (SELECT value FROM json_each(:expected))
"""
# Jobs are numbered in the order in which they finish, since clocks jump. What a job takes is
# counted once, when nothing is added to it any more.
_FINISH_JOB = """
    UPDATE jobs SET
        finish_number = (
            SELECT COALESCE(MAX(finish_number), 0) + 1 FROM jobs WHERE finish_number IS NOT NULL
        ),
        finished = :finished,
        size_bytes = LENGTH(body)
            + (SELECT COALESCE(SUM(LENGTH(body)), 0) FROM tasks WHERE job_id = :job_id)
            + (SELECT COALESCE(SUM(LENGTH(body)), 0) FROM events WHERE job_id = :job_id)
    WHERE job_id = :job_id
"""
_REQUEST_CANCEL = """
    UPDATE jobs SET cancel_requested = 1 WHERE job_id = ? AND finish_number IS NULL
"""
_REMOVE_JOB = "DELETE FROM jobs WHERE job_id = ? AND finish_number IS NOT NULL"
_REMOVE_TASKS = "DELETE FROM tasks WHERE job_id = ?"
_PUT_TASK = """
    INSERT INTO tasks (job_id, task_id, body) VALUES (?, ?, ?)
    ON CONFLICT (job_id, task_id) DO UPDATE SET body = excluded.body
"""
_APPEND_EVENT = """
    INSERT INTO events (job_id, number, body)
    SELECT :job_id, COALESCE(MAX(number) + 1, 0), :body FROM events WHERE job_id = :job_id
"""

_IS_UNFINISHED = "SELECT 1 FROM jobs WHERE job_id = ? AND finish_number IS NULL"
_JOB = "SELECT body, cancel_requested FROM jobs WHERE job_id = ?"
_JOBS = "SELECT body, cancel_requested FROM jobs ORDER BY seq DESC"
_JOBS_BETWEEN = """
    SELECT body, cancel_requested FROM jobs WHERE job_id >= ? AND job_id < ? ORDER BY seq DESC
"""
_UNFINISHED_JOBS = """
    SELECT job_id, body, cancel_requested FROM jobs WHERE finish_number IS NULL ORDER BY seq
"""
_FINISHED_JOBS_ALIKE = """
    SELECT body, cancel_requested FROM jobs
    WHERE signature = ? AND finish_number IS NOT NULL ORDER BY finish_number DESC
"""
_SURPLUS = """
    SELECT job_id FROM (
        SELECT
            job_id,
            finish_number,
            finished,
            ROW_NUMBER() OVER newest AS place,
            SUM(size_bytes) OVER newest AS size_bytes
        FROM jobs WHERE finish_number IS NOT NULL
        WINDOW newest AS (ORDER BY finish_number DESC)
    )
    WHERE finished <= :finished_before
        AND (place > :number OR (place > 1 AND size_bytes > :max_bytes) OR finished < :since)
    ORDER BY finish_number
"""
# Both are answered from partial indexes.
_COUNT_UNFINISHED = """
    SELECT status, COUNT(*) FROM jobs WHERE finish_number IS NULL GROUP BY status
"""
_COUNT_FINISHED = "SELECT COUNT(*) FROM jobs WHERE finish_number IS NOT NULL"
_TASKS_OF_JOB = """
    SELECT body FROM tasks WHERE job_id = :job_id ORDER BY seq LIMIT :limit OFFSET :start
"""
_TASKS = """
    SELECT tasks.body FROM jobs JOIN tasks USING (job_id) ORDER BY jobs.seq DESC, tasks.seq
    LIMIT :limit OFFSET :start
"""
_EVENTS = "SELECT body FROM events WHERE job_id = ? AND number >= ? ORDER BY number LIMIT ?"
_COUNT_EVENTS = "SELECT COALESCE(MAX(number) + 1, 0) FROM events WHERE job_id = ?"

_PIECE = 1 << 16
"""How much of a standard input is read or written while the interpreter's lock is held."""

_NO_LIMIT = -1
_FEW_TASKS = 200
_LAST_CHARACTER = "\U0010ffff"

Value = str | int | float | bytes | None


class SqliteQueue:
    """A ``Queue`` whose transactions are SQLite's. The caller closes the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        """See ``Queue.add``. Raises ``ConflictError`` if the id is in use."""

        def change(connection: Connection) -> None:
            try:
                connection.execute(_ADD_JOB, _columns(job))
            except sqlite3.IntegrityError as error:
                raise ConflictError(
                    f"job {job.job_id} exists already", remedy="give the new job a unique id"
                ) from error
            if job.request.stdin is not None:
                _add_stdin(connection, job.job_id, job.request.stdin)
            _append(connection, job.job_id, events)
            _finish_if_terminal(connection, job)

        await self._database.write(change, step="queue.add")

    async def apply(self, transition: Transition) -> bool:
        job = transition.job

        def change(connection: Connection) -> bool:
            columns = _columns(job) | {"expected": _encode(transition.expected).decode()}
            if connection.execute(_CHANGE_JOB, columns).rowcount == 0:
                return False
            if transition.replace_tasks:
                connection.execute(_REMOVE_TASKS, (job.job_id,))
            connection.executemany(
                _PUT_TASK, [(job.job_id, task.task_id, _encode(task)) for task in transition.tasks]
            )
            _append(connection, job.job_id, transition.events)
            _finish_if_terminal(connection, job)
            return True

        ends = job.status.terminal
        return await self._database.write(change, step="queue.apply", durable=ends)

    async def append(self, job_id: str, events: Sequence[Event]) -> bool:
        def change(connection: Connection) -> bool:
            if connection.execute(_IS_UNFINISHED, (job_id,)).fetchone() is None:
                return False
            _append(connection, job_id, events)
            return True

        return await self._database.write(change, step="queue.append")

    async def sync(self) -> None:
        await self._database.sync()

    async def request_cancel(self, job_id: str) -> bool:
        return await self._change_one(_REQUEST_CANCEL, job_id, step="queue.request_cancel")

    async def remove(self, job_id: str) -> bool:
        return await self._change_one(_REMOVE_JOB, job_id, step="queue.remove")

    async def get(self, job_id: str) -> Job | None:
        def question(connection: Connection) -> Job | None:
            found = connection.execute(_JOB, (job_id,)).fetchone()
            return None if found is None else _job(*found)

        return await self._database.look_up(question)

    async def stdin(self, job_id: str) -> str | None:
        def question(connection: Connection) -> str | None:
            found = connection.execute(_STDIN, (job_id,)).fetchone()
            return None if found is None else _read_stdin(connection, *found)

        return await self._database.read(question)

    async def jobs(self, *, prefix: str = "") -> list[Job]:
        if not prefix:
            return await self._jobs(_JOBS)
        return await self._jobs(_JOBS_BETWEEN, prefix, prefix + _LAST_CHARACTER)

    async def counts(self) -> JobCounts:
        def question(connection: Connection) -> JobCounts:
            unfinished = dict(connection.execute(_COUNT_UNFINISHED).fetchall())
            (finished,) = connection.execute(_COUNT_FINISHED).fetchone()
            return JobCounts(
                queued=unfinished.get(Status.QUEUED, 0),
                running=unfinished.get(Status.RUNNING, 0),
                finished=finished,
            )

        return await self._database.read(question)

    async def unfinished(self) -> list[Job]:
        return [job for _, job in await self._unfinished() if job is not None]

    async def unreadable(self) -> list[Job]:
        return [_remains_of(job_id) for job_id, job in await self._unfinished() if job is None]

    async def _unfinished(self) -> list[tuple[str, Job | None]]:
        return await self._database.read(
            lambda connection: [
                (job_id, _job_if_readable(*row))
                for job_id, *row in connection.execute(_UNFINISHED_JOBS)
            ]
        )

    async def finished_alike(self, signature: str) -> list[Job]:
        return await self._jobs(_FINISHED_JOBS_ALIKE, signature)

    async def surplus(self, kept: Kept, *, finished_before: datetime) -> list[str]:
        bounds: dict[str, Value] = {
            "number": kept.number,
            "max_bytes": kept.max_bytes,
            "since": None if kept.since is None else kept.since.timestamp(),
            "finished_before": finished_before.timestamp(),
        }
        return await self._database.read(
            lambda connection: [job_id for (job_id,) in connection.execute(_SURPLUS, bounds)]
        )

    async def tasks(
        self, job_id: str | None = None, start: int = 0, limit: int | None = None
    ) -> list[Task]:
        def question(connection: Connection, most: int | None = limit) -> list[Task]:
            bounds = {"start": start, "limit": _NO_LIMIT if most is None else most}
            rows = (
                connection.execute(_TASKS, bounds)
                if job_id is None
                else connection.execute(_TASKS_OF_JOB, {"job_id": job_id, **bounds})
            )
            return [_decode_task(body) for (body,) in rows]

        if job_id is not None:
            # Most jobs have a few tasks.
            most = _FEW_TASKS if limit is None else min(limit, _FEW_TASKS)
            found = await self._database.look_up(partial(question, most=most))
            if len(found) < _FEW_TASKS or most == limit:
                return found
        return await self._database.read(question)

    async def events(
        self,
        job_id: str,
        start: int = 0,
        limit: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[Event]:
        def question(connection: Connection) -> list[Event]:
            rows = connection.execute(
                _EVENTS, (job_id, start, _NO_LIMIT if limit is None else limit)
            )
            return up_to(max_bytes, (_decode_event(body) for (body,) in rows))

        ask = self._database.read if limit is None else self._database.look_up
        return await ask(question)

    async def count_events(self, job_id: str) -> int:
        def question(connection: Connection) -> int:
            (count,) = connection.execute(_COUNT_EVENTS, (job_id,)).fetchone()
            return int(count)

        return await self._database.look_up(question)

    async def _change_one(self, statement: str, job_id: str, *, step: str) -> bool:
        return await self._database.write(
            lambda connection: connection.execute(statement, (job_id,)).rowcount == 1,
            step=step,
            frees=True,
        )

    async def _jobs(self, statement: str, *values: str) -> list[Job]:
        return await self._database.read(
            lambda connection: [_job(*row) for row in connection.execute(statement, values)]
        )


def _columns(job: Job) -> dict[str, Value]:
    return {
        "job_id": job.job_id,
        "status": job.status,
        "signature": job.signature,
        "cancel_requested": job.cancel_requested,
        "body": _encode(without_stdin(job)),
    }


def _job(body: bytes, cancel_requested: int) -> Job:
    job = _decode_job(body)
    # The request to cancel has a column of its own: a late transition may write a body without it.
    if cancel_requested and not job.cancel_requested:
        return msgspec.structs.replace(job, cancel_requested=True)
    return job


def _job_if_readable(body: bytes, cancel_requested: int) -> Job | None:
    try:
        return _job(body, cancel_requested)
    except msgspec.DecodeError:
        return None


def _remains_of(job_id: str) -> Job:
    """Make a stand-in for a job that cannot be read: only its id is known."""
    return Job(
        job_id=job_id,
        status=Status.RUNNING,
        request=PrepareRequest(prepare_kind="", image_id=""),
        prepare_args_normalized="",
        created_at=datetime.fromtimestamp(0, UTC),
    )


def _finish_if_terminal(connection: Connection, job: Job) -> None:
    if job.status.terminal:
        finished = (job.finished_at or job.created_at).timestamp()
        connection.execute(_FINISH_JOB, {"job_id": job.job_id, "finished": finished})
        connection.execute(_REMOVE_STDIN, (job.job_id,))


def _append(connection: Connection, job_id: str, events: Sequence[Event]) -> None:
    connection.executemany(
        _APPEND_EVENT, [{"job_id": job_id, "body": _encode(event)} for event in events]
    )


def _add_stdin(connection: Connection, job_id: str, text: str) -> None:
    pieces = [text[start : start + _PIECE].encode() for start in range(0, len(text), _PIECE)]
    size = sum(map(len, pieces))
    row = connection.execute(_ADD_STDIN, (job_id, size)).lastrowid
    assert row is not None
    with connection.blobopen("standard_inputs", "text", row) as stored:
        for piece in pieces:
            stored.write(piece)


def _read_stdin(connection: Connection, row: int) -> str:
    with connection.blobopen("standard_inputs", "text", row, readonly=True) as stored:
        pieces = iter(lambda: stored.read(_PIECE), b"")
        return "".join(codecs.iterdecode(pieces, "utf-8"))
