"""What every kind does."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from pgstrata.domain.instance import Endpoint, Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest, Uncacheable
from pgstrata.errors import (
    InputChangedError,
    InvalidArgumentError,
    PgstrataError,
    StepFailedError,
    UncacheableError,
)
from pgstrata.kinds.base import Kind
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.kinds.memory import UNKNOWABLE, MemoryRecipe, MemoryRunner
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.psql.running import PsqlRunner
from pgstrata.kinds.sources.base import Sources
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memory import MemorySources
from pgstrata.runtime.memory import MemoryRuntime
from pgstrata.runtime.postmaster import Postmaster
from pgstrata.system.memory_disk import MemoryDisk
from tests import changelogs
from tests.liquibase import settings as liquibase_settings
from tests.packages.shout.pgstrata_kind_shout import kind as shout


class Recipes(Protocol):
    """A kind, and scripts for it."""

    kind: Kind
    sources: Sources
    """Where the scripts are."""
    unknowable: str
    """A script whose inputs cannot be known."""
    runner: asyncio.Runner
    """What runs the kind, in one event loop."""

    def write(self, name: str, text: str) -> None: ...

    def request(self, *names: str, uncacheable: Uncacheable = "refuse") -> PrepareRequest:
        """A request to run these scripts, each as one step."""

    async def close(self) -> None: ...


class MemoryRecipes:
    runner: asyncio.Runner
    unknowable = f"select {UNKNOWABLE}"

    def __init__(self, _directory: Path) -> None:
        self._files = MemorySources()
        self.sources: Sources = self._files
        self.kind = Kind(MemoryRecipe(), MemoryRunner())

    def write(self, name: str, text: str) -> None:
        self._files.write(f"/{name}", text.encode())

    def request(self, *names: str, uncacheable: Uncacheable = "refuse") -> PrepareRequest:
        return PrepareRequest(
            prepare_kind="memory",
            image_id="postgres",
            fields={"scripts": names},
            uncacheable=uncacheable,
        )

    async def close(self) -> None:
        """Nothing to let go."""


class PsqlRecipes:
    runner: asyncio.Runner
    unknowable = r"\! date"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.sources: Sources = LocalTree()
        self.kind = Kind(PsqlRecipe(), PsqlRunner())

    def write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)

    def request(self, *names: str, uncacheable: Uncacheable = "refuse") -> PrepareRequest:
        return PrepareRequest(
            prepare_kind="psql",
            image_id="postgres",
            work_dir=str(self._directory),
            fields={"psql_args": [word for name in names for word in ("-f", name)]},
            uncacheable=uncacheable,
        )

    async def close(self) -> None:
        """Nothing to let go."""


class SentRecipes(PsqlRecipes):
    """The same with scripts that are in memory, as those sent from another machine are."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._files = MemorySources()
        self.sources: Sources = self._files

    def write(self, name: str, text: str) -> None:
        self._files.write(str(self._directory / name), text.encode())


class LiquibaseRecipes:
    """A script is a changelog file with one changeset, which a recipe's changelog includes."""

    runner: asyncio.Runner
    unknowable = "select pg_read_file('x');"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.sources: Sources = LocalTree()
        self._liquibase = LiquibaseKind(liquibase_settings())
        self.kind = Kind(self._liquibase, self._liquibase)

    def write(self, name: str, text: str) -> None:
        number = hashlib.sha256(text.encode()).hexdigest()
        head = f"--liquibase formatted sql\n--changeset ada:{number} logicalFilePath:one\n"
        (self._directory / f"{name}.sql").write_text(head + text)

    def request(self, *names: str, uncacheable: Uncacheable = "refuse") -> PrepareRequest:
        changelog = f"{' '.join(names)}.xml"
        includes = (f'<include file="{name}.sql"/>' for name in names)
        (self._directory / changelog).write_text(changelogs.xml(*includes))
        return PrepareRequest(
            prepare_kind="lb",
            image_id="postgres",
            work_dir=str(self._directory),
            fields={"liquibase_args": ["update", f"--changelog-file={changelog}"] if names else []},
            uncacheable=uncacheable,
        )

    async def close(self) -> None:
        await self._liquibase.close()


class ShoutRecipes:
    """A kind of another package."""

    runner: asyncio.Runner
    unknowable = shout.UNKNOWABLE

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.sources: Sources = LocalTree()
        self.kind = Kind(shout.ShoutRecipe(), shout.ShoutRunner())

    def write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)

    def request(self, *names: str, uncacheable: Uncacheable = "refuse") -> PrepareRequest:
        return PrepareRequest(
            prepare_kind="shout",
            image_id="postgres",
            fields={"shout_files": [str(self._directory / name) for name in names]},
            uncacheable=uncacheable,
        )

    async def close(self) -> None:
        """Nothing to let go."""


MAKERS: dict[str, Callable[[Path], Recipes]] = {
    "memory": MemoryRecipes,
    "psql": PsqlRecipes,
    "psql from afar": SentRecipes,
    "liquibase": LiquibaseRecipes,
    "shout": ShoutRecipes,
}


@pytest.fixture(params=sorted(MAKERS))
def recipes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Recipes]:
    made = MAKERS[request.param](tmp_path)
    made.write("a", "select 1;")
    made.write("b", "select 2;")
    with asyncio.Runner() as made.runner:
        try:
            yield made
        finally:
            made.runner.run(made.close())


def _steps(recipes: Recipes, *names: str, uncacheable: Uncacheable = "refuse") -> tuple[Step, ...]:
    request = recipes.request(*names, uncacheable=uncacheable)
    return recipes.runner.run(recipes.kind.recipe.steps(request, recipes.sources))


def test_a_kind_has_the_name_its_steps_bear(recipes: Recipes) -> None:
    assert {step.kind for step in _steps(recipes, "a", "b")} == {recipes.kind.recipe.name}


def test_a_request_has_one_normal_form_that_names_its_scripts(recipes: Recipes) -> None:
    form = recipes.kind.recipe.normalize(recipes.request("a", "b"))
    assert "a" in form
    assert "b" in form
    assert form == recipes.kind.recipe.normalize(recipes.request("a", "b"))
    assert form != recipes.kind.recipe.normalize(recipes.request("b", "a"))


def test_the_normal_form_needs_no_file(recipes: Recipes) -> None:
    assert "none" in recipes.kind.recipe.normalize(recipes.request("none"))


def test_a_request_for_nothing_is_refused(recipes: Recipes) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        recipes.kind.recipe.normalize(recipes.request())
    _for_people(refused.value)
    with pytest.raises(InvalidArgumentError):
        _steps(recipes)


def test_every_script_is_a_step_in_order(recipes: Recipes) -> None:
    one, two = _steps(recipes, "a", "b")
    two_alone, one_again = _steps(recipes, "b", "a")
    assert (one.digest, two.digest) == (one_again.digest, two_alone.digest)
    assert one.digest != two.digest
    assert one.title != two.title


def test_the_same_content_has_the_same_digest_by_any_name(recipes: Recipes) -> None:
    recipes.write("c", "select 1;")
    [one], [other] = _steps(recipes, "a"), _steps(recipes, "c")
    assert one.digest == other.digest
    assert not one.uncacheable


def test_other_content_has_another_digest(recipes: Recipes) -> None:
    [before] = _steps(recipes, "a")
    recipes.write("a", "select 3;")
    [after] = _steps(recipes, "a")
    assert before.digest != after.digest


def test_of_a_step_that_was_edited_one_part_differs_and_the_others_are_the_same(
    recipes: Recipes,
) -> None:
    [before] = _steps(recipes, "a")
    recipes.write("a", "select 3;")
    [after] = _steps(recipes, "a")
    assert len(before.parts.items() - after.parts.items()) == 1
    assert len(after.parts.items() - before.parts.items()) == 1


def test_the_same_content_has_the_same_parts_whatever_they_are_called(recipes: Recipes) -> None:
    recipes.write("c", "select 1;")
    [one], [other] = _steps(recipes, "a"), _steps(recipes, "c")
    assert sorted(one.parts.values()) == sorted(other.parts.values())


def test_a_missing_script_is_refused_by_name(recipes: Recipes) -> None:
    with pytest.raises(InvalidArgumentError, match="none") as refused:
        _steps(recipes, "a", "none")
    _for_people(refused.value)


def test_what_cannot_be_known_is_refused(recipes: Recipes) -> None:
    recipes.write("a", recipes.unknowable)
    with pytest.raises(UncacheableError, match="a") as refused:
        _steps(recipes, "a")
    _for_people(refused.value)
    assert "--uncacheable=run" in (refused.value.remedy or "")


def test_what_cannot_be_known_is_run_if_asked_to_under_a_new_digest_each_time(
    recipes: Recipes,
) -> None:
    recipes.write("a", recipes.unknowable)
    [one] = _steps(recipes, "a", uncacheable="run")
    [other] = _steps(recipes, "a", uncacheable="run")
    assert one.digest != other.digest
    assert one.uncacheable


def test_inputs_that_stay_as_they_were_pass_the_check(recipes: Recipes) -> None:
    for step in _steps(recipes, "a", "b"):
        recipes.runner.run(recipes.sources.check_unchanged(step.inputs))


def test_an_input_that_changed_is_named(recipes: Recipes) -> None:
    [step] = _steps(recipes, "a")
    recipes.write("a", "select 3;")
    with pytest.raises(InputChangedError, match="a") as changed:
        recipes.runner.run(recipes.sources.check_unchanged(step.inputs))
    _for_people(changed.value)


def test_a_step_is_plain_data_that_says_the_same_after_any_journey(recipes: Recipes) -> None:
    for step in _steps(recipes, "a", "b"):
        sent = msgspec.json.encode(step, enc_hook=str)
        assert msgspec.json.decode(sent, type=Step, dec_hook=lambda kind, text: kind(text)) == step
        fields = msgspec.json.decode(sent)
        assert {key for one in fields["inputs"] for key in one} == {"name", "digest", "size"}


def test_a_step_that_cannot_reach_its_server_fails_with_the_tools_own_words(
    recipes: Recipes,
) -> None:
    async def scenario() -> None:
        [step] = await recipes.kind.recipe.steps(recipes.request("a"), recipes.sources)
        runtime = MemoryRuntime(MemoryDisk())
        async with recipes.sources.hold(step.inputs) as sources:
            await recipes.kind.runner.execute(step, sources, _gone(), runtime, _unheard)

    with pytest.raises(StepFailedError) as failed:
        recipes.runner.run(scenario())
    assert failed.value.details
    _for_people(failed.value)


def _gone() -> Server:
    """A server that does not run any more."""
    return Server(
        endpoint=Endpoint(
            host="127.0.0.1",
            port=1,
            socket_dir=Path("/none"),
            user="postgres",
            password="",
            database="postgres",
        ),
        runtime_id="1",
        title="the server on /none",
        log="/none",
        handle=Postmaster(pid=1, started=0.0, image_id="postgres", data_dir=Path("/none")).handle,
    )


async def _unheard(line: str) -> None:
    """Whatever the tool says."""


def _for_people(error: PgstrataError) -> None:
    assert error.message
    assert error.remedy
    assert "\n" not in error.message + error.remedy
