"""Programs: what they are given, what becomes of their output, and that they end."""

import asyncio
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pgstrata import subprocesses
from pgstrata.errors import ProgramError

PYTHON = sys.executable


def python(code: str) -> list[str]:
    return [PYTHON, "-c", code]


class Output:
    """Keeps each line with the stream it came from."""

    def __init__(self) -> None:
        self.lines: list[tuple[subprocesses.Stream, str]] = []

    async def __call__(self, stream: subprocesses.Stream, line: str) -> None:
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


def test_lines_of_any_length_come_whole_in_order_and_with_bad_bytes_replaced() -> None:
    code = "import sys; w = sys.stdout.buffer.write; w(b'a' * 3_000_000 + b'\\n\\xff\\nlast')"
    output = Output()
    asyncio.run(subprocesses.stream(python(code), on_line=output))
    assert output.lines == [("stdout", "a" * 3_000_000), ("stdout", "\ufffd"), ("stdout", "last")]


def test_both_streams_are_drained_however_much_comes() -> None:
    code = "import sys\nfor _ in range(20000): print('o' * 50); print('e' * 50, file=sys.stderr)"
    output = Output()
    assert asyncio.run(subprocesses.stream(python(code), on_line=output)) == 0
    streams = [stream for stream, _ in output.lines]
    assert (streams.count("stdout"), streams.count("stderr")) == (20_000, 20_000)


def test_an_error_in_the_listener_ends_the_program() -> None:
    async def refuse(stream: subprocesses.Stream, line: str) -> None:
        raise ZeroDivisionError(line)

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(ZeroDivisionError) as failure:
        asyncio.run(subprocesses.stream(python(code), on_line=refuse))
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

        async def listen(stream: subprocesses.Stream, line: str) -> None:
            said.set_result(line)

        program = asyncio.create_task(subprocesses.stream(python(code), on_line=listen))
        pids = [int(pid) for pid in (await said).split()]
        program.cancel()
        await asyncio.wait((program,))
        return pids

    parent, child = asyncio.run(scenario())
    assert not psutil.pid_exists(parent)
    # Killed with its parent, but nobody's to wait for: that it is over shows a moment later.
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=10)


def test_a_grandchild_that_holds_the_output_open_does_not_hold_us_up() -> None:
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('done')\n"
    )

    async def scenario() -> str:
        async with asyncio.timeout(30):
            return (await subprocesses.run(python(code))).stdout

    assert asyncio.run(scenario()) == "done"


def test_a_detached_program_runs_in_a_session_of_its_own_with_its_output_in_the_log(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    process = subprocesses.start_detached(
        python("import os; print(os.getsid(0) == os.getpid())"),
        log=log,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.wait() == 0
    assert log.read_text() == "True\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
@pytest.mark.parametrize("with_setpriv", [True, False])
def test_as_another_user_a_program_has_that_users_groups_and_none_of_ours(
    *, with_setpriv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_setpriv:
        monkeypatch.setattr("shutil.which", lambda name: None)
    subprocesses._becoming.cache_clear()
    nobody = pwd.getpwnam("nobody")
    ended = asyncio.run(subprocesses.run(["/usr/bin/id"], user="nobody", cwd=Path("/")))
    subprocesses._becoming.cache_clear()
    assert f"uid={nobody.pw_uid}(nobody) gid={nobody.pw_gid}" in ended.stdout
    assert "root" not in ended.stdout
