"""Recipes as objects ask for what the command line's words ask for."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgstrata import Recipe, liquibase, psql, state
from pgstrata.cli.command import Context
from pgstrata.cli.options import parse
from pgstrata.cli.recipe import INSTANCE_OPTIONS, PLAN_OPTIONS, request_of
from pgstrata.client.recipes import completed
from pgstrata.config.model import Configuration, InitdbSettings
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds import plugins

CONFIGURATION = Configuration(store=Path("/nowhere"))


def asked(kind: str, *words: str) -> PrepareRequest:
    """What the command line would submit."""
    plugin = plugins.find(kind)
    assert plugin is not None
    options = (*PLAN_OPTIONS, *plugin.command_line.options, *INSTANCE_OPTIONS)
    with ExitStack() as resources:
        context = Context(CONFIGURATION, "human", False, Path.cwd(), resources)
        return request_of(plugin, context, parse(words, options, pass_on=True))


@pytest.mark.parametrize(
    ("recipe", "kind", "words"),
    [
        (
            lambda: psql("schema.sql", "db/seed.sql"),
            "psql",
            ("-f", "schema.sql", "-f", "db/seed.sql"),
        ),
        (
            lambda: psql(Path("a.sql"), image="postgres:16", variables={"n": "1"}).then(
                "select 1", Path("b.sql")
            ),
            "psql",
            ("--image", "postgres:16", "-v", "n=1", "-f", "a.sql", "-c", "select 1", "-f", "b.sql"),
        ),
        (
            lambda: psql(
                "a.sql", single_transaction=True, on_error="continue", settings={"work_mem": "8MB"}
            ),
            "psql",
            ("--on-error=continue", "--server-setting=work_mem=8MB", "-1", "-f", "a.sql"),
        ),
        (
            lambda: psql("a.sql", arguments=("--no-owner",), ref="main", uncacheable="run"),
            "psql",
            ("--ref=main", "--uncacheable=run", "--no-owner", "-f", "a.sql"),
        ),
        (
            lambda: liquibase("db/master.xml", contexts=["test", "dev"], tag="v2"),
            "lb",
            ("update-to-tag", "--changelog-file=db/master.xml", "--contexts=test,dev", "--tag=v2"),
        ),
        (
            lambda: liquibase("master.xml", search_path=["src", "lib, v2"], parameters={"a": "b"}),
            "lb",
            ("update", "--changelog-file=master.xml", "--search-path=src,lib%2C v2", "-Da=b"),
        ),
        (
            lambda: state("seeded").then("select 1"),
            "psql",
            ("--from", "seeded", "-c", "select 1"),
        ),
    ],
)
def test_a_recipe_asks_for_what_the_command_line_asks_for(
    recipe: Callable[[], Recipe],
    kind: str,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ours, theirs = completed(recipe(), CONFIGURATION), asked(kind, *words)
    if any("," in word for word in words if word.startswith("--search-path")):
        # A comma can only be written as a URL, and is, in either.
        theirs.fields["liquibase_args"][2] = ours.fields["liquibase_args"][2]
    assert ours == theirs


def test_what_is_configured_holds_where_a_recipe_says_nothing() -> None:
    configuration = CONFIGURATION._replace(
        image="postgres:15",
        initdb=InitdbSettings(encoding="LATIN1"),
        engine={"runtime.settings.work_mem": "1MB", "instances.defaultTtl": 60},
    )
    request = completed(psql().then("select 1"), configuration)
    assert (request.image_id, request.initdb.encoding) == ("postgres:15", "LATIN1")
    assert (request.settings, request.instance_ttl) == ({"work_mem": "1MB"}, 60)
    of_state = completed(state("seeded").then("select 1"), configuration)
    assert (of_state.image_id, of_state.initdb.encoding) == ("", None)


def test_what_follows_in_another_way_goes_on_from_what_came_before() -> None:
    first = liquibase("master.xml")
    both = first.then("analyze")
    assert both.before == first
    assert both.request.fields["psql_args"] == ["-c", "analyze"]


def test_equal_recipes_are_equal() -> None:
    assert psql("a.sql").then("x") == psql("a.sql").then("x")
    assert psql("a.sql") != psql("b.sql")


@pytest.mark.parametrize("text", ["more.sql", "db/MORE.SQL"])
def test_a_file_that_would_be_taken_for_sql_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="file's name"):
        psql().then(text)


def test_words_that_no_recipe_may_have_are_refused_at_once() -> None:
    with pytest.raises(InvalidArgumentError, match="-h"):
        psql("a.sql", arguments=["-h", "elsewhere"])
