"""Fault points: how they are armed, what happens at them, and that each is declared."""

import ast
import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgstrata
from pgstrata.errors import InvalidArgumentError
from pgstrata.system import faults

SOURCE = Path(pgstrata.__file__).parent


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    faults.arm(None)


def passing(name: str, times: int = 1) -> None:
    for _ in range(times):
        with faults.step(name):
            pass


def test_nothing_happens_where_the_environment_says_nothing() -> None:
    faults.arm_from({"PATH": "/bin"})
    passing("queue.apply")
    assert faults.step("queue.apply") is faults.step("queue.add")


def test_a_step_can_fail_before_it_is_done_or_after_it() -> None:
    done: list[str] = []
    for when in ("before", "after"):
        faults.arm_from({faults.FAULTS: f"statefs.show.{when}=ENOSPC"})
        with pytest.raises(OSError, match="No space left") as failure, faults.step("statefs.show"):
            done.append(when)
        assert failure.value.errno == errno.ENOSPC
    assert done == ["after"]


def test_it_fails_the_time_that_was_asked_for_and_no_other() -> None:
    faults.arm_from({faults.FAULTS: "statefs.hide.before=EIO@3"})
    passing("statefs.hide", 2)
    with pytest.raises(OSError, match="Input/output"):
        passing("statefs.hide")
    passing("statefs.hide", 5)


def test_it_can_fail_ever_after() -> None:
    faults.arm_from({faults.FAULTS: "statefs.hide.before=EIO@2+"})
    passing("statefs.hide")
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            passing("statefs.hide")


def test_a_step_that_fails_by_itself_does_not_come_to_its_second_point(tmp_path: Path) -> None:
    faults.arm_from({faults.TRACE: str(tmp_path / "trace")})
    with pytest.raises(ZeroDivisionError), faults.step("statefs.copy"):
        raise ZeroDivisionError
    passing("statefs.sync")
    assert (tmp_path / "trace").read_text().split() == [
        "statefs.copy.before",
        "statefs.sync.before",
        "statefs.sync.after",
    ]


def test_points_are_counted_only_while_the_file_is_there(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    faults.arm_from({faults.FAULTS: "queue.add.before=EIO@2", faults.WHILE: str(gate)})
    passing("queue.add", 5)
    gate.touch()
    passing("queue.add")
    with pytest.raises(OSError, match="Input/output"):
        passing("queue.add")


def test_a_kill_ends_the_process_between_two_instructions(tmp_path: Path) -> None:
    program = (
        "from pgstrata.system import faults; import os, sys\n"
        "faults.arm_from(os.environ)\n"
        "print('one', flush=True)\n"
        "with faults.step('queue.add'):\n"
        "    print('two', flush=True)\n"
        "print('three', flush=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={faults.FAULTS: "queue.add.after=kill"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.stdout.split(), ended.returncode) == (["one", "two"], -9)


@pytest.mark.parametrize(
    "text", ["nonsense", "no.such.step.before=kill", "queue.add=kill", "queue.add.before=ESULK"]
)
def test_what_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="PGSTRATA_FAULTS"):
        faults.arm_from({faults.FAULTS: text})


def test_the_steps_in_the_source_are_the_declared_ones() -> None:
    assert set(steps_in_the_source()) == faults.STEPS


def test_every_transaction_of_the_queue_and_the_store_is_a_step() -> None:
    for file in (SOURCE / "queue" / "sqlite.py", SOURCE / "store" / "sqlite.py"):
        for call in calls_in(file):
            if ast.unparse(call.func) == "self._database.write":
                assert "step" in [word.arg for word in call.keywords], f"{file}:{call.lineno}"


def steps_in_the_source() -> Iterator[str]:
    """The literal names given as ``faults.step("…")`` or as an argument ``step="…"``."""
    for file in SOURCE.rglob("*.py"):
        for call in calls_in(file):
            named = [word.value for word in call.keywords if word.arg == "step"]
            if ast.unparse(call.func) == "faults.step":
                named += call.args
            yield from (
                word.value
                for word in named
                if isinstance(word, ast.Constant) and isinstance(word.value, str)
            )


def calls_in(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield node
