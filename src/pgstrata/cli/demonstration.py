"""The demonstration: from scripts to a database, and then again from the cache."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pgstrata.api.jobs import JobEntry
from pgstrata.cli.command import Context, Detached
from pgstrata.cli.commands.engine_stop import STOP_SECONDS, stop
from pgstrata.cli.follow import follow
from pgstrata.cli.plan_view import show_plan
from pgstrata.cli.text import columns, table
from pgstrata.client import connect, discovery
from pgstrata.client.discovery import Found
from pgstrata.client.engine import Engine
from pgstrata.client.interrupts import ignore_interrupts
from pgstrata.demo.files import QUERY, SCRIPTS, lay_out
from pgstrata.domain.durations import measured
from pgstrata.domain.job import Result
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import JobFailedError, NotFoundError, PgstrataError

_SCRIPT_ARGUMENTS = " ".join(f"-f {script}" for script in SCRIPTS)

# Servers run as a different user: they must be able to pass through it, but not list it.
_DIRECTORY_MODE = 0o711


def demonstrate(context: Context, *, keep: bool) -> int:
    """Run it from beginning to end. Raises ``PgstrataError``, after cleaning up."""
    try:
        with _directory(keep=keep) as root, _engine(context, root, keep=keep) as (own, found):
            _perform(own, found.engine, keep=keep)
    except Detached as left:
        if keep:
            raise
        # The job is gone with its engine, so there is nothing to attach to again.
        raise KeyboardInterrupt from left
    return 0


def _perform(own: Context, engine: Engine, *, keep: bool) -> None:
    _tell("The scripts of a bookshop, and a year of its sales:")
    print(f"  {lay_out(own.work_dir)} rows for 6 tables in {own.work_dir}")
    _show_plan(own, engine)
    first = _prepare(own, engine, "Now build it. The result of every step is kept:")
    _show_query(first[0])
    second = _prepare(own, engine, "Someone else wants the same. Nothing is rebuilt:")
    _compare(first, second)
    if not keep:
        _remove(engine, first[0], second[0])


def _show_plan(own: Context, engine: Engine) -> None:
    _tell("What needs to be built?", f"pgstrata plan:psql -- {_SCRIPT_ARGUMENTS}")
    job_id = engine.submit(replace(_request(own), plan_only=True)).job_id
    ending = follow(own, engine, job_id)
    show_plan(own, ending.job())


def _prepare(own: Context, engine: Engine, story: str) -> tuple[Result, float]:
    """Prepare the bookshop. Returns the job's result and the seconds it took."""
    _tell(story, f"pgstrata prepare:psql -- {_SCRIPT_ARGUMENTS}")
    began = time.perf_counter()
    result = follow(own, engine, engine.submit(_request(own)).job_id).result
    took = time.perf_counter() - began
    if result is None:
        raise PgstrataError("the engine returned no database", remedy="see `pgstrata status`")
    print(f"DSN={result.dsn}")
    print(f"  in {measured(took)}", flush=True)
    return result, took


def _show_query(result: Result) -> None:
    _tell("A whole PostgreSQL of your own. Query it:", f'psql "$DSN" -c "{QUERY}"')
    head, rows = _query(result.dsn)
    print(table(head, rows, columns(sys.stdout)))


def _compare(first: tuple[Result, float], second: tuple[Result, float]) -> None:
    _tell(f"The first took {measured(first[1])}, the second {measured(second[1])}.")
    print("  Each is a server of its own: changes to one are never seen in the other.")


def _remove(engine: Engine, *results: Result) -> None:
    commands = [f"pgstrata rm {result.instance_id[:8]}" for result in results]
    _tell("Throw them away:", *commands)
    for result in results:
        engine.remove("instance", result.instance_id, force=True)


def _request(own: Context) -> PrepareRequest:
    return PrepareRequest(
        prepare_kind="psql",
        image_id=own.configuration.image,
        work_dir=str(own.work_dir),
        fields={
            "psql_args": [word for script in SCRIPTS for word in ("-f", str(own.work_dir / script))]
        },
    )


def _query(dsn: str) -> tuple[list[str], list[list[str]]]:
    import psycopg

    try:
        with psycopg.connect(dsn) as connection:
            cursor = connection.execute(QUERY)
            head = [column.name for column in cursor.description or ()]
            rows: list[tuple[Any, ...]] = cursor.fetchall()
    except psycopg.Error as error:
        raise JobFailedError(
            "the new database returned no rows", details=str(error).strip()
        ) from error
    return head, [[str(value) for value in row] for row in rows]


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    """Make a directory for everything, and delete it afterwards unless ``keep``."""
    root = Path(tempfile.mkdtemp(prefix="pgstrata-demo-"))
    root.chmod(_DIRECTORY_MODE)
    try:
        yield root
    finally:
        if keep:
            _tell(f"Everything is in {root}. Try:", f"pgstrata --store {root}/store ls")
        else:
            with ignore_interrupts():
                _delete(root)


def _delete(root: Path) -> None:
    # The store may contain subvolumes, which need more than shutil.rmtree.
    from pgstrata.statefs import trees

    try:
        trees.delete(root)
    except OSError as error:
        raise PgstrataError(
            f"cannot remove all of {root}: {error.filename}: {error.strerror}",
            remedy=f"remove {root} yourself",
        ) from error


@contextmanager
def _engine(context: Context, root: Path, *, keep: bool) -> Iterator[tuple[Context, Found]]:
    """Start an engine of its own; stop it afterwards, with all its instances, unless ``keep``."""
    configuration = context.configuration._replace(store=root / "store", endpoint=None)
    own = context._replace(configuration=configuration, work_dir=root / "bookshop")
    _tell("An engine with a store of its own:", "pgstrata engine start")
    found = None
    try:
        found = connect.start(configuration)
        print(f"  {found.file.endpoint}  pid {found.file.pid}", flush=True)
        yield own, found
    finally:
        if not keep:
            with ignore_interrupts():
                # An interrupt may have come just as it had started.
                found = found or discovery.find(configuration.engine_json)
                if found is not None:
                    _clear(found)


def _clear(found: Found) -> None:
    """End the running job, remove the remaining instances, then stop the engine."""
    try:
        for job in found.engine.jobs():
            _end_job(found.engine, job)
        for instance in found.engine.instances():
            # A removal that was interrupted may have happened nevertheless.
            with suppress(NotFoundError):
                found.engine.remove("instance", instance.instance_id, force=True)
    finally:
        found.engine.close()
        stop(found.file.pid, STOP_SECONDS)


def _end_job(engine: Engine, job: JobEntry) -> None:
    # A job that is still running could make another instance.
    if not job.status.terminal:
        engine.cancel(job.job_id)
        for _event in engine.events(job.job_id):
            continue


def _tell(story: str, *commands: str) -> None:
    print(f"\n{story}")
    for command in commands:
        print(f"  $ {command}")
    sys.stdout.flush()
