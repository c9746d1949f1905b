"""Programs: what they are given, what becomes of their output, and that they end."""

import asyncio
import grp
import os
import pwd
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pgstrata.errors import InvalidArgumentError, ProgramError
from pgstrata.system import orphans, processes, subprocesses
from pgstrata.system.output import Stream
from tests import needs
from tests.programs import stream_lines

PYTHON = sys.executable


def python(code: str) -> list[str]:
    return [PYTHON, "-c", code]


class Output:
    """Keeps each line with the stream it came from."""

    def __init__(self) -> None:
        self.lines: list[tuple[Stream, str]] = []

    async def __call__(self, stream: Stream, line: str) -> None:
        self.lines.append((stream, line))


def test_a_program_that_ends_well_returns_what_it_wrote() -> None:
    ended = asyncio.run(
        subprocesses.run(python("import sys; print('out'); print('err', file=sys.stderr)"))
    )
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "out", "err")


def test_a_program_that_fails_is_an_error_that_shows_command_code_and_words() -> None:
    with pytest.raises(ProgramError, match="exit code 3") as failure:
        asyncio.run(
            subprocesses.run(python("import sys; print('why', file=sys.stderr); sys.exit(3)"))
        )
    assert PYTHON in failure.value.message
    assert failure.value.details == "why"


def test_a_failure_that_is_expected_is_an_answer() -> None:
    ended = asyncio.run(subprocesses.run(python("raise SystemExit(3)"), check=False))
    assert ended.exit_code == 3


def test_a_program_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(ProgramError, match="/no/such/program"):
        asyncio.run(subprocesses.run(["/no/such/program"]))


@pytest.mark.parametrize("words", [["é" * 65536], ["x" * 100_000] * 70, ["x"] * 700_000])
def test_more_than_the_system_hands_over_is_refused_and_a_little_less_is_not(
    words: list[str],
) -> None:
    with pytest.raises(InvalidArgumentError, match="longer than the system allows"):
        asyncio.run(subprocesses.run(["true", *words]))
    less = [words[0][:-1]] if len(words) == 1 else words[: len(words) // 8]
    asyncio.run(subprocesses.run(["true", *less], env={}))


def test_a_program_that_a_signal_ended_is_told_as_a_shell_tells_it() -> None:
    ended = asyncio.run(subprocesses.run(python("import os; os.kill(os.getpid(), 9)"), check=False))
    assert ended.exit_code == 128 + 9


def test_standard_input_is_what_is_given_and_nothing_otherwise() -> None:
    echo = python("import sys; print(repr(sys.stdin.read()))")
    assert asyncio.run(subprocesses.run(echo, stdin=b"words")).stdout == "'words'"
    assert asyncio.run(subprocesses.run(echo)).stdout == "''"


def test_a_program_may_end_without_reading_its_input() -> None:
    ended = asyncio.run(subprocesses.run(python("pass"), stdin=b"x" * 10_000_000))
    assert ended.exit_code == 0


def test_lines_come_whole_in_order_and_with_bad_bytes_replaced() -> None:
    code = (
        "import sys; w = sys.stdout.buffer.write; "
        "w(b'a' * 1_000_000 + b'\\n' + 'ä'.encode() * 100_000 + b'\\0\\r\\n\\xff\\n\\nlast')"
    )
    output = Output()
    asyncio.run(stream_lines(python(code), on_line=output))
    lines = ["a" * 1_000_000, "ä" * 100_000 + "\0\r", "\ufffd", "", "last"]
    assert output.lines == [("stdout", line) for line in lines]


def test_both_streams_are_drained_however_much_comes() -> None:
    code = "import sys\nfor _ in range(20000): print('o' * 50); print('e' * 50, file=sys.stderr)"
    output = Output()
    assert asyncio.run(stream_lines(python(code), on_line=output)) == 0
    streams = [stream for stream, _ in output.lines]
    assert (streams.count("stdout"), streams.count("stderr")) == (20_000, 20_000)


def test_an_error_in_the_listener_ends_the_program() -> None:
    async def refuse(stream: Stream, line: str) -> None:
        raise ZeroDivisionError(line)

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(ZeroDivisionError) as failure:
        asyncio.run(stream_lines(python(code), on_line=refuse))
    assert not psutil.pid_exists(int(str(failure.value)))


def test_cancelled_a_program_is_gone_with_its_children_even_if_it_ignores_sigterm() -> None:
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )

    async def scenario() -> list[int]:
        said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def listen(stream: Stream, line: str) -> None:
            said.set_result(line)

        program = asyncio.create_task(stream_lines(python(code), on_line=listen))
        pids = [int(pid) for pid in (await said).split()]
        program.cancel()
        await asyncio.wait((program,))
        return pids

    parent, child = asyncio.run(scenario())
    assert not psutil.pid_exists(parent)
    # Killed with its parent, but nobody's to wait for: that it is over shows a moment later.
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=60)


def test_a_grandchild_that_holds_the_output_open_does_not_hold_us_up() -> None:
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('done')\n"
    )

    async def scenario() -> str:
        async with asyncio.timeout(120):
            return (await subprocesses.run(python(code))).stdout

    assert asyncio.run(scenario()) == "done"


def test_a_listener_held_up_for_long_gets_all_that_the_program_wrote() -> None:
    code = "import sys\nfor n in range(4000): print(n, 'x' * 50)"

    async def scenario() -> list[str]:
        heard: list[str] = []
        held_up = asyncio.Event()
        longer_than_any_grace = 3 * orphans.GRACE_SECONDS
        asyncio.get_running_loop().call_later(longer_than_any_grace, held_up.set)

        async def listen(stream: Stream, line: str) -> None:
            await held_up.wait()
            heard.append(line.partition(" ")[0])

        await stream_lines(python(code), on_line=listen)
        return heard

    assert asyncio.run(scenario()) == [str(number) for number in range(4000)]


def test_a_program_that_ended_is_heard_out_though_another_keeps_talking_in_its_place() -> None:
    talker = (
        "import os, sys\n"
        "os.setsid()\n"
        "os.environb.clear()\n"
        "os.execve(sys.executable, [sys.executable, '-c', "
        "'while True: print(0, flush=True)'], {})\n"
    )
    code = (
        "import subprocess, sys\n"
        f"other = subprocess.Popen([sys.executable, '-c', {talker!r}])\n"
        "print('pid', other.pid, flush=True)\n"
        "print('x' * 60_000, flush=True)\n"
    )

    async def scenario() -> list[str]:
        heard: list[str] = []

        async def listen(stream: Stream, line: str) -> None:
            if line != "0":
                heard.append(line)

        async with asyncio.timeout(120):
            await stream_lines(python(code), on_line=listen)
        return heard

    first, *others = asyncio.run(scenario())
    with suppress(psutil.NoSuchProcess):
        # Nothing tells that it is ours, so it is left: it ends by the pipe that nobody reads.
        psutil.Process(int(first.split()[1])).wait(timeout=60)
    assert "".join(others).count("x") == 60_000


ESCAPING = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', "
    "'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    "time.sleep(600)'], start_new_session=True, stdout=subprocess.PIPE, "
    "stderr=subprocess.DEVNULL)\n"
    "child.stdout.readline()\n"
    "print(child.pid, flush=True)\n"
)
"""Starts a child in a session of its own that ignores SIGTERM, and tells its pid."""


async def first_line_of(code: str, *, then_cancel: bool, thorough: bool) -> int:
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listen(stream: Stream, line: str) -> None:
        said.set_result(line)

    program = asyncio.create_task(stream_lines(python(code), on_line=listen, thorough=thorough))
    number = int(await said)
    if then_cancel:
        program.cancel()
        async with asyncio.timeout(60):
            await asyncio.wait((program,))
    else:
        await program
    return number


def test_cancelled_a_program_takes_those_with_it_who_left_its_group() -> None:
    code = ESCAPING + "time.sleep(600)"
    child = asyncio.run(first_line_of(code, then_cancel=True, thorough=False))
    assert processes.started(child) is None


def test_a_program_that_ends_well_takes_them_with_it_if_that_was_asked_for() -> None:
    child = asyncio.run(first_line_of(ESCAPING, then_cancel=False, thorough=True))
    assert processes.started(child) is None


def test_what_a_killed_engine_left_is_ended_with_its_children_and_nothing_else(
    tmp_path: Path,
) -> None:
    def engine(store: Path) -> "subprocess.Popen[str]":
        """An engine of its own that runs a program; its first line is the program's child's."""
        store.mkdir()
        code = (
            "import asyncio, pathlib, sys\n"
            "from pgstrata.system import orphans, subprocesses\n"
            f"orphans.mark_for(pathlib.Path({str(store)!r}))\n"
            "async def show(stream, piece): print(piece.decode(), end='', flush=True)\n"
            f"program = [sys.executable, '-c', {ESCAPING + 'time.sleep(600)'!r}]\n"
            "asyncio.run(subprocesses.stream(program, on_output=show))\n"
        )
        return subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)

    def told(one: "subprocess.Popen[str]") -> int:
        assert one.stdout is not None
        with one.stdout:
            return int(one.stdout.readline())

    def clear(store: Path) -> None:
        code = (
            "import asyncio, pathlib\n"
            "from pgstrata.system import orphans, subprocesses\n"
            f"asyncio.run(orphans.end_leftovers(pathlib.Path({str(store)!r})))\n"
        )
        subprocess.run(python(code), check=True, timeout=120)

    # One path ends like the other: only the whole of it tells a store.
    stores = tmp_path / "one", tmp_path / "other"
    with engine(stores[0]) as ours, engine(stores[1]) as others:
        orphan, foreign = told(ours), told(others)
        ours.kill()
        ours.wait()
        assert processes.started(orphan) is not None
        clear(stores[0])
        assert processes.started(orphan) is None
        assert processes.started(foreign) is not None
        others.kill()
        others.wait()
        clear(stores[1])
        assert processes.started(foreign) is None


def test_an_engine_that_such_a_program_started_is_spared(tmp_path: Path) -> None:
    mark = {**os.environ, orphans.MARK: f"{'0' * 32}:{tmp_path.resolve()}"}
    code = (
        "import sys, time\n"
        f"lock = open({str(tmp_path / 'engine.lock')!r}, 'w')\n"
        "print(1, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(python(code), env=mark, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        engine.stdout.read(1)
        with subprocess.Popen(["sleep", "600"], env=mark) as tool:
            asyncio.run(orphans.end_leftovers(tmp_path))
            # They are younger than we are, so they cannot be an earlier engine's.
            assert (engine.poll(), tool.poll()) == (None, None)
            clear = "import asyncio, pathlib, sys\nfrom pgstrata.system import orphans\n" + (
                f"asyncio.run(orphans.end_leftovers(pathlib.Path({str(tmp_path)!r})))"
            )
            subprocess.run(python(clear), check=True, timeout=120)
            assert tool.wait(60) == -signal.SIGTERM
            assert engine.poll() is None
        engine.kill()


def test_a_detached_program_runs_in_a_session_of_its_own_with_its_output_in_the_log(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    process = subprocesses.start_detached(
        python(f"import os; print(os.getsid(0) == os.getpid(), {orphans.MARK!r} in os.environ)"),
        log=log,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], orphans.MARK: "whose it is not"},
    )
    assert process.wait() == 0
    assert log.read_text() == "True False\n"


@needs.root
@pytest.mark.parametrize("with_setpriv", [True, False])
def test_as_another_user_a_program_has_that_users_group_and_no_other(
    *, with_setpriv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_setpriv:
        monkeypatch.setattr("shutil.which", lambda name: None)
    subprocesses._switch_to.cache_clear()
    members = [name for group in grp.getgrall() for name in group.gr_mem if name != "root"]
    if not members:
        needs.missing("nobody is in a group here")
    user = pwd.getpwnam(members[0])
    script = "id -u; id -G"
    argv = ["/bin/sh", "-c", script]
    ended = asyncio.run(subprocesses.run(argv, user=user.pw_name, cwd=Path("/")))
    subprocesses._switch_to.cache_clear()
    assert ended.stdout.split() == [str(user.pw_uid), str(user.pw_gid)]
