"""What a server's log tells of the end of its processes, in PostgreSQL's own words."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from pgstrata.runtime.base import Harm
from pgstrata.runtime.postmaster import LOG, Postmaster
from pgstrata.runtime.witness import Witness
from pgstrata.system.processes import birth


def harm_in(tmp_path: Path, *lines: str, said: str = "ERROR:  no luck") -> Harm | None:
    """What is found when a running server has logged this since it was watched."""
    log = tmp_path / LOG
    log.write_text("2026-01-01 00:00:00.000 UTC [1] LOG:  received fast shutdown request\n")
    process = Postmaster(
        pid=os.getpid(),
        started=time.time(),
        image_id="postgres",
        data_dir=tmp_path / "data",
        birth=birth(os.getpid()),
    )
    witness = Witness(process)
    with log.open("a") as file:
        for line in lines:
            file.write(f"2026-01-01 00:00:01.000 UTC [1] {line}\n")
    return asyncio.run(witness.harm(said))


@pytest.mark.parametrize(
    ("process", "end", "signal_name"),
    [
        ("server process", "was terminated by signal 9: Killed", "SIGKILL"),
        ('background worker "parallel worker"', "was terminated by signal 9: Killed", "SIGKILL"),
        ("WAL writer process", "was terminated by signal 15: Terminated", "SIGTERM"),
        ("checkpointer process", "was terminated by signal 9: Killed", "SIGKILL"),
        ("autovacuum launcher process", "was terminated by signal 9", "SIGKILL"),
        ("server process", "exited with exit code 2", "SIGQUIT"),
    ],
)
def test_a_process_that_somebody_ended_is_named_with_the_signal(
    tmp_path: Path, process: str, end: str, signal_name: str
) -> None:
    harm = harm_in(tmp_path, f"LOG:  {process} (PID 77) {end}", "LOG:  all server processes")
    assert harm is not None
    assert harm.from_outside
    assert harm.what.startswith(f"the {process} with pid 77 was ended by ")
    assert signal_name in harm.what


def test_a_server_that_was_told_to_shut_down_is_no_fault_of_the_script(tmp_path: Path) -> None:
    harm = harm_in(
        tmp_path,
        "LOG:  received fast shutdown request",
        said="FATAL:  terminating connection due to administrator command",
    )
    assert harm == Harm(what="the server was told to shut down", from_outside=True)


def test_a_process_that_crashed_did_so_by_itself(tmp_path: Path) -> None:
    line = "LOG:  server process (PID 77) was terminated by signal 11: Segmentation fault"
    harm = harm_in(tmp_path, line)
    assert harm is not None
    assert not harm.from_outside


@pytest.mark.parametrize(
    "line",
    [
        "LOG:  statement: select 'x (PID 7) was terminated by signal 9'",
        "LOG:  statement: select '\n\tLOG:  server process (PID 7) was terminated by signal 9'",
        "LOG:  execute x: select 'LOG:  received fast shutdown request'",
        "LOG:  server process (PID 7) exited with exit code 1",
        "LOG:  database system is ready to accept connections",
    ],
)
def test_what_a_statement_says_and_other_ends_are_none(tmp_path: Path, line: str) -> None:
    assert harm_in(tmp_path, line) is None
