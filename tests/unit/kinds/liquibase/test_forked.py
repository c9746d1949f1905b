"""A Liquibase of the user's own: what it is told, and what it says when it fails."""

import os
from pathlib import Path

from pgstrata.domain.instance import Endpoint
from pgstrata.domain.plan import Step
from pgstrata.kinds.liquibase.forked import command, failure
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.runtime.base import ToolExit

STEP = Step(
    kind="lb",
    digest="d",
    args=(),
    title="a.xml::1::ada",
    work_dir=Path("/x"),
    tool="/opt/lb/liquibase",
)
RECIPE = Recipe(
    command="update-count",
    count=1,
    changelog_file="a.xml",
    search_path=("/x",),
    contexts="test",
    naming={"--default-schema-name": "app", "--liquibase-schema-name": "public"},
)
ENDPOINT = Endpoint(
    host="127.0.0.1",
    port=5433,
    socket_dir=Path("/run"),
    user="me",
    password="it's secret",
    database="db",
)


def test_schemas_are_named_where_its_command_line_wants_them() -> None:
    args = command(STEP, RECIPE, ENDPOINT, {}, ()).args
    assert args.index("--liquibase-schema-name=public") < args.index("update-count")
    assert args.index("update-count") < args.index("--default-schema-name=app")


def test_it_is_called_for_one_changeset_with_its_password_out_of_sight() -> None:
    called = command(STEP, RECIPE, ENDPOINT, {"STAGE": "dev"}, ())
    assert called.tool == "/opt/lb/liquibase"
    assert {"update-count", "--count=1", "--changelog-file=a.xml", "--contexts=test"} <= set(
        called.args
    )
    assert "--url=jdbc:postgresql://127.0.0.1:5433/db" in called.args
    assert "secret" not in " ".join(called.args)
    assert called.env["LIQUIBASE_COMMAND_PASSWORD"] == "it's secret"
    assert called.env["STAGE"] == "dev"
    assert not any(word.startswith("--classpath") for word in called.args)


def test_jars_of_the_users_come_before_its_command() -> None:
    args = command(STEP, RECIPE, ENDPOINT, {}, (Path("/a.jar"), Path("/b.jar"))).args
    given = args.index(f"--classpath=/a.jar{os.pathsep}/b.jar")
    assert given < args.index("update-count")


def failed(*lines: str) -> tuple[str, str, str]:
    error = failure(STEP, ToolExit(exit_code=1, stderr_tail="\n".join(lines)))
    return error.message, error.remedy or "", error.details or ""


def test_postgresqls_words_are_the_reason_and_no_frames_of_java_are_told() -> None:
    message, _, details = failed(
        "liquibase.exception.LiquibaseException: Migration failed",
        "\tat liquibase.changelog.ChangeSet.execute(ChangeSet.java:812)",
        "\t... 25 more",
        'Caused by: liquibase.exception.DatabaseException: ERROR: relation "nope" does not exist',
        "  Position: 15 [Failed SQL: (0) select * from nope]",
        "\tat liquibase.executor.jvm.JdbcExecutor.execute(JdbcExecutor.java:83)",
    )
    assert message == 'a.xml::1::ada: ERROR: relation "nope" does not exist'
    assert "[Failed SQL: (0) select * from nope]" in details
    assert "JdbcExecutor.java" not in details
    assert "25 more" not in details


def test_what_started_it_is_the_reason_where_it_is_not_postgresql() -> None:
    message, _, _ = failed(
        "Caused by: liquibase.exception.ChangeLogParseException: Error parsing line 1",
        "\tat liquibase.parser.core.xml.XMLChangeLogSAXParser.parse(XMLChangeLogSAXParser.java:1)",
        "Caused by: org.xml.sax.SAXParseException: no grammar found",
    )
    assert message == "a.xml::1::ada: no grammar found"


def test_a_missing_class_is_named_with_where_its_jar_goes() -> None:
    message, remedy, _ = failed(
        "Caused by: liquibase.exception.CustomChangeException: "
        "java.lang.ClassNotFoundException: own.Gone",
        "Caused by: java.lang.ClassNotFoundException: own.Gone",
    )
    assert message == "a.xml::1::ada: there is no class own.Gone"
    assert "liquibase.jars" in remedy


def test_an_end_without_a_word_is_told_by_its_code() -> None:
    message, remedy, details = failed()
    assert message == "a.xml::1::ada: liquibase ended with exit code 1"
    assert remedy
    assert details == ""
