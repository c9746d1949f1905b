"""Arguments that say what to connect to are found however the tools let them be written."""

import pytest

from pgstrata.errors import InvalidArgumentError
from pgstrata.run.connection_flags import check, reads_input

CONNECTING = [
    ("-h", "db"),
    ("-hdb",),
    ("-Xqhdb",),
    ("-Xqh", "db"),
    ("-p5432",),
    ("-U", "me"),
    ("-d", "shop"),
    ("-ddbname=shop",),
    ("--host=db",),
    ("--host", "db"),
    ("--ho", "db"),
    ("--port=1",),
    ("--por=1",),
    ("--username=me",),
    ("--use", "me"),
    ("--dbname=postgresql://db/shop",),
    ("--db=shop",),
    ("shop",),
    ("postgresql://db/shop",),
    ("host=db dbname=shop",),
    ("",),
    ("--", "-c"),
]


@pytest.mark.parametrize("tool", ["psql", "pgbench"])
@pytest.mark.parametrize("args", CONNECTING)
def test_a_connection_of_its_own_is_refused_wherever_it_stands(
    tool: str, args: tuple[str, ...]
) -> None:
    switch = "-q" if tool == "psql" else "-n"
    for words in (args, (switch, *args), ("-f", "a.sql", *args)):
        with pytest.raises(InvalidArgumentError) as refused:
            check(tool, words)
        assert "--instance" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-c", "shop"),
        ("-cshop",),
        ("-f", "-"),
        ("-Xqf", "-h"),
        ("-Atc", "select 1"),
        ("--command", "--host"),
        ("--comm", "-d"),
        ("--set", "dbname=x", "--variable=port=1"),
        ("-v", "host=db", "-o", "out", "-F", "p"),
        ("-Fh",),
        ("-T", "-d", "-P", "border=2"),
        ("--csv", "--no-psqlrc", "--single-transaction", "-1"),
        ("--log-file", "postgresql://x"),
        ("-w", "-l"),
    ],
)
def test_what_psql_does_not_connect_to_is_passed_on(args: tuple[str, ...]) -> None:
    check("psql", args)


@pytest.mark.parametrize(
    "args",
    [
        ("-i", "-s", "10"),
        ("-is10",),
        ("-c", "8", "-j", "2", "-T", "30", "-P", "1"),
        ("-D", "dbname=x", "--define", "port=1"),
        ("-nrf", "work.sql@2", "-M", "prepared"),
        ("--builtin=select-only", "--progress-timestamp", "--max-tries", "3"),
        ("--debug", "--partition-method", "hash", "-I", "dtgvp"),
        ("-F", "h", "-R", "100"),
    ],
)
def test_what_pgbench_does_not_connect_to_is_passed_on(args: tuple[str, ...]) -> None:
    check("pgbench", args)


@pytest.mark.parametrize("args", [("-W",), ("--password",), ("-XW",)])
def test_psql_does_not_ask_for_a_password_that_it_has(args: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgumentError):
        check("psql", args)


@pytest.mark.parametrize("word", ["--instance", "--instance=dev"])
def test_our_own_option_after_the_tools_belongs_before_them(word: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        check("psql", ("-c", "select 1", word))
    assert "before psql's arguments" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        ("-f -", True),
        ("-qf -", True),
        ("-qf-", True),
        ("--file=-", True),
        ("--fil -", True),
        ("-f a.sql -f -", True),
        ("-f a.sql", False),
        ("-c -f -", False),
        ("-v f=- -c 1", False),
        ("-o - -c 1", False),
        ("--field-separator -", False),
        ("", False),
    ],
)
def test_a_script_on_standard_input_is_seen_however_it_is_written(words: str, reads: bool) -> None:
    assert reads_input(words.split()) is reads
