"""Programs in cells: how they start, what they are told, and how they end."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from pgstrata.errors import ProgramError
from pgstrata.system.cell import kernel, levels, spawning
from pgstrata.system.cell.levels import SYSTEM
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Ended, Spawner
from tests import needs


@pytest.fixture
def spawner(tmp_path: Path) -> Iterator[Spawner]:
    spawner = Spawner(tmp_path)
    yield spawner
    spawner.close()


@pytest.fixture
def namespaces(spawner: Spawner) -> int:
    found = levels.probe(spawner, None)
    if not found.namespaces:
        needs.missing(f"there are no namespaces here: {found.missing}")
    return found.namespaces


def shell(script: str, namespaces: int = 0, **others: Any) -> Cell:
    shown = tuple((path, path) for path in SYSTEM)
    cell = Cell(("/bin/sh", "-c", script), {"A": "b"}, "/", namespaces=namespaces, shown=shown)
    return cell._replace(**others)


def run(spawner: Spawner, cell: Cell) -> tuple[str, Ended]:
    """What a program writes, and how it ends."""
    said, output = os.pipe()
    with os.fdopen(said) as file:
        started = spawner.start(cell, stdin=None, stdout=output, stderr=output)
        os.close(output)
        return file.read(), levels.wait(started)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)]
)
@pytest.mark.parametrize("isolated", [False, True])
def test_it_is_told_how_a_program_ended(
    spawner: Spawner, namespaces: int, script: str, code: int, isolated: bool
) -> None:
    cell = shell(script, namespaces if isolated else 0, init=True)
    assert run(spawner, cell) == ("", Ended(code, None))


def test_a_program_that_is_missing_is_named(spawner: Spawner, namespaces: int) -> None:
    cell = shell("", namespaces)._replace(argv=("/no/program", "x"))
    said, ended = run(spawner, cell)
    assert ended == Ended(127, "cannot start /no/program: No such file or directory")
    assert said == f"{ended.failure}\n"


def test_a_directory_that_cannot_be_shown_is_named(
    spawner: Spawner, namespaces: int, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    _, ended = run(spawner, shell("", namespaces, own=((missing, missing),)))
    assert ended == Ended(127, f"cannot show {missing}: No such file or directory")


def test_a_program_gets_its_environment_and_no_other(spawner: Spawner) -> None:
    said, _ = run(spawner, shell("export -p")._replace(argv=("/usr/bin/env",)))
    assert said == "A=b\n"


def test_it_may_have_more_arguments_than_a_datagram_holds(spawner: Spawner) -> None:
    words = ("x" * 100_000,) * 10
    cell = shell("")._replace(argv=("/bin/sh", "-c", 'echo "$#"', "sh", *words))
    assert run(spawner, cell)[0] == "10\n"


def test_it_sees_what_it_is_shown_and_nothing_else(
    spawner: Spawner, namespaces: int, tmp_path: Path
) -> None:
    own, shown, other = (tmp_path / name for name in ("own", "shown", "other"))
    for directory in (own, shown, other):
        directory.mkdir()
    cell = shell(
        f"ls /place; ls {quote(str(tmp_path))}; touch /place/new; "
        f"touch {quote(str(shown))}/new; cat /etc/motto",
        namespaces,
        own=((str(own), "/place"),),
        shown=(*((path, path) for path in SYSTEM), (str(shown), str(shown))),
        texts=(("/etc/motto", "by itself\n"),),
    )
    (own / "there").touch()
    said, _ = run(spawner, cell)
    assert said.splitlines() == [
        "there",
        "shown",
        f"touch: cannot touch '{shown}/new': Read-only file system",
        "by itself",
    ]
    assert (own / "new").exists()


def test_its_first_process_is_the_only_one_it_can_see(spawner: Spawner, namespaces: int) -> None:
    said, _ = run(spawner, shell("echo $$; echo /proc/[0-9]*", namespaces))
    assert said == "1\n/proc/1\n"


def test_sigterm_reaches_every_process_of_a_cell_with_a_parent(
    spawner: Spawner, namespaces: int
) -> None:
    child = "(trap 'echo child; exit' TERM; echo begun; while :; do :; done)"
    script = f"trap 'wait; echo ended; exit 3' TERM; {child} & wait"
    said, output = os.pipe()
    with os.fdopen(said) as file:
        started = spawner.start(
            shell(script, namespaces, init=True), stdin=None, stdout=output, stderr=output
        )
        os.close(output)
        assert file.readline() == "begun\n"
        os.kill(started.pid, signal.SIGTERM)
        assert (file.read(), levels.wait(started)) == ("child\nended\n", Ended(3, None))


def test_a_network_of_its_own_has_a_loopback_interface(spawner: Spawner, namespaces: int) -> None:
    if not levels.probe(spawner, None).network:
        needs.missing("there are no network namespaces here")
    cell = shell("", namespaces | kernel.NEW_NETWORK)
    script = "import socket; socket.create_server(('127.0.0.1', 5432)); print('listening')"
    python = "/usr/bin/python3"
    if not Path(python).exists():
        needs.missing(f"there is no {python}")
    assert run(spawner, cell._replace(argv=(python, "-I", "-c", script)))[0] == "listening\n"


def test_standard_input_is_passed_on(spawner: Spawner, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("words\n")
    said, output = os.pipe()
    with os.fdopen(said) as file, (tmp_path / "input").open() as given:
        started = spawner.start(shell("cat"), stdin=given.fileno(), stdout=output, stderr=output)
        os.close(output)
        assert (file.read(), levels.wait(started)) == ("words\n", Ended(0, None))


def test_what_a_cell_runs_is_found_by_its_store(
    spawner: Spawner, namespaces: int, tmp_path: Path
) -> None:
    said, output = os.pipe()
    waiting, go_on = os.pipe()
    started = spawner.start(
        shell("read x", namespaces), stdin=waiting, stdout=output, stderr=output
    )
    assert spawning.running(tmp_path) == [started.pid]
    assert spawning.running(tmp_path / "other") == []
    spawner.close()
    assert spawning.running(tmp_path) == [started.pid]
    for descriptor in (said, output, waiting, go_on):
        os.close(descriptor)
    levels.wait(started)


def test_the_spawner_ends_with_the_last_of_its_programs(spawner: Spawner, tmp_path: Path) -> None:
    run(spawner, shell(":"))
    (pid,) = spawning.spawners(tmp_path)
    gone = os.pidfd_open(pid)
    spawner.close()
    _until_readable(gone)
    os.close(gone)
    assert spawning.spawners(tmp_path) == []


def test_a_spawner_that_was_killed_is_replaced(spawner: Spawner, tmp_path: Path) -> None:
    run(spawner, shell(":"))
    (pid,) = spawning.spawners(tmp_path)
    gone = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    _until_readable(gone)
    os.close(gone)
    with pytest.raises(ProgramError, match="cannot start /bin/sh in a cell"):
        run(spawner, shell(":"))
    assert run(spawner, shell("echo again"))[0] == "again\n"


@pytest.fixture
def server(namespaces: int, tmp_path: Path) -> Cell:
    """A cell that is one of many, with a directory of its own."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "there").touch()
    return shell(
        "echo $A; ls /place",
        namespaces,
        own=((str(tmp_path / "own"), "/place"),),
        one_of_many=True,
    )


def spare(store: Path) -> int:
    """The pid of the spare, once there is one."""
    while not (found := spawning.running(store)):
        os.sched_yield()
    (pid,) = found
    return pid


def test_the_next_cell_is_made_ready_in_advance(
    spawner: Spawner, server: Cell, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        needs.missing_root("only root's spares can have directories")
    run(spawner, server)
    ready = spare(tmp_path)
    started = spawner.start(server, stdin=None, stdout=None, stderr=None)
    assert started.pid == ready
    assert levels.wait(started) == Ended(0, None)


def test_a_spare_gets_what_is_a_cells_own(spawner: Spawner, server: Cell, tmp_path: Path) -> None:
    run(spawner, server)
    spare(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    # As the clone of a state can be: mounted after the spare was made.
    mounted = os.geteuid() == 0
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", other], check=True)
    try:
        (other / "later").touch()
        cell = server._replace(env={"A": "c"}, own=((str(other), "/place"),))
        assert run(spawner, cell) == ("c\nlater\n", Ended(0, None))
    finally:
        if mounted:
            subprocess.run(["umount", other], check=True)


def test_a_spare_is_of_no_use_to_another_kind_of_cell(
    spawner: Spawner, server: Cell, tmp_path: Path
) -> None:
    run(spawner, server)
    spare(tmp_path)
    told = server._replace(texts=(("/etc/motto", "by itself\n"),))
    script = told._replace(argv=("/bin/cat", "/etc/motto"))
    assert run(spawner, script) == ("by itself\n", Ended(0, None))


def test_a_cell_starts_though_its_spare_was_killed(
    spawner: Spawner, server: Cell, tmp_path: Path
) -> None:
    run(spawner, server)
    pid = spare(tmp_path)
    gone = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    _until_readable(gone)
    os.close(gone)
    assert run(spawner, server) == ("b\nthere\n", Ended(0, None))


def test_what_a_spare_cannot_start_is_named(spawner: Spawner, server: Cell, tmp_path: Path) -> None:
    run(spawner, server)
    spare(tmp_path)
    said, ended = run(spawner, server._replace(argv=("/no/program",)))
    assert ended == Ended(127, "cannot start /no/program: No such file or directory")
    assert said == f"{ended.failure}\n"


def test_no_spare_outlives_the_engine(spawner: Spawner, server: Cell, tmp_path: Path) -> None:
    run(spawner, server)
    ready = os.pidfd_open(spare(tmp_path))
    spawner.close()
    _until_readable(ready)
    os.close(ready)


def test_a_spare_holds_nothing_open_of_a_program_that_was_started_before_it(
    spawner: Spawner, server: Cell, tmp_path: Path
) -> None:
    waiting, go_on = os.pipe()
    said, output = os.pipe()
    script = server._replace(argv=("/bin/sh", "-c", "read x"))
    started = spawner.start(script, stdin=waiting, stdout=output, stderr=output)
    os.close(output)
    while len(spawning.running(tmp_path)) < 2:
        os.sched_yield()
    os.close(go_on)
    os.close(waiting)
    with os.fdopen(said) as file:
        assert file.read() == ""
    assert levels.wait(started) == Ended(1, None)


def _until_readable(descriptor: int) -> None:
    import select

    assert select.select([descriptor], (), (), 60)[0]


BOMB = """
import os, time
number = 0
try:
    while number < 100:
        if os.fork() == 0:
            time.sleep(600)
        number += 1
except BlockingIOError:
    print(number)
"""


def test_a_cell_has_as_many_processes_as_it_may(spawner: Spawner, namespaces: int) -> None:
    if not namespaces & kernel.NEW_USERS:
        needs.missing("there are no user namespaces here")
    bomb = shell("", namespaces, argv=("/usr/bin/python3", "-I", "-c", BOMB), most_processes=20)
    # The kernel never refuses root.
    ids = (65534, 65534) if os.geteuid() == 0 else None
    said = [run(spawner, bomb._replace(ids=ids)) for _ in range(2)]
    assert said == [("19\n", Ended(0, None))] * 2


def test_files_in_memory_hold_as_much_as_they_may(spawner: Spawner, namespaces: int) -> None:
    script = "head -c 2M /dev/zero > /tmp/1 && head -c 3M /dev/zero > /dev/shm/2"
    said, ended = run(spawner, shell(script, namespaces, temporary=4 << 20))
    assert "No space left on device" in said
    assert ended.exit_code == 1


def test_a_cell_seems_to_have_more_memory_than_the_engine(
    spawner: Spawner, namespaces: int
) -> None:
    """So that the kernel ends a server rather than the engine, when there is no more."""
    said, _ = run(spawner, shell("cat /proc/self/oom_score_adj", namespaces))
    assert int(said) == min(int(Path("/proc/self/oom_score_adj").read_text()) + 100, 1000)
