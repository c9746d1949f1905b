"""``run:…`` against real instances: as the caller, over HTTP, and right after a prepare."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.acceptance.conftest import Terminal
from tests.clusters import fetched
from tests.shapes import RunEvent, check

pytestmark = pytest.mark.usefixtures("hangups_are_heard")

TABLE = "create table t (i int); insert into t select generate_series(1, 3)"
WAITING = "echo ready; exec sleep 600"


@pytest.fixture
def shell(shared: Terminal) -> Terminal:
    """A shell without psql on PATH, whose variables would lead psql elsewhere."""
    shared.environment |= {
        "PATH": "/usr/bin:/bin",
        "PGHOST": "elsewhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGSERVICE": "nowhere",
        "PGUSER": "nobody",
        "PGOPTIONS": "-c no.such=1 -c nonsense",
        "PGSSLMODE": "verify-full",
        "PSQLRC": os.devnull,
    }
    return shared


def psql() -> str:
    """A psql for a shell's line: there need not be one on PATH."""
    return quote(str(fetched("18").bin_dir / "psql"))


def prepared(shell: Terminal, *options: str) -> Any:
    return shell.json("prepare:psql", *options, "-c", TABLE)


def server_of(shell: Terminal, instance_id: str) -> psutil.Process:
    """The process of an instance's server."""
    tree = shell.json("rm", "--dry-run", "--force", instance_id)
    return psutil.Process(int(tree["root"]["runtime_id"]))


def test_psql_runs_as_the_caller_with_the_callers_input_output_and_directory(
    shell: Terminal,
) -> None:
    password = urlsplit(prepared(shell)["dsn"]).password or ""
    rows = "".join(f"{number}\n" for number in range(300_000))
    copied = shell(
        *("run:psql", "-X", "-c", r"\copy t from pstdin", "-c", r"\copy t to 'a b,c.csv'"),
        stdin=rows,
    )
    assert copied.stdout.split() == ["COPY", "300000", "COPY", "300003"]
    assert (shell.work / "a b,c.csv").read_text() == f"1\n2\n3\n{rows}"
    words = r"\! tr '\0' ' ' < /proc/$PPID/cmdline"
    failed = shell(
        *("run:psql", "--", "-XAt", "-v", "ON_ERROR_STOP=1", "-f", "-"),
        stdin=f"select 'here';\n{words}\nselect 1/0;",
        exit_code=3,
    )
    here, arguments = failed.stdout.splitlines()
    assert (here, "ON_ERROR_STOP=1" in arguments, password in arguments) == ("here", True, False)
    assert failed.stderr.count("division by zero") == 1


def test_an_instance_is_chosen_by_id_name_or_the_beginning_of_its_id(shell: Terminal) -> None:
    dev, other = prepared(shell, "--name", "dev"), prepared(shell)
    port = ("-c", f"test $({psql()} -XAtc 'show port') = $PGPORT && echo $DATABASE_URL")
    for made, refs in ((dev, ["dev", dev["instance_id"]]), (other, [other["instance_id"][:9]])):
        for ref in refs:
            ran = shell("run:exec", "--instance", ref, "--", "sh", *port)
            assert ran.stdout.strip() == made["dsn"]
    assert "dev" in shell("run:psql", exit_code=2).stderr
    shell("run:psql", "--instance", "nobody", exit_code=1)
    assert "8 or more" in shell("run:psql", "--instance", "c0ffee", exit_code=2).stderr
    shell("run:pgbench", "--instance", "dev", "-iq")
    assert "processed" in shell("run:pgbench", "--instance=dev", "-n", "-t", "2").stdout


def test_a_server_that_died_is_started_again_from_its_data(shell: Terminal) -> None:
    made = prepared(shell)
    shell("run:psql", "-c", "insert into t values (4)")
    server = server_of(shell, made["instance_id"])
    server.kill()
    server.wait(300)
    ran = shell("run:psql", "-XAtc", "select count(*) from t")
    assert ran.stdout == "4\n"
    assert "started again from its data" in ran.stderr
    again = shell("run:psql", "-XAtc", "select count(*) from t")
    assert (again.stdout, again.stderr) == ("4\n", "")
    server = server_of(shell, made["instance_id"])
    server.kill()
    server.wait(300)
    short = made["instance_id"][:12]
    assert f"pgstrata start {short}" in shell("ls", "-i").stdout
    assert shell("start", short).stdout == f"DSN={made['dsn']}\n"
    assert "runs already" in shell("start", short).stderr


def test_after_a_prepare_the_tools_exit_code_counts_and_the_instance_goes(shell: Terminal) -> None:
    script = ("sh", "-c", "echo out; echo err >&2; exit 7")
    ran = shell("prepare:psql", "-c", TABLE, "run:exec", *script, exit_code=7)
    assert (ran.stdout, ran.stderr.splitlines()[-1]) == ("out\n", "err")
    table = ("-XAtc", "table t")
    assert shell("prepare:psql", "-c", TABLE, "run:psql", *table).stdout == "1\n2\n3\n"
    shell("prepare:psql", "-c", TABLE, "run:psql", "-v", "ON_ERROR_STOP=1", "-f", "no", exit_code=1)
    assert shell.json("ls", "-i") == {"instances": []}


@contextmanager
def composite(
    shell: Terminal, *words: str, session: tuple[str, ...] = ("setsid",), **more: Any
) -> Iterator["subprocess.Popen[str]"]:
    """A prepare with a tool after it, in a session of its own."""
    command = [*session, *shell.command, "prepare:psql", "-c", TABLE, *words]
    process = subprocess.Popen(command, cwd=shell.work, env=shell.environment, text=True, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_instance_goes_however_the_command_that_made_it_ends(
    shell: Terminal, number: signal.Signals
) -> None:
    shell("engine", "start")
    run = ("run:exec", "sh", "-c", WAITING)
    with composite(shell, *run, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == "ready\n"
            [instance] = shell.json("ls", "-i")["instances"]
            server = server_of(shell, instance["instance_id"])
            process.send_signal(number)
            server.wait(300)
            process.wait(300)
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)  # the tool is left
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert shell.json("ls", "-i") == {"instances": []}


def test_an_instance_whose_engine_is_killed_is_removed_by_the_next(shell: Terminal) -> None:
    shell("engine", "start")
    run = ("run:exec", "sh", "-c", f"echo ready; read line; {psql()} -XAtc 'table t'; exit 5")
    pipe = subprocess.PIPE
    with composite(shell, *run, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        engine = psutil.Process(shell.engine_file()["pid"])
        engine.kill()
        engine.wait(300)
        said, _ = process.communicate("go on\n", timeout=300)
        assert (said, process.returncode) == ("1\n2\n3\n", 5)
    assert shell.json("ls", "-i") == {"instances": []}


@pytest.mark.parametrize("key", ["Ctrl+C", "the terminal's end"])
def test_a_terminal_reaches_the_tool(shell: Terminal, key: str) -> None:
    shell("engine", "start")
    ours, its = os.openpty()
    query = ("-Xc", r"\echo ready", "-c", "select pg_sleep(600)")
    with composite(
        shell,
        *("run:psql", *query),
        stdin=its,
        stdout=its,
        stderr=its,
        session=("setsid", "--ctty"),
    ) as process:
        os.close(its)
        shown = ""
        while "ready" not in shown:
            shown += os.read(ours, 4096).decode()
        [instance] = shell.json("ls", "-i")["instances"]
        server = server_of(shell, instance["instance_id"])
        if key == "Ctrl+C":
            os.write(ours, b"\x03")
            while "canceling statement" not in shown:
                shown += os.read(ours, 4096).decode()
        else:
            os.close(ours)
        server.wait(300)
        assert process.wait(300) == (1 if key == "Ctrl+C" else 128 + signal.SIGHUP)
    if key == "Ctrl+C":
        os.close(ours)


class Http:
    """Runs over HTTP."""

    def __init__(self, shell: Terminal) -> None:
        file = shell.engine_file()
        self._url = f"{file['endpoint']}/v1/runs"
        self._headers = {"Authorization": f"Bearer {file['authToken']}"}

    def begin(self, **request: Any) -> requests.Response:
        return requests.post(
            self._url, json=request, headers=self._headers, stream=True, timeout=300
        )

    def said(self, **request: Any) -> list[RunEvent]:
        with self.begin(**request) as answer:
            assert answer.status_code == 200, answer.text
            return [check(line, RunEvent) for line in answer.iter_lines()]


def test_over_http_output_is_streamed_apart_and_whole(shell: Terminal) -> None:
    made = prepared(shell, "--name", "dev")
    http = Http(shell)
    steps = [
        {"args": ["-XAtc", "select repeat('ä€😀', 100000)"]},
        {"args": ["-XAt", "-v", "ON_ERROR_STOP=1", "-f", "-"], "stdin": "select 'ö';\nselect x;"},
        {"args": ["-c", "select 'never'"]},
    ]
    events = http.said(instance_ref="dev", kind="psql", steps=steps)
    assert (events[0].type, events[0].instance_id) == ("start", made["instance_id"])
    assert (events[-1].type, events[-1].exit_code) == ("exit", 3)
    texts = {
        stream: "".join(str(each.data) for each in events if each.type == stream)
        for stream in ("stdout", "stderr")
    }
    assert texts["stdout"] == "ä€😀" * 100_000 + "\nö\n"
    assert 'column "x" does not exist' in texts["stderr"]
    assert http.begin(instance_ref="dev", kind="psql", args=["-hx"]).status_code == 400
    assert http.begin(instance_ref="nobody", kind="psql").status_code == 404


def test_over_http_a_client_that_goes_away_ends_the_tool(shell: Terminal) -> None:
    prepared(shell, "--name", "dev")
    args = ["-XAtc", "select 'begun'", "-c", "select pg_sleep(600)"]
    with Http(shell).begin(instance_ref="dev", kind="psql", args=args) as answer:
        lines = answer.iter_lines()
        assert [b"start" in next(lines), b"begun" in next(lines)] == [True, True]
        [psql] = shell.below_the_engine("psql")
    psql.wait(300)
