"""What a terminal shows, and what anything else gets."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import convert
from msgspec.structs import replace

from pgstrata.cli.live import Live
from pgstrata.cli.progress import Plain, for_stream
from pgstrata.cli.steps import Report, Steps, Working
from pgstrata.domain.job import Event
from pgstrata.domain.plan import TaskSpec
from tests.unit.cli.screen import Screen
from tests.unit.cli.script import BEGINNING, CANCELLED, FAILED, TASKS, task

CACHED = Report(1, 3, "-f schema.sql", "cached", 0.0)
BUILT = Report(2, 3, "-f seed.sql", "built", 0.8)
NOW = Working(2, 3, "-f seed.sql", 1.4)


class Doing:
    """What is being done, as a test says."""

    def __init__(self, now: Working | None = NOW) -> None:
        self.now = now

    def __call__(self) -> Working | None:
        return self.now


@pytest.fixture
def screen() -> Iterator[Screen]:
    with Screen() as screen:
        yield screen


def live(
    screen: Screen, doing: Doing | None = None, *, colour: bool = False, verbose: bool = False
) -> Live:
    return Live(screen.stream, doing or Doing(), colour=colour, verbose=verbose)


def test_a_pipe_gets_plain_lines() -> None:
    pipe = io.StringIO()
    progress = for_stream(pipe, {}, Doing(), verbose=False)
    for report in (CACHED, BUILT):
        progress.tick()
        progress.log("INSERT 0 1")
        progress.done(report)
    assert pipe.getvalue() == "[1/3] cached  -f schema.sql\n[2/3] built   -f seed.sql  0.8 s\n"


def test_in_a_pipe_a_slow_step_says_so_again_and_again() -> None:
    pipe, doing = io.StringIO(), Doing()
    progress = Plain(pipe, doing, verbose=False, slow_seconds=10)
    for seconds in (0.2, 9.9, 10.3, 10.4, 19.9, 34.5, 39.0, 40.0):
        doing.now = NOW._replace(seconds=seconds)
        progress.tick()
    for seconds in (9.0, 11.0):
        doing.now = Working(None, 3, "cloning and starting the instance", seconds)
        progress.tick()
    assert pipe.getvalue().splitlines() == [
        "[2/3] running  -f seed.sql  10.3 s",
        "[2/3] running  -f seed.sql  34.5 s",
        "[2/3] running  -f seed.sql  40.0 s",
        "cloning and starting the instance  11.0 s",
    ]


def test_time_passes_without_events() -> None:
    told = threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            told.set()
            return super().write(text)

    progress = Plain(Pipe(), Doing(), verbose=False, slow_seconds=0.001)
    progress.start()
    assert told.wait(120)
    progress.stop()


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(screen: Screen) -> None:
    progress = for_stream(screen.stream, {"TERM": "dumb"}, Doing(), verbose=False)
    assert isinstance(progress, Plain)


def test_a_terminal_shows_finished_steps_and_below_them_what_runs(screen: Screen) -> None:
    progress = live(screen)
    progress.done(CACHED)
    progress.tick()
    assert screen.rows() == [
        "= [1/3] cached  -f schema.sql",
        "[#####...........] 2/3  -f seed.sql  1.4 s",
    ]


def test_what_runs_is_shown_once_with_the_tools_last_words(screen: Screen) -> None:
    progress = live(screen)
    for line in ("INSERT 0 1", "INSERT 0 2"):
        progress.log(line)
        progress.tick()
    assert screen.rows()[1:] == ["  INSERT 0 2"]


def test_the_clock_runs_while_a_tool_prints_and_while_it_is_silent(screen: Screen) -> None:
    doing = Doing()
    progress = live(screen, doing)
    progress.log("INSERT 0 1")
    for seconds, shown in ((0.5, "0.5 s"), (1.0, "1.0 s"), (65.0, "1 min 5 s")):
        doing.now = NOW._replace(seconds=seconds)
        progress.tick()
        assert screen.rows()[0].endswith(f"  {shown}")


def test_a_tool_with_much_to_say_costs_one_frame_and_nothing_new_costs_none(
    screen: Screen,
) -> None:
    progress = live(screen)
    for number in range(1000):
        progress.log(f"line {number}")
    assert screen.written() == ""
    progress.tick()
    assert screen.written().count("line ") == 1
    progress.tick()
    assert screen.written() == ""


def test_every_line_is_there_if_asked_for(screen: Screen) -> None:
    progress = live(screen, verbose=True)
    for line in ("one", "two"):
        progress.log(line)
    progress.tick()
    progress.log("three")
    progress.stop()
    assert screen.rows() == ["      one", "      two", "      three"]


def test_nothing_flickers(screen: Screen) -> None:
    doing = Doing()
    progress = live(screen, doing)
    progress.log("INSERT 0 1")
    progress.tick()
    assert len(screen.rows()) == 2
    doing.now = NOW._replace(seconds=2.4)
    progress.tick()
    moments = list(screen.moments())
    assert {len(rows) for rows in moments} == {2}
    assert moments[-1][0].endswith("2.4 s")


def test_nothing_that_changes_is_left_behind(screen: Screen) -> None:
    progress = live(screen)
    progress.log("INSERT 0 1")
    progress.tick()
    progress.stop()
    assert screen.rows() == []


@pytest.mark.parametrize("width", [10, 20, 37, 60, 80, 200])
@pytest.mark.parametrize("text", ["x" * 300, "表" * 300, "e\u0301" * 300, "-f a.sql"])
def test_lines_fit_into_any_terminal(screen: Screen, width: int, text: str) -> None:
    screen.resize(width)
    progress = live(screen, Doing(Working(1, 1, text, 2.0)))
    progress.log(text)
    progress.tick()
    assert len(screen.rows()) == 2


def test_a_narrow_terminal_shows_the_step_rather_than_a_bar(screen: Screen) -> None:
    screen.resize(30)
    live(screen).tick()
    assert screen.rows() == ["2/3  -f seed.sql  1.4 s"]


@pytest.mark.parametrize("widths", [(80, 50), (80, 20), (60, 30), (40, 120), (80, 41, 80)])
def test_a_terminal_that_changes_its_width_has_no_second_bar(
    screen: Screen, widths: tuple[int, ...]
) -> None:
    progress = live(screen, Doing(NOW._replace(title="-f a/rather/long/name/of/a/script.sql")))
    progress.done(CACHED)
    for width in widths:
        screen.resize(width)
        progress.log(f"{width} " * 50)
        progress.tick()
        rows = screen.rows()
        assert len([row for row in rows if "2/3" in row]) == 1
        assert rows[-1].startswith(f"  {width} ")
    progress.stop()
    assert "".join(screen.rows()) == "= [1/3] cached  -f schema.sql"


def test_what_a_shell_wrote_while_the_client_was_stopped_is_kept(screen: Screen) -> None:
    progress = live(screen)
    progress.tick()
    screen.stream.write("\n[1]+ Stopped\n")
    progress.resume()
    progress.tick()
    assert screen.rows()[-2:] == ["[1]+ Stopped", "[#####...........] 2/3  -f seed.sql  1.4 s"]


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_that_want_it(
    screen: Screen, env: dict[str, str], coloured: bool
) -> None:
    progress = for_stream(screen.stream, env, Doing(), verbose=False)
    progress.log("INSERT 0 1")
    progress.done(CACHED)
    progress.tick()
    assert ("\x1b[36m" in screen.written()) is coloured


PLAN = convert(TASKS, list[TaskSpec])


def moved(task_id: str, name: str, milliseconds: int) -> Event:
    return convert(task(task_id, name, milliseconds), Event)


class Clock:
    """Seconds as a test says."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def begun(clock: Clock) -> Steps:
    """A job whose second step has run for half a second."""
    steps = Steps(Path("/work"), clock)
    for event in BEGINNING:
        steps.apply(convert(event, Event))
        steps.load(PLAN)
    return steps


def test_a_step_goes_on_from_its_first_event_however_late_that_is_heard() -> None:
    clock = Clock()
    steps = begun(clock)
    assert steps.working == Working(2, 2, "-f seed.sql", 0.5)
    clock.seconds += 3
    assert steps.working == Working(2, 2, "-f seed.sql", 3.5)


def test_what_a_tool_says_moves_the_clock_as_well() -> None:
    clock = Clock()
    steps = begun(clock)
    log = {"type": "log", "ts": "2025-01-01T12:01:00.004Z", "task_id": "execute-1", "message": ""}
    steps.apply(convert(log, Event))
    assert steps.working == Working(2, 2, "-f seed.sql", 60.0)


@pytest.mark.parametrize(("events", "outcome"), [(FAILED, "failed"), (CANCELLED, "cancelled")])
def test_a_step_that_ended_with_its_job_is_told_by_the_error(
    events: list[dict[str, object]], outcome: str
) -> None:
    steps = begun(Clock())
    reports = [steps.apply(convert(event, Event)) for event in events[len(BEGINNING) :]]
    assert [report.outcome for report in reports if report] == [outcome]
    assert steps.working is None


def test_a_step_that_failed_for_no_known_reason_is_told_too() -> None:
    steps = begun(Clock())
    events = (FAILED[-3], FAILED[-1])
    reports = [steps.apply(convert(event, Event)) for event in events]
    assert [report.outcome for report in reports if report] == ["failed"]


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


def test_waiting_planning_and_starting_have_names_too() -> None:
    steps = Steps(Path("/work"))
    titles = []
    queued = convert(BEGINNING[0], Event)
    for event in (queued, moved("plan", "running", 1), moved("prepare-instance", "running", 2)):
        steps.apply(event)
        assert steps.working is not None
        titles.append(steps.working.title)
    assert titles == ["waiting for a slot", "planning", "cloning and starting the instance"]
