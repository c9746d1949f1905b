"""Liquibase's arguments: one normal form, and refusals by name."""

import re

import pytest

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.liquibase import search_path
from pgstrata.kinds.liquibase.arguments import absolute, parse

FILE = "--changelog-file=a.xml"


@pytest.mark.parametrize(
    "words",
    [
        ("update", "--changelog-file=a.xml", "--contexts=test"),
        ("--changelog-file=a.xml", "update", "--context-filter", "test"),
        ("--changeLogFile=a.xml", "--contexts=test", "update", "--log-level=debug"),
        ("update", "--show-banner", "--changelog-file", "a.xml", "--contexts", "test"),
    ],
)
def test_all_spellings_have_one_normal_form(words: tuple[str, ...]) -> None:
    assert parse(words).normalized() == "update --changelog-file=a.xml --contexts=test"


def test_parameters_come_last_in_their_order() -> None:
    form = parse(("update", FILE, "-Db=2", "-D", "a=1 and more", "-Dempty=")).normalized()
    assert form == f"update {FILE} '-Da=1 and more' -Db=2 -Dempty="


def test_the_legacy_spelling_of_a_command_is_known() -> None:
    assert parse(("updateToTag", "--tag=v1", FILE)).command == "update-to-tag"


@pytest.mark.parametrize(
    "words",
    [
        ("--default-schema-name=app", "--liquibaseSchemaName=public"),
        ("--defaultSchemaName", "app", "--liquibase-schema-name", "public"),
    ],
)
def test_schemas_and_history_tables_may_be_named(words: tuple[str, ...]) -> None:
    tables = ("--databaseChangeLogTableName=h", "--database-changelog-lock-table-name=l")
    assert parse(("update", FILE, *words, *tables)).normalized() == (
        f"update {FILE} --database-changelog-lock-table-name=l "
        "--database-changelog-table-name=h --default-schema-name=app "
        "--liquibase-schema-name=public"
    )


def test_what_does_not_matter_to_an_update_is_passed_over() -> None:
    words = (
        *("--license-key=x", "--strict=true", "--prompt-for-non-local-database=false"),
        *("--preserve-schema-case=false", "--file-encoding=UTF-8", "--outputDefaultSchema=true"),
    )
    assert parse(("update", FILE, *words)).normalized() == f"update {FILE}"


def camel(name: str) -> str:
    """A name as Liquibase spelled it before it had dashes."""
    first, *others = name.split("-")
    return first + "".join(map(str.capitalize, others))


CONNECTION = (
    *("url", "username", "password", "default-catalog-name"),
    *("reference-url", "reference-username", "reference-password"),
)
CLASSES = (
    *("driver", "driver-properties-file", "classpath", "include-system-classpath"),
    *("database-class", "property-provider-class", "reference-driver"),
    *("change-exec-listener-class", "change-exec-listener-properties-file"),
)
OUTPUT = ("log-file", "output-file")
UNKNOWN = ("liquibase-tablespace-name", "preserve-schema-case", "no-such-option")
SPELLED = [
    spelled
    for name in (*CONNECTION, *CLASSES, *OUTPUT, *UNKNOWN)
    for spelled in sorted({name, camel(name)})
]


@pytest.mark.parametrize("spelled", SPELLED)
def test_an_option_that_cannot_be_used_is_refused_by_name_wherever_it_stands(spelled: str) -> None:
    one, two = (f"--{spelled}=secret",), (f"--{spelled}", "secret")
    for words in (
        *(("update", FILE, *given) for given in (one, two)),
        *((*given, "update", FILE) for given in (one, two)),
    ):
        with pytest.raises(InvalidArgumentError, match=f"^--{spelled} is not") as refused:
            parse(words)
        assert refused.value.remedy
        assert "secret" not in refused.value.message


@pytest.mark.parametrize("name", CONNECTION)
def test_where_to_connect_to_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="pgstrata connects Liquibase"):
        parse(("update", FILE, f"--{name}=x"))


@pytest.mark.parametrize("name", CLASSES)
def test_what_classes_to_load_is_refused_with_the_place_for_jars(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"liquibase\.jars"):
        parse(("update", FILE, f"--{name}=x"))


COMMANDS = re.findall(
    r"\S+",
    """
calculate-checksum changelog-sync changelog-sync-sql changelog-sync-to-tag
changelog-sync-to-tag-sql clear-checksums db-doc diff diff-changelog drop-all execute-sql
future-rollback-count-sql future-rollback-from-tag-sql future-rollback-sql generate-changelog
history init list-locks mark-next-changeset-ran mark-next-changeset-ran-sql release-locks rollback
rollback-count rollback-count-sql rollback-sql rollback-to-date rollback-to-date-sql snapshot
snapshot-reference status tag tag-exists unexpected-changesets update-count-sql update-sql
update-testing-rollback update-to-tag-sql validate no-such-command
""",
)
"""All that Liquibase 4.28 has beside the three, and one that it has not."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_does_not_update_is_refused_by_name(command: str) -> None:
    for spelled in (command, camel(command)):
        for words in ((spelled, FILE), (FILE, spelled), (spelled, "update", FILE)):
            with pytest.raises(InvalidArgumentError, match=f"the command {spelled} is not"):
                parse(words)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "no command"),
        ((FILE,), "no command"),
        (("update", "update", FILE), "2 commands"),
        (("update", "--changelog-file"), "--changelog-file has no value"),
        (("update", "--changelog-file="), "--changelog-file has no value"),
        (("update", FILE, "-Dname"), "-Dname is not a parameter"),
        (("update", FILE, "--count=1"), "--count has no meaning"),
        (("update", FILE, "--tag=v1"), "--tag has no meaning"),
        (("update-count", FILE), "needs --count"),
        (("update-count", FILE, "--count=0"), "--count=0"),
        (("update-count", FILE, "--count=many"), "--count=many"),
        (("update-to-tag", FILE), "needs --tag"),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], what: str) -> None:
    with pytest.raises(InvalidArgumentError, match=what) as refused:
        parse(words)
    assert refused.value.remedy


def test_paths_of_the_caller_are_made_absolute_and_the_changelogs_name_is_not() -> None:
    words = ("update", "--changelog-file", "a.xml", "--search-path=x,/y", "--defaults-file=d")
    assert absolute((*words, "-Dpath=z"), "/home/me") == (
        "update",
        "--changelog-file=a.xml",
        "--search-path=/home/me/x,/y",
        "--defaults-file=/home/me/d",
        "-Dpath=z",
    )


@pytest.mark.parametrize("name", ["a,b", ",", "50%2C", "c++", " a ", "größer, kleiner"])
def test_so_are_they_in_a_directory_of_any_name(name: str) -> None:
    words = ("update", "--search-path=x, file:y%2Cz", "--defaults-file=d,e")
    _, path, defaults_file = absolute(words, f"/home/{name}")
    roots = search_path.read(path.removeprefix("--search-path="))
    assert roots == (f"/home/{name}/x", f"/home/{name}/y,z")
    assert defaults_file == f"--defaults-file=/home/{name}/d,e"
