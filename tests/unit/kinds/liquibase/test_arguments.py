"""Liquibase's arguments: one normal form, and refusals by name."""

import pytest

from pgstrata.errors import InvalidArgumentError
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
    "word",
    [
        "--url=jdbc:postgresql://elsewhere/db",
        "--username=me",
        "--password=secret",
        "--driver=org.postgresql.Driver",
        "--classpath=a.jar",
        "--default-catalog-name=x",
        "--log-file=x",
        "--preserve-schema-case=true",
        "--no-such-option=1",
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(word: str) -> None:
    with pytest.raises(InvalidArgumentError, match=word.partition("=")[0]) as refused:
        parse(("update", FILE, word))
    assert refused.value.remedy
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("command", ["rollback", "drop-all", "update-sql", "status", "generate"])
def test_a_command_that_does_not_update_is_refused_by_name(command: str) -> None:
    with pytest.raises(InvalidArgumentError, match=command):
        parse((command, FILE))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "no command"),
        ((FILE,), "no command"),
        (("update", "update", FILE), "2 commands"),
        (("update", "--changelog-file"), "--changelog-file has no value"),
        (("update", "--changelog-file="), "--changelog-file has no value"),
        (("update", FILE, "-Dname"), "-Dname is no parameter"),
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
