"""Arguments, environment and defaults files put together."""

from pathlib import Path

import pytest

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.liquibase.call import java_environment, recipe_of, recipe_of_words
from pgstrata.kinds.liquibase.defaults import properties
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memo import Memo

LOCAL = LocalTree()
TEXTS = Memo(lambda file: file.read().decode(), 10)


def recipe(work_dir: Path, *words: str, env: dict[str, str] | None = None) -> Recipe:
    request = PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        fields={"liquibase_args": words, "liquibase_env": env or {}},
    )
    return recipe_of(request, work_dir, LOCAL, TEXTS)


def test_arguments_come_before_the_environment_and_that_before_files(tmp_path: Path) -> None:
    (tmp_path / "liquibase.properties").write_text(
        "changeLogFile: from-file.xml\ncontexts=file\nliquibase.command.update.label-filter=file\n"
        "parameter.a=1\nparameter.b=1\nurl=jdbc:anything\nusername=me\n"
    )
    (tmp_path / "liquibase.local.properties").write_text("parameter.b=2\n")
    env = {"LIQUIBASE_COMMAND_CONTEXTS": "env", "LIQUIBASE_COMMAND_LABEL_FILTER": "env"}
    found = recipe(tmp_path, "update", "--labels=args", "-Da=3", env=env)
    assert found.changelog_file == "from-file.xml"
    assert (found.contexts, found.labels) == ("env", "args")
    assert found.parameters == {"a": "3", "b": "2"}
    assert found.search_path == (str(tmp_path),)


def test_a_defaults_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "my.properties").write_text("changelog-file=a.sql")
    assert recipe(tmp_path, "update", "--defaults-file=my.properties").changelog_file == "a.sql"
    env = {"LIQUIBASE_DEFAULTS_FILE": "my.properties"}
    assert recipe(tmp_path, "update", env=env).changelog_file == "a.sql"
    with pytest.raises(InvalidArgumentError, match=r"none\.properties"):
        recipe(tmp_path, "update", "--defaults-file=none.properties")


def test_a_setting_nobody_knows_is_refused_by_file_and_name(tmp_path: Path) -> None:
    (tmp_path / "liquibase.properties").write_text("liquibase.preserveSchemaCase=true")
    with pytest.raises(InvalidArgumentError, match=r"liquibase\.properties: .*preserveSchemaCase"):
        recipe(tmp_path, "update", "--changelog-file=a.xml")


@pytest.mark.parametrize(
    "name", ["JAVA_TOOL_OPTIONS", "CLASSPATH", "LD_PRELOAD", "LIQUIBASE_CLASSPATH", "LIQUIBASE_X"]
)
def test_variables_that_would_change_java_or_are_not_known_are_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        recipe(tmp_path, "update", "--changelog-file=a.xml", env={name: "x"})


SPELLINGS = (
    *("LIQUIBASE_COMMAND_{}", "LIQUIBASE_{}", "liquibase_command_{}", "Liquibase_{}"),
    *("liquibase.command.{}", "LIQUIBASECOMMAND{}"),
)
"""Liquibase takes its variables in any of them."""


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "option",
    [
        *("URL", "USERNAME", "PASSWORD", "DEFAULT_CATALOG_NAME", "REFERENCE_URL"),
        *("DRIVER", "DRIVER_PROPERTIES_FILE", "CLASSPATH", "INCLUDE_SYSTEM_CLASSPATH"),
        *("DATABASE_CLASS", "PROPERTY_PROVIDER_CLASS", "LOG_FILE", "LIQUIBASE_TABLESPACE_NAME"),
    ],
)
def test_a_variable_for_what_cannot_be_used_is_refused_by_name_in_any_spelling(
    tmp_path: Path, spelling: str, option: str
) -> None:
    name = spelling.format(option)
    with pytest.raises(InvalidArgumentError, match=f"liquibase_env: {name}") as refused:
        recipe(tmp_path, "update", "--changelog-file=a.xml", env={name: "secret"})
    assert refused.value.remedy
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_liquibases_variables_are_read_in_any_spelling_and_kept_from_java(
    tmp_path: Path, spelling: str
) -> None:
    env = {spelling.format("CONTEXTS"): "test", "STAGE": "dev"}
    found = recipe(tmp_path, "update", "--changelog-file=a.xml", env=env)
    assert found.contexts == "test"
    assert set(java_environment(env)) == {"STAGE", "PATH", "LC_ALL"}


@pytest.mark.parametrize(
    "name",
    [
        *("url", "username", "password", "driver", "classpath", "logFile", "log-file"),
        *("referenceUrl", "reference-username", "liquibase.command.referencePassword"),
        *("liquibase.command.url", "liquibase.command.update.password", "liquibase.classpath"),
    ],
)
def test_a_defaults_file_may_say_where_others_run_the_changelog(tmp_path: Path, name: str) -> None:
    plain = recipe(tmp_path, "update", "--changelog-file=a.xml")
    (tmp_path / "liquibase.properties").write_text(f"{name}=jdbc:elsewhere\n")
    assert recipe(tmp_path, "update", "--changelog-file=a.xml") == plain


@pytest.mark.parametrize(
    "name",
    [
        *("defaultCatalogName", "default-catalog-name", "liquibase.command.defaultCatalogName"),
        *("driverPropertiesFile", "databaseClass", "database-class", "propertyProviderClass"),
        *("includeSystemClasspath", "liquibase.includeSystemClasspath", "output-file"),
        *("preserveSchemaCase", "liquibase.liquibaseTablespaceName", "changeExecListenerClass"),
    ],
)
def test_what_else_cannot_be_used_is_refused_by_file_and_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "liquibase.properties").write_text(f"{name}=secret\n")
    with pytest.raises(InvalidArgumentError, match=rf"liquibase\.properties: {name}") as refused:
        recipe(tmp_path, "update", "--changelog-file=a.xml")
    assert refused.value.remedy
    assert "secret" not in refused.value.message


def test_java_gets_the_requests_variables_and_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the engine")
    found = java_environment({"STAGE": "dev", "LIQUIBASE_COMMAND_CONTEXTS": "test"})
    assert found["STAGE"] == "dev"
    assert set(found) == {"STAGE", "PATH", "LC_ALL"}


def test_there_must_be_a_changelog(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no changelog"):
        recipe(tmp_path, "update")


@pytest.mark.parametrize("name", ["sub/a.xml", "./sub/a.xml", "sub/../sub/a.xml", "{}/sub/a.xml"])
def test_a_changelog_is_named_from_its_root_however_it_was_given(tmp_path: Path, name: str) -> None:
    word = f"--changelog-file={name.format(tmp_path)}"
    assert recipe(tmp_path, "update", word).changelog_file == "sub/a.xml"


def test_a_changelog_outside_the_search_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no directory of the search path"):
        recipe(tmp_path, "update", "--changelog-file=/elsewhere/a.xml")


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="/none"):
        recipe(tmp_path, "update", "--changelog-file=a.xml", "--search-path=none")


def test_a_recipe_survives_the_way_through_arguments(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    made = recipe(
        tmp_path,
        *("update-count", "--count=3", "--changelog-file=a.xml", "--search-path=.,x"),
        *("--contexts=a and !b", "-Dx=1=2", "-Dy=it's; --count=7"),
    )
    assert recipe_of_words(made.words()) == made


@pytest.mark.parametrize("name", ["a,b", ",", "50%2C", "c++", " a ", "back\\slash"])
def test_the_name_of_a_directory_is_kept_in_a_recipe_and_on_its_way(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name / name).mkdir(parents=True)
    url = (tmp_path / name / name).as_uri()
    for words in (), (f"--search-path=.,{url}",):
        found = recipe(tmp_path / name, "update", "--changelog-file=a.xml", *words)
        roots = (tmp_path / name, tmp_path / name / name)[: len(words) + 1]
        assert found.search_path == tuple(map(str, roots))
        assert recipe_of_words(found.words()) == found


def test_who_writes_a_comma_as_part_of_a_name_is_told_how_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InvalidArgumentError) as refused:
        recipe(tmp_path, "update", "--changelog-file=a.xml", "--search-path=a,b")
    assert "%2C" in (refused.value.remedy or "")


def test_standard_input_is_refused() -> None:
    request = PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        fields={"liquibase_args": ("update",)},
        stdin="select 1",
    )
    with pytest.raises(InvalidArgumentError, match="standard input"):
        recipe_of(request, Path("/"), LOCAL, TEXTS)


def test_properties_are_read_as_java_reads_them() -> None:
    text = (
        "# a comment\n! another\n\na=1\nb : two words \nc\\ d=x\\ty\n"
        "long = one, \\\n    two\nunicode=\\u00e4\nempty=\nbare\n"
    )
    assert list(properties(text)) == [
        ("a", "1"),
        ("b", "two words "),
        ("c d", "x\ty"),
        ("long", "one, two"),
        ("unicode", "ä"),
        ("empty", ""),
        ("bare", ""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        *("liquibase.licenseKey=abc", "liquibase.pro.licenseKey: abc", "diffTypes=tables,views"),
        *("liquibase.promptForNonLocalDatabase=true", "liquibase.strict=true", "verbose: true"),
        *("liquibaseProLicenseKey=abc", "liquibase.hub.mode=off", "outputDefaultSchema=true"),
        *("rollback-count=3", "includeObjects=table:a.*", "liquibase.command.diff.format=json"),
        *("liquibase.command.rollback.tag=v1", "liquibase.command.generateChangelog.author=me"),
    ],
)
def test_what_a_file_says_to_other_commands_is_passed_over(tmp_path: Path, line: str) -> None:
    (tmp_path / "liquibase.properties").write_text(f"changeLogFile=a.sql\n{line}\n")
    with_line = recipe(tmp_path, "update")
    (tmp_path / "liquibase.properties").write_text("changeLogFile=a.sql\n")
    assert with_line == recipe(tmp_path, "update")


def test_what_a_file_says_to_update_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "liquibase.properties").write_text(
        "changeLogFile=a.sql\nliquibase.command.update.preserveSchemaCase=true\n"
    )
    with pytest.raises(InvalidArgumentError, match="preserveSchemaCase"):
        recipe(tmp_path, "update")


def test_schemas_and_history_tables_come_from_arguments_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "liquibase.properties").write_text(
        "changeLogFile=a.sql\nliquibase.command.update.defaultSchemaName=filed\n"
        "liquibaseSchemaName=filed\ndatabaseChangeLogTableName=filed\n"
        "databaseChangeLogLockTableName=filed\n"
    )
    found = recipe(
        tmp_path,
        *("update", "--default-schema-name=given"),
        env={
            "LIQUIBASE_COMMAND_DEFAULT_SCHEMA_NAME": "set",
            "LIQUIBASE_DATABASE_CHANGELOG_TABLE_NAME": "set",
        },
    )
    assert found.naming == {
        "--default-schema-name": "given",
        "--liquibase-schema-name": "filed",
        "--database-changelog-table-name": "set",
        "--database-changelog-lock-table-name": "filed",
    }
    assert recipe_of_words(found.words()) == found


@pytest.mark.parametrize(
    "name", ["classpath:db/a.xml", "classpath:/db/a.xml", "classpath*:db/a.xml"]
)
def test_a_changelog_on_the_class_path_is_in_the_search_path(tmp_path: Path, name: str) -> None:
    assert recipe(tmp_path, "update", f"--changelog-file={name}").changelog_file == "db/a.xml"
