"""What a terminal shows, and what anything else gets."""

import io
import re
from pathlib import Path

import pytest
from msgspec import convert
from msgspec.structs import replace

from pgstrata.cli.progress import Live, Plain, for_stream
from pgstrata.cli.steps import Report, Steps, Working
from pgstrata.domain.job import Event
from pgstrata.domain.plan import TaskSpec
from tests.unit.cli.script import BEGINNING, TASKS, task

CACHED = Report(1, 3, "-f schema.sql", "cached", 0.0)
BUILT = Report(2, 3, "-f seed.sql", "built", 0.8)
NOW = Working(2, 3, "-f seed.sql", 1.4)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(written: str) -> list[str]:
    """The lines a terminal shows after this was written to it."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[\w*|[\r\n]|[^\x1b\r\n]+", written):
        if part == "\n":
            row += 1
            lines += [""] if row == len(lines) else []
        elif part == "\r":
            pass
        elif part == "\x1b[K":
            lines[row] = ""
        elif part == "\x1b[A":
            row -= 1
        elif not part.startswith("\x1b"):
            lines[row] += part
    return [line for line in lines if line]


def live(*, colour: bool = False) -> tuple[Live, Terminal]:
    terminal = Terminal()
    return Live(terminal, colour=colour, verbose=False), terminal


def test_a_pipe_gets_plain_lines() -> None:
    pipe = io.StringIO()
    progress = for_stream(pipe, {}, verbose=False)
    assert isinstance(progress, Plain)
    for report in (CACHED, BUILT):
        progress.working(NOW)
        progress.log("INSERT 0 1")
        progress.done(report)
    assert pipe.getvalue() == "[1/3] cached  -f schema.sql\n[2/3] built   -f seed.sql  0.8 s\n"


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines() -> None:
    assert isinstance(for_stream(Terminal(), {"TERM": "dumb"}, verbose=False), Plain)


def test_a_terminal_shows_finished_steps_and_below_them_what_runs() -> None:
    progress, terminal = live()
    progress.done(CACHED)
    progress.working(NOW)
    assert screen(terminal.getvalue()) == [
        "= [1/3] cached  -f schema.sql",
        "[#####...........] 2/3  -f seed.sql  1.4 s",
    ]


def test_what_runs_is_shown_once_with_the_tools_last_words() -> None:
    progress, terminal = live()
    for line in ("INSERT 0 1", "INSERT 0 2"):
        progress.log(line)
        progress.working(NOW)
    assert screen(terminal.getvalue())[1:] == ["  INSERT 0 2"]


def test_nothing_that_changes_is_left_behind() -> None:
    progress, terminal = live()
    progress.log("INSERT 0 1")
    progress.working(NOW)
    progress.clear()
    assert screen(terminal.getvalue()) == []


def test_a_long_line_never_wraps() -> None:
    progress, terminal = live()
    progress.working(Working(1, 1, "x" * 300, 2.0))
    assert len(screen(terminal.getvalue())[0]) < 80


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_that_want_it(env: dict[str, str], coloured: bool) -> None:
    terminal = Terminal()
    for_stream(terminal, env, verbose=False).done(CACHED)
    assert ("\x1b[36m" in terminal.getvalue()) is coloured


PLAN = convert(TASKS, list[TaskSpec])


def moved(task_id: str, name: str, milliseconds: int) -> Event:
    return convert(task(task_id, name, milliseconds), Event)


def test_a_step_goes_on_from_its_first_event() -> None:
    steps = Steps(Path("/work"))
    steps.load(PLAN)
    for event in BEGINNING:
        if event["type"] == "task":
            steps.apply(convert(event, Event))
            steps.load(PLAN)
    assert steps.working == Working(2, 2, "-f seed.sql", 0.5)


def test_files_below_the_callers_directory_are_named_from_there() -> None:
    steps = Steps(Path("/work"))
    steps.load([replace(PLAN[1], args_summary="-f /work/sub/a.sql -f /else/b.sql")])
    report = steps.apply(moved("execute-0", "succeeded", 3))
    assert report is not None
    assert report.title == "-f sub/a.sql -f /else/b.sql"


def test_a_new_plan_replaces_the_steps() -> None:
    steps = Steps(Path("/work"))
    steps.load(PLAN)
    assert steps.apply(moved("execute-0", "succeeded", 3)) is not None
    steps.apply(moved("plan", "running", 10))
    assert steps.lacks(moved("execute-0", "succeeded", 11))
    steps.load(PLAN)
    assert steps.apply(moved("execute-0", "succeeded", 11)) is not None


def test_planning_and_starting_have_names_too() -> None:
    steps = Steps(Path("/work"))
    steps.apply(moved("plan", "running", 1))
    assert steps.working is not None
    assert steps.working.title == "planning"
    steps.apply(moved("prepare-instance", "running", 2))
    assert steps.working.title == "cloning and starting the instance"
