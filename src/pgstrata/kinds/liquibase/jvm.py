"""A Java process with Liquibase in it, called through Py4J from a single thread.

Liquibase keeps its context per thread, so every call comes from the same one. The process reads a
pipe that is closed when ours ends, and then ends too; killing it ends the call in progress.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from pgstrata.domain.instance import Endpoint
from pgstrata.errors import ToolMissingError
from pgstrata.kinds.liquibase.gate import Gate
from pgstrata.kinds.liquibase.installation import Installation, check_py4j
from pgstrata.runtime.base import Companions, LineSink, Passed
from pgstrata.runtime.ports import HOST
from pgstrata.system import subprocesses
from pgstrata.system.cancellation import finish
from pgstrata.system.output import Stream

if TYPE_CHECKING:
    from pgstrata.kinds.liquibase.gateway import Gateways

T = TypeVar("T")

START_SECONDS = 30.0
_QUIET_SECONDS = 5.0
_TAIL_LINES = 40

_OPTIONS = (
    # Short-lived objects on a small heap, for one thread: start and memory count, not throughput.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    # It would write files about its speed.
    "-XX:-UsePerfData",
    "-Xmx512m",
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
    "-Duser.timezone=UTC",
    "-Duser.language=en",
    # One line for each record, on standard error.
    "-Djava.util.logging.SimpleFormatter.format=%4$s %5$s%6$s%n",
)


class JavaError(Exception):
    """An exception that Java threw: its message and those of its causes, the innermost last."""

    def __init__(self, messages: tuple[str, ...], classes: tuple[str, ...]) -> None:
        super().__init__(messages[0])
        self.messages = messages
        self.classes = classes


class JvmLostError(Exception):
    """The process ended during a call; the message is its last output."""


class Java:
    """Java's classes by their full names, and lists. Only for Java's own thread."""

    def __init__(self, gateways: "Gateways", passed: str) -> None:
        """``passed``: the line that stands for ``Passed``."""
        self._passed = passed
        self._client = gateways.client
        self._held = _Held(gateways)
        self._classes: dict[str, Any] = {}
        system = self("java.lang.System")
        self._outlet = system.err
        # One pipe for all output, so that it comes in order.
        system.setOut(self._outlet)
        scope = self("liquibase.Scope")
        # Kept, since Java would look up a method by name for each call.
        self.enter, self.exit = scope.enter, scope.exit
        self._first = self._kept = self._held.keys()
        self._lasting: dict[object, Any] = {}

    def __call__(self, name: str) -> Any:
        """A class."""
        if name not in self._classes:
            from py4j.java_gateway import JavaClass

            # Through its packages, each use of a class would ask Java for every part of its name.
            self._classes[name] = JavaClass(name, self._client)
        return self._classes[name]

    def say(self, line: str) -> None:
        """Write a line to Java's own output."""
        self._outlet.println(line)

    def say_passed(self) -> None:
        """Have ``Passed`` come between what was said so far and what is from now on."""
        self.say(self._passed)

    def list(self, *items: Any) -> Any:
        """A Java list."""
        made = self("java.util.ArrayList")()
        for item in items:
            made.add(item)
        return made

    def lasting(self, key: object, make: Callable[[], Any]) -> Any:
        """The object that ``make`` returned when ``key`` was first used; Java keeps it."""
        if key not in self._lasting:
            made = self._lasting[key] = make()
            self._first.add(made._target_id)
            if self._kept is not self._first:
                self._kept.add(made._target_id)
        return self._lasting[key]

    def keep_all(self) -> None:
        """Keep everything that Java holds for us now."""
        self._kept = self._held.keys()

    def forget(self) -> None:
        """Make Java forget everything since ``keep_all``: it holds every object we ever got."""
        self._held.retain(self._kept)

    def forget_all(self) -> None:
        """Make Java forget everything since the start."""
        self._kept = self._first
        self._held.retain(self._kept)


class _Held:
    """What a gateway holds for us, read through the other one so that nothing is added to it."""

    def __init__(self, gateways: "Gateways") -> None:
        self._through = gateways.first
        self._bindings = gateways.server.getGateway().getBindings()

    def keys(self) -> Any:
        return self._through.jvm.java.util.HashSet(self._bindings.keySet())

    def retain(self, keys: Any) -> None:
        self._bindings.keySet().retainAll(keys)


class Jvm:
    """A running Java. ``memory`` is for the caller, for what belongs to this process."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}
        self._java: Java | None = None
        self._gateways: Gateways | None = None
        self._parts = AsyncExitStack()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="liquibase")
        self._process: subprocesses.Companion | None = None
        self._gate: Gate | None = None
        self._sink: LineSink | None = None
        self._said: list[str] = []
        self._greeting: asyncio.Queue[str] = asyncio.Queue()
        self._greeted = False
        self._mark = _Mark()
        self._passed = f"passed {secrets.token_hex(8)}"

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._process is not None and self._process.running

    async def start(
        self,
        installation: Installation,
        work_dir: Path,
        env: dict[str, str],
        companions: Companions | None = None,
        *,
        trusted: bool = False,
    ) -> None:
        """Start Java, in a cell if there are ``companions``.

        Raises ``ProgramError``, leaving nothing running.
        """
        try:
            await self._start(installation, work_dir, env, companions, trusted)
        except BaseException:
            await finish(self.close())
            raise

    async def call(self, function: Callable[[Java], T], line: LineSink | None = None) -> T:
        """Run a function of Java's classes in Java's thread, passing on output meanwhile.

        If cancelled, the whole process is ended before this returns. Raises ``JavaError`` if Java
        throws, ``JvmLostError`` if the process dies.
        """
        self._sink, self._said = line, []
        loop = asyncio.get_running_loop()
        mark = self._mark = _Mark()
        try:
            work = loop.run_in_executor(self._thread, self._in_java, function, mark)
            try:
                return await asyncio.shield(work)
            finally:
                if work.done() and mark.said:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_QUIET_SECONDS):
                            await mark.heard.wait()
        except asyncio.CancelledError:
            await finish(self.close())
            with suppress(Exception):
                await finish(work)
            raise
        except _ConnectionLostError as error:
            await finish(self.close())
            raise JvmLostError("\n".join(self._said[-_TAIL_LINES:]) or str(error)) from None
        finally:
            self._sink = None

    async def close(self) -> None:
        """End the process. May be called again."""
        parts, self._parts = self._parts, AsyncExitStack()
        if self._process is not None:
            # It has nothing to save.
            self._process.kill()
        await parts.aclose()
        self._process = None
        await asyncio.to_thread(self._let_go)
        self._thread.shutdown(wait=False)

    def _in_java(self, function: Callable[[Java], T], mark: "_Mark") -> T:
        java = self._java
        assert java is not None
        try:
            return _translated(function, java)
        finally:
            with suppress(Exception):
                java.say(mark.line)
                mark.said = True

    def led_to(self, endpoint: Endpoint) -> Endpoint:
        """How this Java connects to a server."""
        if self._gate is None:
            return endpoint
        self._gate.lead_to((endpoint.host, endpoint.port))
        return replace(endpoint, host=HOST, port=self._gate.port)

    def led_nowhere(self) -> None:
        """Let this Java connect to no server, until it is led to one again."""
        if self._gate is not None:
            self._gate.lead_to(None)

    async def _start(
        self,
        installation: Installation,
        work_dir: Path,
        env: dict[str, str],
        companions: Companions | None,
        trusted: bool,
    ) -> None:
        argv = (
            str(installation.java),
            *_OPTIONS,
            "-classpath",
            ":".join(str(jar) for jar in (check_py4j(), *installation.classpath)),
            "py4j.GatewayServer",
            "--die-on-broken-pipe",
            "--enable-auth",
            "0",
        )
        starting: AbstractAsyncContextManager[subprocesses.Companion]
        with _reserved_port() as callbacks:
            if companions is None:
                starting = subprocesses.companion(argv, on_line=self._hear, cwd=work_dir, env=env)
            else:
                ports: tuple[int, ...] = ()
                if not trusted:
                    self._gate = Gate()
                    self._parts.push_async_callback(self._gate.close)
                    await self._gate.open()
                    ports = (callbacks, self._gate.port)
                starting = companions.companion(
                    argv, on_line=self._hear, cwd=work_dir, env=env, ports=ports, trusted=trusted
                )
            self._process = await self._parts.enter_async_context(starting)
            port, token = await self._greet(installation)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._connect, port, token, callbacks)

    async def _greet(self, installation: Installation) -> tuple[int, str]:
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait(), name="java ends")
        greeting = asyncio.create_task(self._greetings(), name="java greets")
        try:
            await asyncio.wait(
                (ended, greeting), timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if greeting.done():
                return greeting.result()
        finally:
            ended.cancel()
            greeting.cancel()
        raise ToolMissingError(
            f"{installation.java} does not start Liquibase",
            remedy="see its output; Java 11 or newer is needed",
            details="\n".join(self._said[-_TAIL_LINES:]) or None,
        )

    async def _greetings(self) -> tuple[int, str]:
        port = await self._greeting.get()
        token = await self._greeting.get()
        self._greeted = True
        return int(port), token

    def _connect(self, port: int, token: str, callbacks: int) -> None:
        from pgstrata.kinds.liquibase.gateway import Gateways

        self._gateways = Gateways(port, token, callbacks)
        self._java = Java(self._gateways, self._passed)

    def _let_go(self) -> None:
        if self._gateways is not None:
            self._gateways.close()
        self._gateways = self._java = None
        self.memory.clear()

    async def _hear(self, stream: Stream, text: str) -> None:
        if not self._greeted and stream == "stdout" and text.strip():
            self._greeting.put_nowait(text.strip())
        elif text == self._mark.line:
            self._mark.heard.set()
        elif text == self._passed:
            if self._sink is not None:
                await self._sink(Passed())
        elif text.strip():
            self._said.append(text)
            if self._sink is not None:
                await self._sink(text)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that nobody else can get meanwhile, and that py4j can share."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        yield held.getsockname()[1]


class _Mark:
    """A line written after all other output: when it arrives, so has everything before it."""

    def __init__(self) -> None:
        self.line = f"said by {secrets.token_hex(8)}"
        self.said = False
        self.heard = asyncio.Event()


class _ConnectionLostError(Exception):
    pass


def _translated(function: Callable[[Java], T], java: Java) -> T:
    """Call the function, and translate Py4J's exceptions while still in Java's thread."""
    from py4j.protocol import Py4JJavaError, Py4JNetworkError

    try:
        return function(java)
    except Py4JJavaError as error:
        raise _java_error(error.java_exception) from None
    except (Py4JNetworkError, OSError) as error:
        raise _ConnectionLostError(str(error)) from None


@contextmanager
def java_errors_ignored() -> Iterator[list[str]]:
    """Continue after a Java exception; the list then has its message."""
    from py4j.protocol import Py4JJavaError

    failed: list[str] = []
    try:
        yield failed
    except Py4JJavaError as error:
        failed.append(str(error.java_exception.getMessage()))


def _java_error(thrown: Any) -> JavaError:
    """A Java exception as plain text."""
    messages, classes = [], []
    while thrown is not None:
        name = str(thrown.getClass().getName())
        messages.append(str(thrown.getMessage() or name))
        classes.append(name)
        thrown = thrown.getCause()
    return JavaError(tuple(messages), tuple(classes))
