"""Long recipes, of which not every step leaves a state: with both kinds, through the front door."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import changelogs
from tests.acceptance.conftest import Terminal
from tests.liquibase import dump, history, liquibase_home, locked

MANY = 34
"""More than a recipe may have whose steps all leave states."""


@pytest.fixture
def shell(shared: Terminal) -> Terminal:
    shared.environment["PGSTRATA_LIQUIBASE_HOME"] = str(liquibase_home())
    return shared


def scripts(*texts: str) -> list[str]:
    return [word for text in texts for word in ("-c", text)]


def long_recipe(first: str) -> list[str]:
    """Steps that leave something which the next ones meet only if they meet what a state has."""
    texts = [
        f"create table t as select '{first}' as name, current_setting('work_mem') as work_mem",
        "create sequence s",
        "alter system set work_mem = '7MB'",
        "insert into t select 'after a change of settings', current_setting('work_mem')",
        "create unlogged table u as select 1 as n",
        "alter role postgres nologin",
        "insert into t select 'after being shut out', 'let in again'",
        *(f"insert into t select 'number {n}', nextval('s')::text" for n in range(7, MANY)),
    ]
    return scripts(*texts)


ANOTHER = ("--server-setting", "deadlock_timeout=2s")
"""Makes all states others, and nothing in them."""


def steps(shell: Terminal, command: str, *words: str) -> list[dict[str, Any]]:
    tasks = shell.json(command, *words)["tasks"]
    return [task for task in tasks if task["type"] == "state_execute"]


def kept(found: Sequence[dict[str, Any]]) -> list[bool]:
    return [step.get("kept", True) for step in found]


def prepared(shell: Terminal, command: str, *words: str) -> str:
    return shell(command, *words).stdout.strip().removeprefix("DSN=")


def rows(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select n from u").fetchall() == [(1,)]
        return connection.execute("select name, work_mem from t order by name").fetchall()


def test_what_scripts_leave_is_the_same_whichever_of_them_leave_states(shell: Terminal) -> None:
    found = {}
    for how, more in (("auto", ()), ("all", ANOTHER)):
        words = (f"--states={how}", *more, "--", *long_recipe("the same"))
        assert not any(step["cached"] for step in steps(shell, "plan:psql", *words))
        found[how] = rows(prepared(shell, "prepare:psql", *words))
        after = steps(shell, "plan:psql", *words)
        assert all(step["cached"] for step in after)
        assert all(kept(after)) == (how == "all")
    assert found["auto"] == found["all"]
    assert ("after a change of settings", "7MB") in found["auto"]
    assert len(found["auto"]) == MANY - 4


def test_a_step_that_fails_in_a_long_recipe_is_the_one_that_is_named(shell: Terminal) -> None:
    words = long_recipe("failing")
    words[11] = "select nothing from nowhere"
    ended = shell("prepare:psql", "--", *words, exit_code=1)
    assert 'relation "nowhere" does not exist' in ended.stderr
    assert "[6/34] failed" in ended.stderr
    words[11] = "alter role postgres nologin"
    prepared(shell, "prepare:psql", "--", *words)
    assert kept(steps(shell, "plan:psql", "--", *words))[4]


def test_a_changeset_that_fails_among_many_is_the_one_that_is_named(shell: Terminal) -> None:
    def words(fifth: str) -> tuple[str, ...]:
        texts = [changelogs.table(number) for number in range(MANY)]
        texts[5] = f"<sql>{fifth}</sql>"
        parts = [changelogs.changeset(number, text) for number, text in enumerate(texts)]
        shell.write("many.xml", changelogs.xml(*parts))
        return ("--", "update", "--changelog-file=many.xml")

    ended = shell("prepare:lb", *words("select nothing from nowhere"), exit_code=1)
    assert 'relation "nowhere" does not exist' in ended.stderr
    assert "many.xml::5::ada" in ended.stderr
    assert "[6/34] failed" in ended.stderr
    mended = words("select 1")
    dsn = prepared(shell, "prepare:lb", *mended)
    assert not locked(dsn)
    assert [row[0] for row in history(dsn)] == [str(number) for number in range(MANY)]
    assert kept(steps(shell, "plan:lb", *mended))[4]


def changelog(shell: Terminal, changed: str = "") -> tuple[str, ...]:
    """Three changesets with tags in between, each of which meets what those before it left."""
    parts = []
    for number in range(3):
        parts.append(changelogs.changeset(10 * number, changelogs.table(number)))
        insert = f"insert into t{number} (name) values ('{number}{changed if number == 2 else ''}')"
        settings = f"<sql>set search_path to public, pg_catalog; {insert}</sql>"
        parts.append(changelogs.changeset(10 * number + 1, settings))
        parts.append(changelogs.changeset(10 * number + 2, f'<tagDatabase tag="v{number}"/>'))
    parts.append(changelogs.changeset(99, "<sql>create view v as select name from t1</sql>"))
    shell.write("a.xml", changelogs.xml(*parts))
    return ("update", "--changelog-file=a.xml")


def test_changesets_with_tags_leave_states_and_the_same_database_as_all(shell: Terminal) -> None:
    words = ("--states=tags", "--", *changelog(shell))
    dsn = prepared(shell, "prepare:lb", *words)
    after = steps(shell, "plan:lb", *words)
    assert [step["changeset_id"] for step in after if step.get("kept", True)] == [
        *("2", "12", "22", "99")
    ]
    assert not locked(dsn)
    [usable, *_] = shell.json("status")["runtime"]["installations"]
    bin_dir = Path(usable["bin_dir"])
    other = prepared(shell, "prepare:lb", "--states=all", *ANOTHER, "--", *changelog(shell))
    assert all(kept(steps(shell, "plan:lb", *ANOTHER, "--", *changelog(shell))))
    assert (history(dsn), dump(bin_dir, dsn)) == (history(other), dump(bin_dir, other))

    words = ("--states=tags", "--", *changelog(shell, changed=" changed"))
    assert [step["cached"] for step in steps(shell, "plan:lb", *words)] == [True] * 6 + [False] * 4
    text = shell("cache", "explain", "prepare:lb", *words).stdout
    assert text.startswith("miss: step 8 of 10, a.xml::21::ada: changeset a.xml::21::ada differs")
    assert "steps from 7 on are run again: they left no state of their own" in text


def test_psql_steps_have_no_tags(shell: Terminal) -> None:
    words = ("--states=tags", "--", "-c", "select 1")
    ended = shell("prepare:psql", *words, exit_code=None)
    assert ended.returncode == 2
    assert "steps of the kind psql have no tags" in ended.stderr
