"""What a command's state is named by, what it sees, and what is refused before it runs."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    InputChangedError,
    InvalidArgumentError,
    PgstrataError,
    StepFailedError,
    StepInterruptedError,
)
from pgstrata.kinds.exec.kind import ExecRecipe, ExecRunner
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memory import MemorySources
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import MemoryRuntime, ToolRun, succeed
from pgstrata.system.memory_disk import MemoryDisk

EXECUTABLE = 0o755


class Project:
    """A directory with a command."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        directory.mkdir()
        self.write("run.sh", "#!/bin/sh\ntrue\n").chmod(EXECUTABLE)
        self.write("sql/a.sql", "select 1;")
        self.write("sql/b.sql", "select 2;")

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def request(self, *inputs: str, **fields: Any) -> PrepareRequest:
        """A request with inputs relative to the directory."""
        own = {
            "exec_command": ("./run.sh",),
            "exec_inputs": tuple(f"{self.path}/{name}" for name in inputs),
        }
        return PrepareRequest(
            prepare_kind="exec",
            image_id="postgres",
            work_dir=str(self.path),
            fields=own | fields,
        )

    def step(self, *inputs: str, **fields: Any) -> Step:
        return made(self.request(*inputs, **fields))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def made(request: PrepareRequest) -> Step:
    [step] = asyncio.run(ExecRecipe().steps(request, LocalTree()))
    return step


def refused(request: PrepareRequest) -> PgstrataError:
    recipe = ExecRecipe()

    async def submitted() -> None:
        recipe.normalize(request)
        await recipe.steps(request, LocalTree())

    with pytest.raises(InvalidArgumentError) as refusal:
        asyncio.run(submitted())
    assert refusal.value.remedy
    assert "\n" not in refusal.value.message + refusal.value.remedy
    return refusal.value


def ran(step: Step, tool: Callable[[Server, ToolCommand], ToolRun]) -> ToolCommand:
    """What the runner gives the runtime for a step."""

    async def scenario() -> ToolCommand:
        disk = MemoryDisk()
        runtime = MemoryRuntime(disk, tool=tool)
        image = (await runtime.resolve("postgres")).image_id
        disk.make_dir(Path("/data"))
        await runtime.initialise(image, Path("/data"))
        server = await runtime.start(image, Path("/data"), building=True)
        async with LocalTree().hold(step.inputs) as sources:
            await ExecRunner().execute(step, sources, server, runtime, _unheard)
        [command] = runtime.commands
        return command

    return asyncio.run(scenario())


async def _unheard(line: str) -> None:
    """Whatever the tool says."""


def test_the_same_project_elsewhere_makes_the_same_state(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    one, another = project.step("sql"), other.step("sql")
    assert one.digest == another.digest
    assert one.parts == another.parts
    assert not one.uncacheable


CHANGES: dict[str, Callable[[Project], object]] = {
    "a content": lambda it: it.write("sql/a.sql", "select 3;"),
    "a name": lambda it: (it.path / "sql/a.sql").rename(it.path / "sql/c.sql"),
    "a new file": lambda it: it.write("sql/new.txt", ""),
    "a file in a new directory": lambda it: it.write("sql/deep/er.sql", ""),
    "an empty directory": lambda it: (it.path / "sql/empty").mkdir(),
    "a link that leads nowhere": lambda it: (it.path / "sql/link").symlink_to("none"),
    "a file gone": lambda it: (it.path / "sql/a.sql").unlink(),
    "that it is executable": lambda it: (it.path / "sql/a.sql").chmod(EXECUTABLE),
    "the program": lambda it: it.write("run.sh", "#!/bin/sh\nfalse\n"),
    "the program's interpreter": lambda it: it.write("run.sh", "#!/bin/bash\ntrue\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_another_state(project: Project, change: str) -> None:
    before = project.step("sql")
    CHANGES[change](project)
    after = project.step("sql")
    assert before.digest != after.digest
    assert before.parts != after.parts


@pytest.mark.parametrize(
    "fields",
    [
        {"exec_command": ("./run.sh", "now")},
        {"exec_env": {"TENANT": "acme"}},
        {"exec_env": {"TENANT": ""}},
        {"exec_network": True},
        {"exec_read": ("/usr",)},
    ],
)
def test_what_was_asked_for_counts(project: Project, fields: dict[str, Any]) -> None:
    plain, other = project.step("sql"), project.step("sql", **fields)
    assert plain.digest != other.digest
    assert plain.parts != other.parts


KEPT: dict[str, Callable[[Project], object]] = {
    "a file beside it": lambda it: it.write("notes.txt", "…"),
    "what Python leaves": lambda it: it.write("sql/__pycache__/a.pyc", "…"),
    "a repository's history": lambda it: it.write("sql/deep/../.git/HEAD", "…"),
    "times": lambda it: os.utime(it.path / "sql/a.sql", (1, 1)),
    "who may read it": lambda it: (it.path / "sql/a.sql").chmod(0o640),
    "content written again": lambda it: it.write("sql/a.sql", "select 1;"),
}


@pytest.mark.parametrize("change", KEPT)
def test_what_makes_no_other_state(project: Project, change: str) -> None:
    project.write("sql/deep/x.sql", "")
    before = project.step("sql")
    KEPT[change](project)
    assert project.step("sql").digest == before.digest


def test_where_a_scripts_interpreter_is_does_not_matter(project: Project, tmp_path: Path) -> None:
    digests = set()
    for place in ("one", "another"):
        python = tmp_path / place / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to("/bin/sh")
        project.write("run.sh", f"#!{python}\ntrue\n")
        digests.add(project.step("sql").digest)
    assert len(digests) == 1


@pytest.mark.parametrize("pattern", ["sql/*.sql", "s?l/[ab].sql", "**/*.sql", "sql/**"])
def test_a_pattern_stands_for_the_files_it_matches(project: Project, pattern: str) -> None:
    project.write(".hidden/c.sql", "")
    project.write("sql/.swap.sql", "")
    step = project.step(pattern)
    assert step.digest == project.step("sql/a.sql", "sql/b.sql").digest
    project.write("sql/c.sql", "")
    assert (project.step(pattern).digest != step.digest) == ("[ab]" not in pattern)


def test_a_pattern_may_match_directories_and_a_name_may_look_like_a_pattern(
    project: Project,
) -> None:
    assert project.step("s*").digest == project.step("sql").digest
    project.write("odd[1]/a.sql", "")
    assert "odd[1]/a.sql" in project.step("odd[1]").parts


def test_a_link_is_what_it_leads_to_and_that_is_seen(project: Project, tmp_path: Path) -> None:
    target = project.write("elsewhere/a.sql", "select 1;")
    (project.path / "sql/a.sql").unlink()
    before = project.step("sql")
    (project.path / "sql/a.sql").symlink_to(project.path / "via")
    (project.path / "via").symlink_to("elsewhere/a.sql")
    assert project.step("sql").digest != before.digest
    view = ran(project.step("sql"), succeed).view
    assert view is not None
    assert {target, project.path / "via", project.path / "sql"} <= {*view.shown}
    target.write_text("select 2;")
    assert project.step("sql").digest != before.digest


def test_a_directory_in_itself_ends_somewhere(project: Project) -> None:
    (project.path / "sql/again").symlink_to("..")
    (project.path / "other").mkdir()
    (project.path / "other/back").symlink_to("../sql")
    (project.path / "sql/there").symlink_to("../other")
    assert project.step("sql", "other").digest == project.step("sql", "other").digest


def test_without_inputs_it_runs_every_time(project: Project) -> None:
    one, other = project.step(), project.step()
    assert one.uncacheable
    assert one.digest != other.digest
    command = ran(one, succeed)
    assert command.trusted
    assert command.view is None
    assert command.network is False


def test_with_inputs_it_sees_them_and_its_program_and_no_more_of_its_directory(
    project: Project,
) -> None:
    project.write("sql/deep/__pycache__/x.pyc", "")
    modules = project.write("node_modules/x.js", "").parent
    step = project.step("sql", exec_read=(str(modules),), exec_network=True)
    command = ran(step, succeed)
    assert command.view is not None
    assert {*command.view.hidden} == {project.path, project.path / "sql/deep/__pycache__"}
    assert {project.path / "sql", project.path / "run.sh", modules} <= {*command.view.shown}
    assert project.path not in command.view.shown
    assert not command.trusted
    assert command.network


def test_what_a_program_is_installed_with_is_seen_but_not_the_project_it_is_in(
    project: Project, tmp_path: Path
) -> None:
    python = tmp_path / "python" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/sh")
    venv = project.path / ".venv"
    tool = project.write(".venv/bin/tool", "#!/usr/bin/env -S python -I\n")
    (venv / "bin/python").symlink_to(python)
    own = project.write("bin/tool", "#!/usr/bin/env tool\n")
    for program in (tool, own):
        program.chmod(EXECUTABLE)
    installed = project.step("sql", exec_command=("tool",), exec_path=f"{venv}/bin:/usr/bin")
    view = ran(installed, succeed).view
    assert view is not None
    assert {venv, python.parent.parent} <= {*view.shown}
    ours = project.step("sql", exec_command=("bin/tool",), exec_path=f"{venv}/bin:/usr/bin")
    view = ran(ours, succeed).view
    assert view is not None
    assert {own, venv} <= {*view.shown}
    assert project.path not in view.shown


def test_it_is_told_where_its_server_is_in_every_way_that_tools_read(project: Project) -> None:
    command = ran(project.step("sql", exec_env={"TENANT": "acme"}), succeed)
    env = command.env
    assert env["TENANT"] == "acme"
    assert env["DATABASE_URL"] == (
        f"postgresql://{env['PGUSER']}:{env['PGPASSWORD']}"
        f"@{env['PGHOST']}:{env['PGPORT']}/{env['PGDATABASE']}"
    )
    assert env["JDBC_DATABASE_URL"] == env["FLYWAY_URL"]
    assert env["FLYWAY_URL"].startswith(f"jdbc:postgresql://{env['PGHOST']}:{env['PGPORT']}/")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("cat: x: No such file or directory", "--read"),
        ("ModuleNotFoundError: No module named 'app'", "--read"),
        ("Error: getaddrinfo ENOTFOUND example.com", "--network"),
        ("OSError: [Errno 30] Read-only file system: 'x'", "thrown away"),
        ('ERROR:  column "x" does not exist', "correct it"),
    ],
)
def test_a_command_that_fails_is_told_with_its_last_lines_and_what_may_help(
    project: Project, said: str, hint: str
) -> None:
    def fail(_server: Server, _command: ToolCommand) -> ToolRun:
        return ToolRun(lines=(said,), ended=ToolExit(exit_code=139, stderr_tail=""))

    with pytest.raises(StepFailedError) as failed:
        ran(project.step("sql"), fail)
    assert failed.value.message == "`./run.sh` ended with exit code 139 (SIGSEGV)"
    assert failed.value.details == said
    assert hint in (failed.value.remedy or "")


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (15, "SIGTERM"), (2, "SIGINT")])
def test_a_command_that_somebody_ended_is_no_fault_of_its_own(
    project: Project, number: int, name: str
) -> None:
    def fail(_server: Server, _command: ToolCommand) -> ToolRun:
        return ToolRun(lines=("at work",), ended=ToolExit(exit_code=128 + number, stderr_tail=""))

    with pytest.raises(StepInterruptedError) as ended:
        ran(project.step("sql"), fail)
    assert ended.value.message == f"`./run.sh` was ended by signal {number} ({name})"
    assert ended.value.details == "at work"


def test_of_long_lines_only_the_end_is_told_when_a_command_fails(project: Project) -> None:
    def fail(_server: Server, _command: ToolCommand) -> ToolRun:
        lines = ("connect " * 10_000,) * 50
        return ToolRun(lines=lines, ended=ToolExit(exit_code=1, stderr_tail=""))

    with pytest.raises(StepFailedError) as failed:
        ran(project.step("sql"), fail)
    assert len(failed.value.details or "") < 10_000


@pytest.mark.parametrize("change", ["a content", "a new file", "that it is executable"])
def test_what_changes_between_plan_and_run_is_noticed(project: Project, change: str) -> None:
    step = project.step("sql")
    CHANGES[change](project)
    with pytest.raises(InputChangedError, match="sql"):
        ran(step, succeed)


@pytest.mark.parametrize(
    ("inputs", "fields", "told"),
    [
        ((), {"exec_command": ()}, "no command"),
        ((), {"exec_command": ("",)}, "no command"),
        ((), {"exec_command": ("no-such-command",)}, "no command no-such-command"),
        ((), {"exec_command": ("./none",)}, "none"),
        ((), {"exec_command": ("./sql",)}, "not a file"),
        ((), {"exec_command": ("./sql/a.sql",)}, "not executable"),
        ((), {"exec_command": ("./run.sh", "a\0b")}, "NUL"),
        ((), {"exec_command": ("./run.sh", "x" * 131_072)}, "longer than the system allows"),
        ((), {"exec_command": ("./run.sh", *["x" * 100_000] * 100)}, "all arguments"),
        ((), {"exec_env": {"A": "x" * 131_072}}, "longer than the system allows"),
        (("none",), {}, "none"),
        (("sql/a.sql/x",), {}, "sql/a.sql/x"),
        (("*.nothing",), {}, "*.nothing matches nothing"),
        (("sql/a\0b",), {}, "NUL"),
        ((), {"exec_inputs": ("relative",)}, "relative is not an absolute path"),
        ((), {"exec_inputs": ("/proc/self/status",)}, "made up by the kernel"),
        (("sql",), {"exec_read": ("/none",)}, "--read"),
        ((), {"exec_env": {"DATABASE_URL": "x"}}, "DATABASE_URL"),
        ((), {"exec_env": {"A=B": "x"}}, "A=B"),
        ((), {"exec_env": {"1A": "x"}}, '"1A" is not the name of a variable'),
        ((), {"exec_env": {"A-B": "x"}}, "A-B"),
        ((), {"exec_env": {"\u00c4": "x"}}, "\u00c4"),
        ((), {"exec_command": "run"}, "exec_command"),
    ],
)
def test_what_is_refused(
    project: Project, inputs: tuple[str, ...], fields: dict[str, Any], told: str
) -> None:
    assert told in refused(project.request(*inputs, **fields)).message


@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000, "loop", "sql/a.sql/x"])
@pytest.mark.parametrize("field", ["exec_inputs", "exec_read", "exec_command"])
def test_paths_that_lead_nowhere(project: Project, field: str, path: str) -> None:
    (project.path / "loop").symlink_to("loop")
    assert (
        refused(project.request("sql", **{field: (f"{project.path}/{path}",)})).http_status == 400
    )


@pytest.mark.parametrize("given", ["deep", "**/*.sql"])
def test_directories_may_be_deep(project: Project, given: str) -> None:
    (project.path / "deep").mkdir()
    before = project.step("sql", given)
    path = project.path / "deep"
    for _ in range(450):
        path /= "d"
        path.mkdir()
    (path / "c.sql").touch()
    assert project.step("sql", given).digest != before.digest


def test_everything_that_is_wrong_with_inputs_is_told_at_once(project: Project) -> None:
    error = refused(project.request("none", "sql", "*.nothing", exec_read=("/nowhere",)))
    assert error.details is not None
    assert len(error.details.splitlines()) == 3


def test_files_of_another_machine_are_refused(project: Project) -> None:
    with pytest.raises(InvalidArgumentError, match="not on the machine"):
        asyncio.run(ExecRecipe().steps(project.request("sql"), MemorySources()))


def test_the_normal_form_shows_no_values_of_variables(project: Project) -> None:
    form = ExecRecipe().normalize(project.request("sql", exec_env={"KEY": "secret"}))
    assert form == f"{quote(f'--input={project.path}/sql')} --env=KEY -- ./run.sh"
