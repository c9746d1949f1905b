"""psql's argument list, read as psql reads it."""

import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.psql.arguments import Command, File, Source, Stdin, absolute, parse

A = File("a.sql")


@pytest.mark.parametrize(
    ("args", "sources"),
    [
        (["-f", "a.sql"], [A]),
        (["-fa.sql"], [A]),
        (["--file=a.sql"], [A]),
        (["--file", "a.sql"], [A]),
        (["--fil", "a.sql"], [A]),
        (["-Xqf", "a.sql"], [A]),
        (["-Xqfa.sql"], [A]),
        (["-q", "-f", "a.sql", "--"], [A]),
        (["-q", "--", "-f", "a.sql"], [A]),
        (["-f", "-q"], [File("-q")]),
        (["-f", "--"], [File("--")]),
        (["-f", "-"], [Stdin()]),
        (["-f-"], [Stdin()]),
        (["--file=-"], [Stdin()]),
        (["-f", "./-"], [File("./-")]),
        (["-c", "select 1"], [Command("select 1")]),
        (["-cselect 1"], [Command("select 1")]),
        (["--command="], [Command("")]),
        (["-c", "-f"], [Command("-f")]),
        (["-f", "a.sql", "-c", "x", "-f", "-"], [A, Command("x"), Stdin()]),
        (["-1Xvx=1", "-f", "a.sql"], [A]),
    ],
)
def test_sources_are_found_in_every_spelling_and_in_order(
    args: list[str], sources: list[Source]
) -> None:
    assert list(parse(args).sources) == sources


def test_the_last_assignment_of_a_variable_wins() -> None:
    arguments = parse(["-v", "b=1", "--set=a=x=y", "-vb=2", "--var", "c", "-v", "d=", "-f", "a"])
    assert dict(arguments.variables) == {"a": "x=y", "b": "2", "c": None, "d": ""}


@pytest.mark.parametrize("flag", ["-1", "--single-transaction", "--single-t"])
def test_a_single_transaction_is_asked_for(flag: str) -> None:
    assert parse([flag, "-f", "a"]).single_transaction
    assert not parse(["-f", "a"]).single_transaction


def test_flags_for_the_output_are_kept_apart() -> None:
    arguments = parse(["-qAtF", ",", "--pset=border=2", "--csv", "-f", "a", "-w"])
    flags = (("-q",), ("-A",), ("-t",), ("-F", ","), ("-P", "border=2"), ("--csv",), ("-w",))
    assert arguments.output_flags == flags


@pytest.mark.parametrize(
    "args",
    [
        ["-X", "-f", "a"],
        ["--no-psqlrc", "-f", "a"],
        ["-v", "ON_ERROR_STOP=1", "-f", "a"],
        ["-v", "ON_ERROR_STOP=on", "-f", "a"],
        ["-v", "ON_ERROR_STOP=TRUE", "-f", "a"],
        ["-o", "/dev/null", "-f", "a"],
    ],
)
def test_what_is_so_anyway_leaves_no_trace(args: list[str]) -> None:
    assert parse(args) == parse(["-f", "a"])


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["-h", "x", "-f", "a"], "-h"),
        (["--host=x", "-f", "a"], "-h"),
        (["-p5432", "-f", "a"], "-p"),
        (["-U", "x", "-f", "a"], "-U"),
        (["--user", "x", "-f", "a"], "-U"),
        (["-d", "x", "-f", "a"], "-d"),
        (["--dbname", "x", "-f", "a"], "-d"),
        (["-f", "a", "shop"], "shop"),
        (["-f", "a", "--", "shop"], "shop"),
        (["-f", "a", "-"], "-"),
        (["-W", "-f", "a"], "-W"),
        (["-l"], "-l"),
        (["-s", "-f", "a"], "-s"),
        (["-S", "-f", "a"], "-S"),
        (["-L", "log", "-f", "a"], "-L"),
        (["--log-file=log", "-f", "a"], "-L"),
        (["-o", "out", "-f", "a"], "-o"),
        (["-V"], "-V"),
        (["-?"], "-?"),
        (["--help"], "-?"),
        (["--help=commands"], "-?"),
        (["--version"], "-V"),
        (["-y", "-f", "a"], "-y"),
        (["--no-such", "-f", "a"], "--no-such"),
        (["--no-p", "-f", "a"], "--no-p"),
        (["--quiet=1", "-f", "a"], "--quiet"),
        (["-f"], "-f"),
        (["-q", "-c"], "-c"),
        (["--command"], "-c"),
        (["-f", ""], "-f"),
        ([], "nothing to run"),
        (["-q"], "nothing to run"),
        (["-f", "-", "-f", "-"], "standard input"),
        (["-v", "=x", "-f", "a"], "=x"),
        (["-v", "a b=x", "-f", "a"], "a b=x"),
        (["-v", "ON_ERROR_STOP=0", "-f", "a"], "ON_ERROR_STOP"),
        (["-v", "ON_ERROR_STOP", "-f", "a"], "ON_ERROR_STOP"),
        (["-v", "SINGLELINE=on", "-f", "a"], "SINGLELINE"),
        (["-c", "a\0b"], "NUL"),
    ],
)
def test_what_is_not_for_a_recipe_is_refused_by_name(args: list[str], named: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse(args)
    assert named in refused.value.message
    assert refused.value.remedy
    assert "\n" not in refused.value.message + refused.value.remedy


@pytest.mark.parametrize(
    ("args", "said", "typed"),
    [
        (["a.sql"], "name of a database", "-f a.sql"),
        (["-f", "a.sql", "it's.sql"], "name of a database", "-f 'it'\"'\"'s.sql'"),
        (["-q", "dump/schema"], "name of a database", "-f dump/schema"),
        (["backup.dump", "-c", "x"], "name of a database", "-f backup.dump"),
        (["-f", "a.sql", "shop"], "names a database", "leave it out"),
        (["-f", "/dev/fd/63"], "/dev/fd/63 is open in your shell", "| pgstrata"),
        (["-f/proc/self/fd/11"], "/proc/self/fd/11 is open in your shell", "| pgstrata"),
        (["--file=/dev/stdin"], "/dev/stdin is open in your shell", "-f -"),
    ],
)
def test_a_file_given_in_another_way_is_told_what_to_type(
    args: list[str], said: str, typed: str
) -> None:
    for read in (parse, lambda words: absolute(words, "/work")):
        with pytest.raises(InvalidArgumentError) as refused:
            read(args)
        assert said in refused.value.message
        assert typed in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("args", "there"),
    [
        (["-f", "a.sql"], ("-f", "/work/a.sql")),
        (["-Xfa.sql", "-c", "-f"], ("-Xf/work/a.sql", "-c", "-f")),
        (["--file=b/a.sql"], ("--file=/work/b/a.sql",)),
        (["--fil", "/x/a.sql"], ("--fil", "/x/a.sql")),
        (["-f", "-", "-v", "f=a"], ("-f", "-", "-v", "f=a")),
    ],
)
def test_absolute_rewrites_the_paths_of_files_and_nothing_else(
    args: list[str], there: tuple[str, ...]
) -> None:
    assert absolute(args, "/work") == there


def test_absolute_refuses_what_parse_refuses() -> None:
    with pytest.raises(InvalidArgumentError):
        absolute(["-f", "a", "shop"], "/work")


@pytest.mark.parametrize(
    ("args", "needs"),
    [(["-f", "-"], True), (["-f", "a", "-f", "-"], True), (["-c", "-"], False)],
)
def test_standard_input_is_needed_where_it_is_read(args: list[str], *, needs: bool) -> None:
    assert parse(args).needs_stdin is needs


_FLAGS = st.permutations([["-q"], ["-1"], ["-X"], ["-v", "a=1"], ["-v", "b=it's"], ["-P", "x=y"]])
_SPELLINGS = {
    "-q": ["--quiet"],
    "-1": ["--single-tran"],
    "-X": ["--no-psqlrc"],
    "-v": ["--variable"],
    "-P": ["--pset"],
}


@given(flags=_FLAGS, long=st.booleans(), place=st.integers(0, 6))
def test_order_and_spelling_of_flags_leave_the_normal_form_alone(
    flags: list[list[str]], long: bool, place: int
) -> None:
    spelled = [[*(_SPELLINGS[flag[0]] if long else flag[:1]), *flag[1:]] for flag in flags]
    words = [word for flag in [*spelled[:place], ["-f", "a b"], *spelled[place:]] for word in flag]
    assert parse(words).normalized() == "-v a=1 -v 'b=it'\"'\"'s' -1 -P x=y -q -f 'a b'"


def test_the_order_of_sources_is_kept_in_the_normal_form() -> None:
    assert parse(["-f", "b", "-c", "x", "-f", "a"]).normalized() == "-f b -c x -f a"


def test_the_normal_form_says_what_the_arguments_said() -> None:
    arguments = parse(["-v", "b", "-v", "a=x y", "-1t", "-f", "-", "-c", "select 'x'"])
    assert parse(shlex.split(arguments.normalized())) == arguments


def test_reading_arguments_needs_no_heavy_import() -> None:
    program = (
        "import sys; from pgstrata.kinds.psql.arguments import parse; parse(['-f', 'a']);"
        "print([name for name in ('msgspec', 'asyncio') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_options_of_pg_restore_keep_their_order_and_have_one_spelling() -> None:
    parsed = parse(["-Oj2", "-N", "old", "--schema", "app", "--section=data", "--clean", "-f", "d"])
    assert parsed.normalized() == (
        "--no-owner --jobs=2 --exclude-schema=old --schema=app --section=data --clean -f d"
    )
    assert parse(shlex.split(parsed.normalized())) == parsed
    assert parse(["--no-acl", "-f", "d"]) == parse(["--no-privileges", "-f", "d"])
    assert parse(["-f", "d", "--exit-on-error", "--format=c", "--verbose"]).restore == ()


def test_a_letter_or_an_abbreviation_means_to_psql_what_it_always_did() -> None:
    plain = parse(["-x", "-t", "-n", "-a", "-F", "|", "--se", "a=b", "--no-ps", "-c", "select 1"])
    assert plain.restore == ()
    assert plain.variables == {"a": "b"}


def test_files_that_options_of_pg_restore_name_are_made_absolute() -> None:
    words = ("--use-list", "toc", "--filter=some/rules", "-f", "d")
    assert absolute(words, "/w") == (
        *("--use-list", "/w/toc", "--filter=/w/some/rules"),
        *("-f", "/w/d"),
    )


@pytest.mark.parametrize("words", [["-j", "0"], ["-j", "two"], ["--use-list", "-"], ["--list"]])
def test_what_pg_restore_could_not_do_in_a_recipe_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidArgumentError):
        parse([*words, "-f", "d"])
