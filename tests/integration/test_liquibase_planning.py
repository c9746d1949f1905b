"""What a changelog's plan is made of: read in bulk, for all changesets at once."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.kinds.liquibase import installation
from pgstrata.kinds.liquibase.bulk import Bulk, Rows
from pgstrata.kinds.liquibase.changelog import Changelog
from pgstrata.kinds.liquibase.jvm import Java, Jvm
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.kinds.liquibase.listing import list_changesets
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.liquibase.resources import Recorder
from pgstrata.system import watching
from tests import changelogs
from tests.liquibase import liquibase_home, settings
from tests.liquibase_runs import LOCAL

T = TypeVar("T")
STRING = "java.lang.String"


async def steps_of(kind: LiquibaseKind, work_dir: Path) -> tuple[Step, ...]:
    return await kind.steps(
        PrepareRequest(
            prepare_kind="lb",
            image_id="postgres",
            work_dir=str(work_dir),
            fields={"liquibase_args": ("update", "--changelog-file=master.xml", "--contexts=test")},
        ),
        LOCAL,
    )


def planned_anew(work_dir: Path) -> tuple[Step, ...]:
    """The steps as an engine plans them that has planned nothing before."""

    async def scenario() -> tuple[Step, ...]:
        kind = LiquibaseKind(settings())
        try:
            return await steps_of(kind, work_dir)
        finally:
            await kind.close()

    return asyncio.run(scenario())


def ids(steps: tuple[Step, ...]) -> list[str | None]:
    return [step.changeset_id for step in steps]


EDITS: list[tuple[str, str, str, set[str]]] = [
    ("part0.xml", "'always'", "'ever'", {"9"}),
    ("part0.xml", "create index", "create  index", {"20"}),
    ("part0.xml", 'onFail="WARN"', 'onFail="HALT"', {"8"}),
    ("part0.xml", "select 7", "select 8", {"16"}),
    ("part0.xml", "<rollback/>", "<rollback>select 1</rollback>", {"1"}),
    ("data0/rows.csv", "three", "four", {"3"}),
    ("sql0/function.sql", "x * 2", "x * 3", {"4"}),
    ("part0.changes.sql", "x * 2", "x * 4", {"odd::id0"}),
    ("part0.json", '"43"', '"44"', {"44"}),
    ("all0/a.sql", "'a ", "'A ", {"0-a"}),
    ("master.xml", "from the changelog", "from here", {"18", "0-two", "0-a", "0-b"}),
    ("master.xml", "<include ", "<!-- nothing --><include ", set()),
]
"""Texts that are replaced in a file, one after the other, and the changesets that changes."""


def test_each_edit_changes_the_steps_it_should_and_a_new_engine_agrees(
    runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.mixed(work)

    async def scenario() -> list[tuple[Step, ...]]:
        found = [await steps_of(kind, work)]
        for name, old, new, _ in EDITS:
            text = (work / name).read_text()
            assert old in text
            (work / name).write_text(text.replace(old, new))
            found.append(await steps_of(kind, work))
        return found

    before, *others = runner.run(scenario())
    for after, (_, _, _, expected) in zip(others, EDITS, strict=True):
        known = {step.digest for step in before}
        assert {step.changeset_id for step in after if step.digest not in known} == expected
        before = after
    assert planned_anew(work) == others[-1]


def test_each_step_names_the_files_that_it_reads_and_no_others(
    runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.mixed(work)
    found = {
        str(step.changeset_id): [str(Path(one.name).relative_to(work)) for one in step.inputs]
        for step in runner.run(steps_of(kind, work))
    }
    with_data = {"3": ["part0.xml", "data0/rows.csv"], "4": ["part0.xml", "sql0/function.sql"]}
    assert {key: files for key, files in found.items() if len(files) != 1} == with_data
    assert found["40"] == ["part0.yaml"]
    assert found["0-b"] == ["all0/b.sql"]


def test_more_changesets_take_no_more_objects_of_javas(
    tmp_path: Path, in_java: Callable[..., Any]
) -> None:
    """Each is a call; so the calls that a plan takes do not grow with the changelog."""

    def made(java: Java, length: int) -> int:
        changesets = (changelogs.changeset(n, changelogs.table(n)) for n in range(length))
        changelogs.write(tmp_path, {"master.xml": changelogs.xml(*changesets)})
        recipe = Recipe(command="update", changelog_file="master.xml", search_path=(str(tmp_path),))
        before = latest(java)
        with watching.watch() as watch:
            listing = list_changesets(java, Changelog(java, recipe, LOCAL, watch))
        assert len(listing.changesets) == length
        return latest(java) - before

    def latest(java: Java) -> int:
        return int(java.list()._target_id.removeprefix("o"))

    def costs(java: Java) -> list[int]:
        return [made(java, length) for length in (1, 5, 100)]

    first, few, many = in_java(costs)
    assert many == few < first


@pytest.mark.parametrize("first", ["old", None], ids=["changed", "made"])
def test_a_file_that_changes_between_two_looks_is_noticed(
    tmp_path: Path, in_java: Callable[..., Any], first: str | None
) -> None:
    file = tmp_path / "a.sql"
    if first is not None:
        file.write_text(first)

    def looked_twice(java: Java) -> Recorder:
        with watching.watch() as watch:
            recorder = Recorder(java, [tmp_path], LOCAL, Path("/"), watch)
            recorder.take("a.sql")
            file.write_text("another")
            recorder.take("a.sql")
        return recorder

    assert LOCAL.first_touched(list(in_java(looked_twice).seen.values()))


def test_a_change_that_comes_to_no_sql_is_planned(
    runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    saying = changelogs.changeset(1, '<output target="STDERR">hello</output>')
    changelogs.write(work, {"master.xml": changelogs.xml(saying)})
    [step] = runner.run(steps_of(kind, work))
    assert ids((step,)) == ["1"]


# One method of many objects


@pytest.fixture(scope="module")
def in_java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Calls a function of Java's classes in a Java."""
    home = liquibase_home()
    found = installation.find(home=home, extensions=(), java=None, env={"PATH": "/usr/bin:/bin"})
    with asyncio.Runner() as runner:
        jvm = Jvm()
        runner.run(jvm.start(found, tmp_path_factory.mktemp("java"), {"PATH": "/usr/bin:/bin"}))
        try:
            yield lambda function: runner.run(jvm.call(function))
        finally:
            runner.run(jvm.close())


def rows(java: Java, *items: Any) -> Rows:
    return Rows(java.list(*items), range(len(items)))


TEXTS = ["", "null", "a\nb", "\u00f6\U0001f600\x00,", None, "x" * 20000, ""]


def test_texts_come_as_they_are_whatever_is_in_them(in_java: Callable[..., Any]) -> None:
    assert in_java(lambda java: Bulk(java).texts(rows(java, *TEXTS))) == TEXTS
    assert in_java(lambda java: Bulk(java).texts(rows(java))) == []
    assert in_java(lambda java: Bulk(java).texts(rows(java, ""))) == [""]


def test_a_safe_function_comes_to_null_where_its_method_throws(
    in_java: Callable[..., Any],
) -> None:
    def lengths(java: Java) -> list[str | None]:
        bulk = Bulk(java)
        return bulk.texts(rows(java, "ab", None, 7), bulk.function(STRING, "length", safe=True))

    assert in_java(lengths) == ["2", None, None]


def test_items_belong_to_what_their_lists_did(in_java: Callable[..., Any]) -> None:
    def parts(java: Java) -> list[tuple[str, ...]]:
        bulk = Bulk(java)
        split = bulk.function(STRING, "split", STRING, more=("-",), safe=True)
        arrays, missing = bulk.present(bulk.map(rows(java, "a-b", None, "c", "-"), split))
        assert missing == {1}
        items = bulk.flat_arrays(arrays)
        kept, dropped = bulk.only(items, [True, False, True])
        assert dropped == {0}
        return kept.grouped([str(text) for text in bulk.texts(kept)], 4)

    assert in_java(parts) == [("a",), (), ("c",), ()]


def test_functions_outlive_what_java_forgets(in_java: Callable[..., Any]) -> None:
    def upper(java: Java) -> list[str | None]:
        bulk = Bulk(java)
        java.forget_all()
        return bulk.texts(rows(java, "a"), bulk.function(STRING, "toUpperCase"))

    assert in_java(upper) == ["A"]
    assert in_java(upper) == ["A"]
