"""What a request or a machine lacks is never told as a fault of the engine's own."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import PgstrataError, ToolMissingError
from pgstrata.kinds.base import RecipeSide
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.settings import LiquibaseSettings

ODD_PATHS = ("a\0b", "\0", "x" * 300, "x/" * 3000, "loop", "none", "file/x", "file")
UPDATE = ("update", "--changelog-file=a.sql")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with some things that are no directories in it."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("-- no program\n")
    (tmp_path / "a.sql").write_text("--liquibase formatted sql\n--changeset a:1\nselect 1;\n")
    return tmp_path


def refused(kind: RecipeSide, request: PrepareRequest) -> PgstrataError:
    """The error that a request ends with before it becomes a job."""

    async def submitted() -> None:
        kind.normalize(request)
        await kind.steps(request, LocalTree())

    with pytest.raises(PgstrataError) as refusal:
        asyncio.run(submitted())
    assert 400 <= refusal.value.http_status < 500
    assert refusal.value.remedy
    return refusal.value


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_directory_that_is_none(work: Path, path: str) -> None:
    request = PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        work_dir=f"{work}/{path}",
        fields={"psql_args": ["-c", "select 1"]},
    )
    refused(PsqlRecipe(), request)


@pytest.mark.parametrize("path", [path for path in ODD_PATHS if path != "file"])
def test_a_script_that_is_none(work: Path, path: str) -> None:
    request = PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        work_dir=str(work),
        fields={"psql_args": ["-f", path]},
    )
    refused(PsqlRecipe(), request)


@pytest.mark.parametrize("path", [*ODD_PATHS, "file:x", "file:///a%00b", "file:///%ff"])
def test_a_search_path_that_is_none(work: Path, path: str) -> None:
    request = PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        work_dir=str(work),
        fields={"liquibase_args": [*UPDATE, f"--search-path={path}"]},
    )
    refused(LiquibaseKind(LiquibaseSettings(home=work)), request)


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_liquibase_of_one_s_own_that_is_none(work: Path, path: str) -> None:
    request = PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        work_dir=str(work),
        fields={"liquibase_args": UPDATE, "liquibase_exec": f"{work}/{path}"},
    )
    refused(LiquibaseKind(LiquibaseSettings(home=work)), request)


@pytest.mark.parametrize("variable", [("A", "x\0"), ("A\0", "x")])
def test_a_variable_that_no_program_can_be_given(work: Path, variable: tuple[str, str]) -> None:
    request = PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        work_dir=str(work),
        fields={"liquibase_args": UPDATE, "liquibase_env": dict([variable])},
    )
    refused(LiquibaseKind(LiquibaseSettings(home=work)), request)


def liquibase_request(work: Path, program: Path | None = None) -> PrepareRequest:
    return PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        work_dir=str(work),
        fields={
            "liquibase_args": UPDATE,
            "liquibase_exec": None if program is None else str(program),
        },
    )


def test_a_machine_without_liquibase(work: Path) -> None:
    error = refused(LiquibaseKind(LiquibaseSettings(home=work)), liquibase_request(work))
    assert (error.code, error.http_status) == ("tool_missing", 400)


@pytest.mark.parametrize(
    "script",
    ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho Liquibase\n", "#!/no/such/shell\n", "\x7fELF\x02"],
)
def test_a_liquibase_of_one_s_own_that_does_not_work(work: Path, script: str) -> None:
    program = work / "liquibase"
    program.write_text(script)
    program.chmod(0o755)
    error = refused(LiquibaseKind(), liquibase_request(work, program))
    assert isinstance(error, ToolMissingError)
    assert str(program) in error.message
