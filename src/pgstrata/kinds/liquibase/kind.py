"""The Liquibase kind: every changeset that ``update`` would run is a step."""

import asyncio
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import chain, takewhile
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

from msgspec.structs import replace

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Input, Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    InputChangedError,
    InvalidArgumentError,
    ProgramError,
    StepFailedError,
    StepInterruptedError,
    UncacheableError,
)
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.liquibase import call, forked
from pgstrata.kinds.liquibase.applying import LeftBehindError, Target
from pgstrata.kinds.liquibase.aside import settings_aside
from pgstrata.kinds.liquibase.changelog import InvalidChangelogError, Key
from pgstrata.kinds.liquibase.failures import invalid_changelog, step_failure
from pgstrata.kinds.liquibase.fields import LiquibaseFields
from pgstrata.kinds.liquibase.identity import NAME, Context, Problem, header_problems, problems
from pgstrata.kinds.liquibase.installation import Installation
from pgstrata.kinds.liquibase.installations import Installations, Known
from pgstrata.kinds.liquibase.jvm import Java, JavaError, Jvm, JvmLostError
from pgstrata.kinds.liquibase.pool import Pool
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.liquibase.session import DriftError, MovedError, Planned, Session
from pgstrata.kinds.sources.base import (
    LocalSources,
    Seen,
    Sources,
    in_place,
    local_path,
)
from pgstrata.kinds.sources.memo import Memo
from pgstrata.kinds.work_dir import work_dir_of
from pgstrata.runtime.base import Companions, LineSink, Passed, Runtime, run_by_lines
from pgstrata.settings import LiquibaseSettings

_SESSION, _JOB = "session", "job"
_TAG = "tagDatabase"
_ATTEMPTS = 3


class _Environment(NamedTuple):
    """The environment that a Java process is started for."""

    installation: Installation
    number: int
    """``Known.number``: a Java may have read what was put back since."""
    work_dir: Path
    env: tuple[tuple[str, str], ...]
    trusted: bool
    """Whether it may run programs, and do what the engine's user can."""

    @property
    def own_code(self) -> bool:
        """Whether code of a user's own may run in it: variables can make Java load some."""
        return bool(self.installation.extensions) or dict(self.env) != call.java_environment({})


class _OwnTool(NamedTuple):
    """The user's own Liquibase."""

    program: Path
    files: tuple[Input, ...]
    """Its jars, which each of its calls loads again."""


class _Run:
    """Some steps of one recipe, which are run in one call of Java."""

    def __init__(self, steps: Sequence[Step], line: LineSink, goes_on: Callable[[], bool]) -> None:
        self._steps = steps
        self._line = line
        self._goes_on = goes_on
        self._at = 0
        self._passed = 0

    @property
    def step(self) -> Step:
        """The one that runs, or was run last."""
        return self._steps[self._at]

    def in_java(self, java: Java, session: Session, target: Target) -> None:
        """Run the first step, and more while they can follow at once. In Java's thread."""
        while True:
            step = self.step
            digest = None if step.uncacheable else step.digest
            reads = None if step.uncacheable else {PurePath(one.name) for one in step.inputs}
            session.run(_key(step), digest, reads)
            is_last = self._at + 1 == len(self._steps)
            if is_last or not session.is_linked(target) or not self._goes_on():
                return
            self._at += 1
            java.say_passed()

    async def hear(self, text: str) -> None:
        """Pass on what Java says."""
        self._passed += isinstance(text, Passed)
        await self._line(text)

    async def catch_up(self) -> None:
        """Tell of the steps that are done, but were not heard of."""
        while self._passed < self._at:
            await self.hear(Passed())


class _Plan(NamedTuple):
    looked_at: tuple[Seen, ...]
    steps: tuple[Step, ...]


class LiquibaseKind:
    """Makes steps of changelogs, and runs them in a Java process that is kept for a while.

    It is both sides of the kind: a Java that has parsed a changelog for its plan also runs it. A
    runner whose Java has not parsed it does so first.

    Java reads files by itself, so a changelog must be below its sources' ``local_root``.

    Where a user's own code may run in a Java, that reads one plan, and runs the steps of one job.

    It remembers the plans of the last ``memo_size`` recipes, so that preparing the same again only
    checks each file's inode, without Java.
    """

    reads_directories = True
    has_tags = True
    keeps_session = True

    def __init__(
        self,
        settings: LiquibaseSettings | None = None,
        memo_size: int = 64,
        companions: Companions | None = None,
    ) -> None:
        """``companions`` run Java in cells; None to run it without."""
        self._companions = companions
        self._settings = settings or LiquibaseSettings()
        self._memo_size = memo_size
        self._plans: OrderedDict[tuple[object, ...], _Plan] = OrderedDict()
        self._texts = Memo(_text, 256)
        self._installations = Installations(self._settings)
        self._pool = Pool(
            self._start,
            limit=self._settings.max_running,
            idle_limit=self._settings.max_idle,
            idle_seconds=self._settings.idle_seconds,
        )

    @property
    def name(self) -> str:
        return NAME

    async def close(self) -> None:
        """End every idle Java."""
        await self._pool.close()
        self._installations.close()

    def normalize(self, request: PrepareRequest) -> str:
        return call.arguments_of(request).normalized()

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        fields = fields_of(request, LiquibaseFields)
        work_dir = work_dir_of(request, sources)
        root = _local_root(sources)
        recipe = await asyncio.to_thread(call.recipe_of, request, work_dir, sources, self._texts)
        tool = _tool(fields, self._settings, sources)
        known = await self._installations.find(tool)
        found = known.installation
        context = Context(recipe, call.java_environment(fields.liquibase_env), found.identity)
        key = (found, context, root, work_dir, tuple(sorted(fields.liquibase_env.items())), tool)
        plan = self._plans.get(_hashable(key))
        if plan is not None and await _untouched(sources, plan.looked_at):
            self._plans.move_to_end(_hashable(key))
            return plan.steps
        environment = _environment(known, local_path(root, work_dir), context.env)
        async with self._installations.unchanged(known):
            session = await self._read(environment, context, sources, root)
            own = None if tool is None else await _own_tool(tool, known, sources)
        steps = await asyncio.to_thread(
            _steps, session, context, request, fields.liquibase_env, work_dir, own
        )
        plan = _Plan(session.listing.looked_at, steps)
        if not any(step.uncacheable for step in plan.steps):
            self._remember(_hashable(key), plan)
        return plan.steps

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
        await self.execute_many((step,), sources, server, runtime, line, lambda: False)

    async def execute_many(
        self,
        steps: Sequence[Step],
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        goes_on: Callable[[], bool],
    ) -> None:
        tool = None if steps[0].tool is None else Path(steps[0].tool)
        known = await self._installations.find(tool)
        async with self._installations.unchanged(known):
            await self._execute(steps, known, sources, server, runtime, line, goes_on)

    async def _execute(
        self,
        steps: Sequence[Step],
        known: Known,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        goes_on: Callable[[], bool],
    ) -> None:
        step = steps[0]
        recipe = call.recipe_of_words(step.args)
        env = call.java_environment(step.env)
        if step.tool is not None:
            jars = known.installation.extensions
            command = forked.command(step, recipe, server.endpoint, env, jars)
            ended = await run_by_lines(runtime, server, command, line)
            if ended.exit_code != 0:
                raise forked.failure(step, ended)
            return
        context = Context(recipe, env, known.installation.identity)
        work_dir = local_path(sources.local_root, step.work_dir)
        environment = _environment(known, work_dir, env, trusted=step.uncacheable)
        alike = takewhile(lambda one: _run_alike(one, step), steps)
        run = _Run(tuple(alike), line, goes_on)
        try:
            await self._run(environment, context, sources, run, server)
        finally:
            # Java's output may have been held up.
            await run.catch_up()

    async def _run(
        self,
        environment: _Environment,
        context: Context,
        sources: LocalSources,
        run: _Run,
        server: Server,
    ) -> None:
        step, root, line = run.step, sources.local_root, run.hear

        def planned(jvm: Jvm) -> Session | None:
            held = _held(jvm, context, root)
            as_planned = held and held.is_as_planned(step.uncacheable, _key(step), step.digest)
            return held if as_planned else None

        def fits(jvm: Jvm) -> bool:
            if environment.own_code:
                return planned(jvm) is not None and jvm.memory.get(_JOB) in (None, server.title)
            return _held(jvm, context, root) is not None

        try:
            async with self._pool.lent(environment, fits, no_other=environment.own_code) as jvm:
                # All servers of a job have the same name.
                jvm.memory[_JOB] = server.title
                target = Target(jvm.led_to(server.endpoint), server.handle)
                try:
                    session = planned(jvm) or await self._parsed_again(jvm, context, sources, line)
                    if not session.is_linked(target):
                        async with _connecting(session, step, server):
                            await jvm.call(lambda _: session.connect(_key(step), target), line)
                    await jvm.call(lambda java: run.in_java(java, session, target), line)
                finally:
                    jvm.led_nowhere()
        except JavaError as error:
            raise step_failure(run.step.title, error.messages) from None
        except LeftBehindError as error:
            raise StepFailedError(
                f"{run.step.title} {error}: one `update` would hand that on to the next changeset, "
                "which has a session of its own here",
                remedy="put what depends on it into the same changeset",
            ) from None
        except DriftError as error:
            raise InputChangedError(str(error), remedy=error.remedy) from None
        except JvmLostError as error:
            raise StepInterruptedError(
                f"{run.step.title}: the Java that ran Liquibase ended unexpectedly",
                remedy="prepare again; if it happens again, look for what kills it",
                details=str(error) or None,
            ) from None

    async def _parsed_again(
        self, jvm: Jvm, context: Context, sources: LocalSources, line: LineSink
    ) -> Session:
        """Parse a changelog for a step of an earlier plan. Raises ``InputChangedError``."""
        try:
            return await jvm.call(
                lambda java: self._parse(java, jvm, context, sources, sources.local_root), line
            )
        except JavaError as error:
            messages = error.messages
        except (InvalidChangelogError, MovedError) as error:
            messages = (str(error),)
        changelog = context.recipe.changelog_file
        raise InputChangedError(
            f"{changelog} or a file it needs changed and is no longer valid",
            remedy="correct it and prepare again",
            details=invalid_changelog(changelog, messages).details,
        )

    async def _read(
        self, environment: _Environment, context: Context, sources: Sources, root: Path
    ) -> Session:
        """Parse and list a changelog, and again if its files change meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                session = await self._read_once(environment, context, sources, root)
            except MovedError:
                continue
            except JvmLostError as error:
                if attempt == _ATTEMPTS:
                    raise ProgramError(
                        "the Java that reads changelogs ends unexpectedly",
                        remedy="look for what kills it",
                        details=str(error) or None,
                    ) from None
                continue
            if await _untouched(sources, session.listing.looked_at):
                return session
        raise InvalidArgumentError(
            f"{context.recipe.changelog_file} or a file it needs does not stop changing",
            remedy="prepare again once they are written",
        )

    async def _read_once(
        self, environment: _Environment, context: Context, sources: Sources, root: Path
    ) -> Session:
        recipe = context.recipe
        try:
            async with self._pool.lent(
                environment,
                lambda jvm: not environment.own_code and _held(jvm, context, root) is not None,
                no_other=environment.own_code,
            ) as jvm:
                return await jvm.call(lambda java: self._parse(java, jvm, context, sources, root))
        except JavaError as error:
            raise invalid_changelog(recipe.changelog_file, error.messages) from None
        except InvalidChangelogError as error:
            raise invalid_changelog(recipe.changelog_file, [str(error)]) from None

    def _parse(
        self, java: Java, jvm: Jvm, context: Context, sources: Sources, root: Path
    ) -> Session:
        """Parse a changelog into a Java's memory, in place of the previous one."""
        earlier: Session | None = jvm.memory.pop(_SESSION, None)
        if earlier is not None:
            earlier.close()
        java.forget_all()
        session = jvm.memory[_SESSION] = Session(java, context, sources, root)
        java.keep_all()
        return session

    async def _start(self, environment: _Environment) -> Jvm:
        jvm = Jvm()
        await jvm.start(
            environment.installation,
            environment.work_dir,
            dict(environment.env),
            self._companions,
            trusted=environment.trusted,
        )
        return jvm

    def _remember(self, key: tuple[object, ...], plan: _Plan) -> None:
        self._plans[key] = plan
        while len(self._plans) > self._memo_size:
            self._plans.popitem(last=False)


def _environment(
    known: Known, work_dir: Path, env: Mapping[str, str], *, trusted: bool = False
) -> _Environment:
    variables = tuple(sorted(env.items()))
    return _Environment(known.installation, known.number, work_dir, variables, trusted)


async def _own_tool(program: Path, known: Known, sources: Sources) -> _OwnTool:
    def read() -> tuple[Input, ...]:
        listings = ((path, sources.list(path)) for path in known.loaded)
        return tuple(
            sources.look(path).input if listing is None else listing.seen.input
            for path, listing in listings
        )

    return _OwnTool(program, await asyncio.to_thread(read))


def _steps(
    session: Session,
    context: Context,
    request: PrepareRequest,
    env: dict[str, str],
    work_dir: Path,
    tool: _OwnTool | None,
) -> tuple[Step, ...]:
    if tool is not None:
        forked.check_can_be_told_apart(session.listing.changesets)
    header = tuple(header_problems(session.listing, context))
    steps = []
    for number, planned in enumerate(session.planned(own_tool=tool is not None)):
        own = tuple(chain(*(problems(found, context) for found in planned.found)))
        found = (*header, *own) if number == 0 else own
        if found and request.uncacheable == "refuse":
            raise _uncacheable(_title(planned, context.recipe), found)
        steps.append(_step(planned, context, env, work_dir, tool, uncacheable=bool(found)))
    return tuple(steps)


def _step(
    planned: Planned,
    context: Context,
    env: dict[str, str],
    work_dir: Path,
    tool: _OwnTool | None,
    *,
    uncacheable: bool,
) -> Step:
    return Step(
        kind=NAME,
        # What cannot be known is never the same again.
        digest=secrets.token_hex(32) if uncacheable else planned.digest,
        args=_recipe_of(planned, context.recipe, tool).words(),
        title=_title(planned, context.recipe),
        work_dir=work_dir,
        inputs=(
            *dict.fromkeys(seen.input for found in planned.found for seen in found.files),
            *(tool.files if tool else ()),
        ),
        uncacheable=uncacheable,
        tagged=any(_TAG in found.changes for found in planned.found),
        parts=planned.parts,
        env=env,
        tool=None if tool is None else str(tool.program),
        changeset_id=planned.key and planned.key.id,
        changeset_author=planned.key and planned.key.author,
        changeset_path=planned.key and planned.key.path,
    )


def _recipe_of(planned: Planned, recipe: Recipe, tool: _OwnTool | None) -> Recipe:
    """The recipe to run a step by: a Liquibase of one's own is told only how many come next."""
    if tool is None:
        return recipe
    return replace(recipe, command="update-count", count=max(len(planned.found), 1), tag=None)


def _connecting(session: Session, step: Step, server: Server) -> AbstractAsyncContextManager[None]:
    """Connect in this as the first step did, before anything was set for later connections."""
    return nullcontext() if session.is_first(_key(step)) else settings_aside(server)


def _title(planned: Planned, recipe: Recipe) -> str:
    if not planned.found:
        return f"{recipe.changelog_file}: no changeset to run"
    if len(planned.found) == 1:
        return str(planned.key)
    return f"{planned.found[0].key} to {planned.key}, in one session"


def _uncacheable(title: str, found: tuple[Problem, ...]) -> UncacheableError:
    lines = [f"{title}: {problem.what}" for problem in found]
    return UncacheableError(
        lines[0],
        remedy=f"{found[0].remedy}, or run it uncached with --uncacheable=run",
        details="\n".join(lines) if len(lines) > 1 else None,
    )


def _local_root(sources: Sources) -> Path:
    if sources.local_root is None:
        raise InvalidArgumentError(
            "Liquibase reads changelogs from directories of the engine's machine, and these "
            "sources are not in one",
            remedy="prepare where the files are",
        )
    return sources.local_root


def _tool(fields: LiquibaseFields, settings: LiquibaseSettings, sources: Sources) -> Path | None:
    """The user's own Liquibase, if the request or the settings name one."""
    given = Path(fields.liquibase_exec) if fields.liquibase_exec else settings.exec
    if given is None:
        return None
    if not in_place(sources):
        raise InvalidArgumentError(
            f"liquibase_exec {given} is not on the machine of the sources",
            remedy="leave it out, or prepare where the files are",
        )
    if not given.is_absolute() or not os.access(given, os.X_OK) or not given.is_file():
        raise InvalidArgumentError(
            f"liquibase_exec {given} is not the absolute path of a program",
            remedy="name the liquibase to call, or leave it out for the built-in one",
        )
    return given


def _run_alike(one: Step, other: Step) -> bool:
    """Whether two steps are run in the same Java, by the same recipe."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("args", "env", "work_dir", "tool", "uncacheable")
    )


def _key(step: Step) -> Key | None:
    if step.changeset_id is None:
        return None
    return Key(step.changeset_path or "", step.changeset_id, step.changeset_author or "")


def _held(jvm: Jvm, context: Context, root: Path) -> Session | None:
    """The session in a Java's memory, if it has the same context."""
    session: Session | None = jvm.memory.get(_SESSION)
    if session is None or (session.context, session.local_root) != (context, root):
        return None
    return session


def _hashable(key: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(repr(part) for part in key)


async def _untouched(sources: Sources, seen: tuple[Seen, ...]) -> bool:
    return await asyncio.to_thread(sources.first_touched, seen) is None


def _text(file: BinaryIO) -> str:
    content = file.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
