"""Liquibase's exceptions, told to people."""

from pgstrata.kinds.liquibase.failures import invalid_changelog, step_failure

MIGRATION = (
    "Migration failed for changeset a.xml::2::ada:\n     Reason: "
    'liquibase.exception.DatabaseException: ERROR: relation "nope" does not exist\n  Position: 15 '
    "[Failed SQL: (0) select * from nope]"
)
DATABASE = 'ERROR: relation "nope" does not exist\n  Position: 15 [Failed SQL: (0) select …]'
POSTGRES = 'ERROR: relation "nope" does not exist\n  Position: 15'


def test_a_failed_changeset_is_told_with_postgresqls_message_and_all_of_liquibases() -> None:
    error = step_failure("a.xml::2::ada", (MIGRATION, DATABASE, POSTGRES))
    assert error.message == 'a.xml::2::ada: ERROR: relation "nope" does not exist'
    assert error.details is not None
    assert error.details.startswith(MIGRATION)
    assert "[Failed SQL: (0) select * from nope]" in error.details
    assert POSTGRES not in error.details.removeprefix(MIGRATION).splitlines()
    assert error.remedy


def test_a_missing_class_is_named_with_where_its_jar_goes() -> None:
    messages = (
        "Error parsing a.xml",
        "java.lang.ClassNotFoundException: com.example.Change",
        "com.example.Change",
    )
    error = invalid_changelog("a.xml", messages)
    assert error.message == "a.xml: there is no class com.example.Change"
    assert "liquibase.jars" in (error.remedy or "")


def test_a_missing_file_is_named_with_where_it_is_looked_for() -> None:
    said = "The file b.xml was not found in the configured search path:\n    - /x\nMore locations"
    error = invalid_changelog("a.xml", [f"liquibase.exception.SetupException: {said}", said])
    assert error.message.startswith("a.xml: The file b.xml was not found")
    assert "--search-path" in (error.remedy or "")


def test_an_exceptions_name_before_its_message_is_left_out() -> None:
    error = invalid_changelog("a.xml", ["liquibase.exception.SetupException: b.xml does not exist"])
    assert error.message == "a.xml: b.xml does not exist"


def test_a_list_of_faults_shows_its_first() -> None:
    error = invalid_changelog("a.xml", ["Validation Failed:\n     2 changesets had problems\n"])
    assert error.message == "a.xml: Validation Failed: 2 changesets had problems"


def test_a_missing_schema_for_the_history_is_told_with_the_way_round_it() -> None:
    said = 'ERROR: schema "app" does not exist\n  Position: 14'
    history = f"{said} [Failed SQL: (0) CREATE TABLE app.hist (DATEEXECUTED TIMESTAMP)]"
    own = f"{said} [Failed SQL: (0) create table app.t (a int)]"
    for whole, told in ((history, True), (own, False)):
        remedy = step_failure("a.xml::1::ada", (whole, said)).remedy or ""
        assert ("--liquibase-schema-name" in remedy) == told
