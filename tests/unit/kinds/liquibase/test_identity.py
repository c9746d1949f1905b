"""What a changeset's state is named by."""

from typing import Any

import pytest

from pgstrata.domain.plan import Input
from pgstrata.kinds.liquibase.changelog import UNKNOWN_VERSION, Key
from pgstrata.kinds.liquibase.identity import Context, digest_of, parts_of, problems
from pgstrata.kinds.liquibase.listing import Found
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.sources.base import Seen

RECIPE = Recipe(command="update", changelog_file="a.xml", search_path=("/x",))
CONTEXT = Context(
    RECIPE,
    {},
    {"liquibase": "4.28.0", "driver": "42", "jars": "cd", "java": "ef", "extensions": None},
)
EXTENDED = Context(
    RECIPE,
    {},
    {"liquibase": "4.28.0", "driver": "42", "jars": "cd", "java": "ef", "extensions": "ab"},
)
FOUND = Found(
    key=Key("a.xml", "1", "ada"),
    checksum="9:abc",
    attributes="changeSet:[]",
    more=("None",),
    repeats=False,
    rewritten=False,
    changes=("sql",),
    conditions=(),
    sql=("select 1;",),
    complete=True,
    files=tuple(
        Seen(Input(name=name, digest=digest), None)
        for name, digest in (("/x/a.xml", "ab"), ("/x/rows.csv", "cd"))
    ),
    contents=("cd",),
)


@pytest.mark.parametrize(
    "change",
    [
        {"key": Key("b.xml", "1", "ada")},
        {"key": Key("a.xml", "2", "ada")},
        {"key": Key("a.xml", "1", "bob")},
        {"checksum": "9:def"},
        {"attributes": "changeSet:[runInTransaction]"},
        {"more": ("test",)},
        {"conditions": ("changeLogPropertyDefined=x",)},
        {"sql": ("select  1;",)},
        {"sql": ("select", "1;")},
        {"complete": False},
        {"contents": ("ab",)},
        {"rewritten": True},
    ],
    ids=str,
)
def test_whatever_can_change_the_outcome_changes_the_digest(change: dict[str, Any]) -> None:
    other = FOUND._replace(**change)
    assert digest_of(other, CONTEXT) != digest_of(FOUND, CONTEXT)
    assert parts_of(other, CONTEXT) != parts_of(FOUND, CONTEXT)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("liquibase", "Liquibase"),
        ("driver", "Liquibase"),
        ("jars", "Liquibase"),
        ("extensions", "Liquibase"),
        ("java", "Java"),
    ],
)
def test_another_liquibase_or_java_makes_another_digest_and_is_named(key: str, part: str) -> None:
    other = CONTEXT._replace(installation={**CONTEXT.installation, key: "another"})
    assert digest_of(FOUND, other) != digest_of(FOUND, CONTEXT)
    before, after = parts_of(FOUND, CONTEXT), parts_of(FOUND, other)
    both = after.keys() & before.keys()
    assert {name for name in both if after[name] != before[name]} == {part}


def test_the_changelogs_preconditions_count_where_they_are_checked() -> None:
    assert digest_of(FOUND, CONTEXT, "runningAs postgres") != digest_of(FOUND, CONTEXT)
    more = parts_of(FOUND, CONTEXT, "runningAs postgres").keys() - parts_of(FOUND, CONTEXT).keys()
    assert more == {"preconditions of the changelog"}


def test_parameters_and_variables_count_only_where_they_cannot_be_seen() -> None:
    other = CONTEXT._replace(
        recipe=Recipe(
            command="update-count",
            changelog_file="b.xml",
            search_path=("/y",),
            count=7,
            parameters={"a": "1"},
        ),
        env={"STAGE": "dev"},
    )
    assert digest_of(FOUND, other) == digest_of(FOUND, CONTEXT)
    unseen = FOUND._replace(complete=False)
    assert digest_of(unseen, other) != digest_of(unseen, CONTEXT)
    assert parts_of(FOUND, other) == parts_of(FOUND, CONTEXT)
    here, there = parts_of(unseen, CONTEXT), parts_of(unseen, other)
    assert {name for name, _ in here.items() ^ there.items()} == {"environment", "parameter a"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"changes": ("executeCommand",)}, "runs a program"),
        ({"changes": ("customChange",)}, "customChange"),
        ({"conditions": ("and", "customPrecondition")}, "customPrecondition"),
        ({"sql": ("copy t from program 'date';",)}, "COPY runs a program"),
        ({"sql": ("select pg_read_file('/etc/passwd');",)}, "pg_read_file"),
        (
            {"conditions": ("sqlCheck",), "attributes": "sql=\"select pg_read_file('x')\""},
            "pg_read_file",
        ),
        ({"changes": ("loadData",), "attributes": '\n   type="clob"\n'}, "BLOB and CLOB"),
        ({"attributes": f'sql="select {UNKNOWN_VERSION}"'}, "server's version"),
        ({"key": Key("a.xml", f"for-{UNKNOWN_VERSION}", "ada")}, "server's version"),
    ],
    ids=str,
)
def test_what_cannot_be_known_is_named(change: dict[str, Any], what: str) -> None:
    [problem] = problems(FOUND._replace(**change), CONTEXT)
    assert what in problem.what
    assert problem.remedy


def test_a_changesets_parts_are_the_data_it_reads_and_itself_and_liquibase() -> None:
    parts = parts_of(FOUND, CONTEXT)
    assert parts.keys() == {"/x/rows.csv", "changeset a.xml::1::ada", "Liquibase", "Java"}
    assert parts["/x/rows.csv"] == "cd"


@pytest.mark.parametrize("key", [Key("b.xml", "1", "ada"), Key("a.xml", "2", "ada")], ids=str)
def test_another_changeset_is_another_part_and_not_an_edited_one(key: Key) -> None:
    another, edited = FOUND._replace(key=key), FOUND._replace(checksum="9:def")
    assert parts_of(FOUND, CONTEXT).keys() == parts_of(edited, CONTEXT).keys()
    assert parts_of(FOUND, CONTEXT).keys() ^ parts_of(another, CONTEXT).keys() == {
        "changeset a.xml::1::ada",
        f"changeset {key}",
    }


def test_code_of_ones_own_is_known_by_its_jars() -> None:
    own = FOUND._replace(changes=("customChange",), conditions=("customPrecondition",))
    assert list(problems(own, EXTENDED)) == []


def test_a_plain_changeset_has_no_problem() -> None:
    assert list(problems(FOUND, CONTEXT)) == []
