"""``prepare:… ARGS run:… ARGS``: prepares, runs a tool against the instance, and removes it.

The engine removes it, too, if this process does not get to it: from the moment that the instance is
there it has a short lease, which lasts while this process is connected.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli import command_table, running
from pgstrata.cli.command import Context, Detached, Signalled, help_text
from pgstrata.cli.ending import ended_by_signals
from pgstrata.cli.follow import follow
from pgstrata.cli.follower import Ending
from pgstrata.cli.options import HELP, Given, help_before, parse
from pgstrata.cli.prepared import show_failures
from pgstrata.cli.recipe import request_of
from pgstrata.errors import InvalidArgumentError, PgstrataError
from pgstrata.kinds.plugin import KindPlugin
from pgstrata.system import foreground
from pgstrata.system.signals import ENDING, handling

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.config.model import Configuration
    from pgstrata.domain.request import PrepareRequest
    from pgstrata.domain.run import StartedInstance

_TOOLS = {"run:psql": "psql", "run:pgbench": "pgbench", "run:exec": None}

_AGAIN_SECONDS = 1.0
"""How long to wait before a lost engine is looked for again."""


class Composite(NamedTuple):
    """What stands before ``run:…``, and what is run."""

    prepare: Given
    command: str
    run: Given


def split(given: Given) -> Composite | None:
    """Split the arguments of ``prepare:…`` if a ``run:…`` is among them.

    Raises ``InvalidArgumentError`` for options that have no meaning then.
    """
    place = next((n for n, word in enumerate(given.words) if word in _TOOLS), None)
    if place is None:
        return None
    command = given.words[place]
    rest = given.words[place + 1 :]
    own = parse(rest, (*running.OPTIONS, help_before(rest)), pass_on=True)
    check(given, command, own)
    return Composite(given._replace(words=given.words[:place]), command, own)


def check(prepare: Given, command: str, own: Given) -> None:
    """Raise ``InvalidArgumentError`` for options that have no meaning in a composite."""
    refused = [(prepare, flag) for flag in ("--no-watch", "--ttl")] + [(own, running.INSTANCE.name)]
    for arguments, flag in refused:
        if arguments.has(flag):
            raise InvalidArgumentError(
                f"{flag} has no meaning together with {command}, which runs against the instance "
                "that is prepared for it and removed when it ends",
                remedy=f"omit {flag}, or prepare first and run then",
            )


def run(context: Context, plugin: KindPlugin, wanted: Composite) -> int:
    """Prepare, run the tool, and remove the instance. Returns the tool's exit code."""
    return run_after(context, lambda: request_of(plugin, context, wanted.prepare), wanted)


def run_after(context: Context, request: "Callable[[], PrepareRequest]", wanted: Composite) -> int:
    """The same for a request that is still to be made."""
    if wanted.run.has(HELP.name):
        command = command_table.load(wanted.command)
        assert command is not None
        print(help_text(command))
        return 0
    tool = running.tool_of(_TOOLS[wanted.command], wanted.run)
    return run_tool(context, request, running.at_revision(context, wanted.run, tool))


def run_tool(context: Context, request: "Callable[[], PrepareRequest]", tool: running.Tool) -> int:
    """The same for a tool that is known."""
    import msgspec

    from pgstrata.domain.run import LEASE_SECONDS

    running.refuse_json(context)
    made = msgspec.structs.replace(request(), instance_ttl=LEASE_SECONDS)
    tool.check_input()
    try:
        with ended_by_signals():
            return _prepared(context, tool, made)
    except Signalled as ended:
        return ended.exit_code
    except Detached:
        # There would be nobody for whom the tool could run.
        raise KeyboardInterrupt from None


def _prepared(context: Context, tool: running.Tool, request: "PrepareRequest") -> int:
    engine, accepted = context.submit(request)
    job_id, instance_id = accepted.job_id, None
    try:
        ending = follow(context, engine, job_id, queue_place=accepted.queue_place)
        engine = ending.engine
        assert ending.result is not None
        instance_id = ending.result.instance_id
        with _held(context.configuration, engine, instance_id):
            if request.on_error == "continue":
                show_failures(context, ending)
            started = _started(ending, instance_id)
            argv, env = running.argv_of(tool, started), running.env_of(started)
            return _run(argv, env | tool.enter())
    finally:
        with _undisturbed():
            _remove(context, engine, job_id, instance_id)


def _started(ending: Ending, instance_id: str) -> "StartedInstance":
    return ending.engines.ask(lambda engine: engine.start(instance_id))


def _run(argv: tuple[str, ...], env: dict[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return foreground.run(argv, env)


def _remove(context: Context, engine: "Engine", job_id: str, instance_id: str | None) -> None:
    """Remove the instance, or see to it that the job makes none; by the next engine if need be.

    If there is none, the instance goes when its lease is over.
    """
    for reach in (engine.another, context.engine):
        with suppress(PgstrataError), closing(reach()) as reached:
            _undo(reached, job_id, instance_id)
            return


def _undo(engine: "Engine", job_id: str, instance_id: str | None) -> None:
    if instance_id is None:
        engine.cancel(job_id)
        result = engine.job(job_id).result
        instance_id = result.instance_id if result else None
    if instance_id is not None:
        engine.remove("instance", instance_id, force=True)


@contextmanager
def _held(configuration: "Configuration", engine: "Engine", instance_id: str) -> Iterator[None]:
    """Be connected to the engine meanwhile, or to the next one, so that the instance stays."""
    over = threading.Event()
    begun = threading.Event()

    def hold() -> None:
        holder: Engine | None = engine.another()
        while not over.is_set():
            if holder is not None:
                with suppress(PgstrataError), closing(holder):
                    for _ in holder.hold(instance_id):
                        begun.set()
                    over.set()  # the instance is gone
            begun.set()
            over.wait(_AGAIN_SECONDS)
            holder = None if over.is_set() else _found(configuration)

    threading.Thread(target=hold, name="hold", daemon=True).start()
    begun.wait()
    try:
        yield
    finally:
        over.set()


def _found(configuration: "Configuration") -> "Engine | None":
    """The engine that there is now, if any."""
    from pgstrata.client import discovery
    from pgstrata.client.connect import connect

    with suppress(PgstrataError):
        if configuration.endpoint is not None:
            return connect(configuration)
        found = discovery.find(configuration.engine_json)
        return found and found.engine
    return None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore what would end this process or interrupt it."""
    with handling((*ENDING, signal.SIGINT, signal.SIGQUIT), signal.SIG_IGN):
        yield
