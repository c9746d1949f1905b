"""The command line as a whole: help, wrong words, errors, and what it may import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgstrata import __version__
from pgstrata.cli import command_table
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import SUCCESS, script_job
from tests.unit.client.fake_engine import TOKEN, FakeEngine

COMMANDS = command_table.overview()
HEAVY = (
    *("msgspec", "asyncio", "psycopg", "starlette", "uvicorn", "yaml"),
    *("argparse", "subprocess", "http.client", "ssl", "typing_extensions", "pgstrata.settings"),
)
_PROGRAM = f"""
import sys
from pgstrata.cli.main import main
exit_code = main(sys.argv[1:])
print(*(name for name in {HEAVY} if name in sys.modules), sep=",", file=sys.stderr)
sys.exit(exit_code)
"""


def test_help_names_every_command(pgstrata: Pgstrata) -> None:
    ran = pgstrata("--help")
    assert ran.exit_code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in ran.out] == []


def test_no_words_at_all_show_the_help_and_are_wrong_usage(pgstrata: Pgstrata) -> None:
    ran = pgstrata()
    assert (ran.exit_code, ran.out) == (2, "")
    assert ran.err.startswith("usage: pgstrata ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_its_use_by_examples(pgstrata: Pgstrata, name: str) -> None:
    ran = pgstrata(*name.split(), "--help")
    assert ran.exit_code == 0
    assert ran.out.startswith(f"usage: pgstrata {name}")
    assert f"pgstrata {name}" in ran.out.partition("examples:\n")[2].replace("--output json ", "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lst", "did you mean `pgstrata ls`?"),
        ("list", "did you mean `pgstrata ls`?"),
        ("delete", "did you mean `pgstrata rm`?"),
        ("exec", "did you mean `pgstrata run:exec`?"),
        ("prepare:psq", "did you mean `pgstrata prepare:psql`?"),
        ("prepare:oracle", "there are prepare:psql, prepare:lb, prepare:exec"),
        ("cache", "write one of: cache explain, cache verify"),
        ("xyzzy", "`pgstrata --help` lists the commands"),
    ],
)
def test_a_command_that_is_not_there_is_answered_with_what_may_have_been_meant(
    pgstrata: Pgstrata, name: str, hint: str
) -> None:
    ran = pgstrata(name)
    assert ran.exit_code == 2
    assert ran.err.splitlines()[1].startswith(f"hint: {hint}")


@pytest.mark.parametrize("words", [("engine",), ("engine", "dance")])
def test_engine_alone_is_answered_with_its_commands(
    pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata(*words)
    assert ran.exit_code == 2
    assert "engine serve, engine start, engine stop" in ran.err


@pytest.mark.parametrize(
    ("words", "like"),
    [
        (("help",), ("--help",)),
        (("help", "rm"), ("rm", "--help")),
        (("help", "prepare:psql"), ("prepare:psql", "--help")),
        (("help", "cache", "explain"), ("cache", "explain", "--help")),
        (("help", "engine"), ("engine", "--help")),
    ],
)
def test_help_is_a_command_as_well(
    pgstrata: Pgstrata, words: tuple[str, ...], like: tuple[str, ...]
) -> None:
    assert pgstrata(*words) == pgstrata(*like)


@pytest.mark.parametrize(
    "words",
    [
        *[(name, "") for name in ("watch", "rm", "dsn", "reset", "snapshot", "pin", "unpin")],
        *[("rm", "dev", ""), ("diff", "", "dev"), ("diff", "dev", ""), ("warm", "")],
        *[("config", "get", ""), ("config", "rm", ""), ("config", "set", "", "1")],
        *[("prepare", ""), ("plan", ""), ("run", ""), ("alias", "check", "")],
        *[("prepare:psql", "--from", "", "-c", "1"), ("run:psql", "--instance=", "-c", "1")],
    ],
)
def test_an_empty_id_or_name_is_wrong_usage(
    fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata(*words)
    assert (ran.exit_code, fake.asked) == (2, [])


def test_a_group_shows_its_commands(pgstrata: Pgstrata) -> None:
    ran = pgstrata("engine", "--help")
    assert (ran.exit_code, ran.err) == (0, "")
    assert [name for name in COMMANDS if f"\n  {name} " in ran.out] == [
        name for name in COMMANDS if name.startswith("engine ")
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("--output", "json", "ls", "-n"),
        ("ls", "--output", "json", "-n"),
        ("ls", "-n", "-v", "--output=json"),
    ],
)
def test_options_of_every_command_stand_before_it_or_after_it(
    fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    fake.on("GET", "/v1/names", [])
    assert json.loads(pgstrata(*words).out) == {"names": []}


def test_they_stand_before_a_tools_arguments(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    ran = pgstrata("prepare:psql", "--output", "json", "--verbose", "-f", "schema.sql")
    assert "      INSERT 0 100" in ran.err
    assert "dsn" in json.loads(ran.out)


def test_what_is_a_tools_own_stays_its_own(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    words = ["-v", "a=1", "--set", "b=2", "-f", "/s.sql", "--output=/dev/null"]
    pgstrata("prepare:psql", *words)
    assert fake.submitted["psql_args"] == words


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("ls", "--lnog"), "unknown option --lnog", "did you mean --long?"),
        (("--outptu", "json", "ls"), "unknown option --outptu", "did you mean --output?"),
        (("prepare:psql", "--imgae", "x", "-f", "a"), "unknown option --imgae", "--image?"),
        (("prepare:lb", "--nmae", "x", "update"), "unknown option --nmae", "--name?"),
        (("plan:exec", "--inptu", "x", "--", "ls"), "unknown option --inptu", "--input?"),
        (("run:exec", "--instnace", "x", "--", "ls"), "unknown option --instnace", "--instance?"),
        (("run:psql", "--instnace", "x"), "unknown option --instnace", "--instance?"),
        (("prepare:psql", "-f", "a", "--name", "x"), "--name is an option", "put it before -f:"),
        (("plan:psql", "-f", "a", "--output", "human"), "--output is an", "put it before -f:"),
        (
            ("cache", "explain", "prepare:psql", "-f", "a", "--output", "human"),
            "--output is an option of cache explain",
            "put it before prepare:psql:",
        ),
        (("plan:psql", "-1", "-f", "a", "--ref=x"), "--ref is an option", "put it before -1:"),
        (("plan:psql", "--", "-f", "a", "--ref", "x"), "--ref is an option", "put it before --:"),
    ],
)
def test_a_wrong_option_is_told_with_the_right_one_or_its_place(
    pgstrata: Pgstrata, words: tuple[str, ...], message: str, hint: str
) -> None:
    ran = pgstrata(*words)
    first, second = ran.err.splitlines()
    assert ran.exit_code == 2
    assert message in first
    assert hint in second


def test_what_the_shell_made_of_a_pattern_is_told_with_what_to_type(
    pgstrata: Pgstrata, project: Path
) -> None:
    migrations = project / "db migrations"
    migrations.mkdir()
    for name in ("1.sql", "2.sql", "3.sql", "4.sql"):
        (migrations / name).touch()
    first_three = " ".join(f"-f 'db migrations/{n}.sql'" for n in (1, 2, 3))
    every = [f"db migrations/{n}.sql" for n in (1, 2, 3, 4)]
    for words in (every, ["db migrations"], ["-f", "a.sql", *every]):
        ran = pgstrata("prepare:psql", *words)
        assert (ran.exit_code, f"{first_three} …" in ran.err) == (2, True), ran.err
    assert "COMMAND | pgstrata" in pgstrata("prepare:psql", "/dev/fd/63").err


@pytest.mark.parametrize(
    "words",
    [
        ("--nonsense", "ls"),
        ("--output", "xml", "ls"),
        ("--timeout", "soon", "ls"),
        ("--endpoint",),
        ("--profile", "nobody", "ls"),
        ("ls", "--nonsense"),
        ("ls", "-z"),
        ("ls", "--long=yes"),
        ("ls", "word"),
        ("ls", "--image="),
        ("--profile", "", "ls"),
        ("engine", "stop", "--store", ""),
        ("engine", "stop", "now"),
        ("engine", "logs", "word"),
        ("status", "word"),
        ("config", "schema", "word"),
        ("--endpoint", "ftp://somewhere", "ls"),
        ("--endpoint", "http://h:port", "ls"),
    ],
)
def test_wrong_options_are_wrong_usage(
    fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata(*words)
    first, second = ran.err.splitlines()
    assert (ran.exit_code, ran.out, first[:7], second[:6]) == (2, "", "error: ", "hint: ")


def test_wrong_usage_is_a_json_document_where_json_is_wanted(pgstrata: Pgstrata) -> None:
    ran = pgstrata("--output", "json", "prepare:oracle")
    assert json.loads(ran.out)["error"]["code"] == "invalid_argument"


def test_the_version_is_shown(pgstrata: Pgstrata) -> None:
    assert pgstrata("--version").out == f"pgstrata {__version__}\n"


def test_a_wrong_token_is_told_with_what_to_do(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSTRATA_TOKEN", "wrong")
    ran = pgstrata("ls")
    assert (ran.exit_code, ran.err.splitlines()[0]) == (3, "error: wrong token")
    assert "PGSTRATA_TOKEN" in ran.err


def test_an_endpoint_without_a_token_is_wrong_usage(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSTRATA_TOKEN")
    assert pgstrata("ls").exit_code == 2


def test_an_engine_that_is_not_there_cannot_be_reached(
    pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSTRATA_TOKEN", TOKEN)
    with FakeEngine().serving() as gone:
        endpoint = gone.endpoint
    ran = pgstrata("--endpoint", endpoint, "status")
    assert ran.exit_code == 3
    assert ran.err.startswith(f"error: cannot reach the engine at {endpoint}: ")


@pytest.mark.parametrize(
    "endpoint", ["http://a..b:1", "http://-\u00e4-:80", f"http://{'a' * 70}:1"]
)
def test_a_host_that_cannot_be_is_not_reached(
    pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("PGSTRATA_TOKEN", TOKEN)
    ran = pgstrata("--endpoint", endpoint, "status")
    assert ran.exit_code == 3
    assert ran.err.startswith(f"error: cannot reach the engine at {endpoint}: ")


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1/a b", "http://127.0.0.1:1/\u00e4", "http://h:x"]
)
def test_what_is_no_address_is_wrong_usage(
    pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("PGSTRATA_TOKEN", TOKEN)
    assert pgstrata("--endpoint", endpoint, "status").exit_code == 2


@pytest.mark.parametrize("token", ["two\nlines", "t\u00f6ken", "a b", ""])
def test_what_is_no_token_is_wrong_usage(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("PGSTRATA_TOKEN", token)
    ran = pgstrata("status")
    assert (ran.exit_code, fake.asked) == (2, [])
    assert "PGSTRATA_TOKEN" in ran.err


def test_something_else_at_the_endpoint_is_told_so(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/status", b"<html>hello</html>")
    ran = pgstrata("status")
    assert ran.exit_code == 3
    assert "is not a pgstrata engine" in ran.err


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (401, 3), (404, 1), (409, 4), (500, 3), (503, 3)]
)
def test_the_exit_code_follows_from_the_engines_answer(
    fake: FakeEngine, pgstrata: Pgstrata, status: int, exit_code: int
) -> None:
    fake.on("GET", "/v1/status", {"code": "x", "message": "because"}, status)
    ran = pgstrata("status")
    assert (ran.exit_code, ran.err.splitlines()[0]) == (exit_code, "error: because")


def test_a_code_that_is_not_known_here_is_shown(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/status", {"code": "moon_phase", "message": "because"}, 503)
    assert "moon_phase" in pgstrata("status").err
    assert json.loads(pgstrata("--output", "json", "status").out)["error"]["code"] == "moon_phase"


def test_a_code_that_is_known_is_not(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/status", {"code": "host_limit", "message": "because"}, 409)
    assert pgstrata("status").err == "error: because\n"


@pytest.mark.parametrize("words", [(), *(tuple(name.split()) for name in COMMANDS)])
def test_help_does_not_even_import_what_it_takes_to_ask(
    project: Path, words: tuple[str, ...]
) -> None:
    # The options of the engine's own command are made of its settings.
    own = "pgstrata.settings" if words == ("engine", "serve") else ""
    assert _heavy_after(*words, "--help") == own


def test_a_command_imports_nothing_heavier_than_models_and_http(fake: FakeEngine) -> None:
    fake.on("GET", "/v1/names", [])
    fake.on("GET", "/v1/instances", [])
    assert _heavy_after("ls") == "msgspec"


def test_a_prepare_imports_nothing_heavier_than_models_and_http(fake: FakeEngine) -> None:
    script_job(fake, SUCCESS)
    assert _heavy_after("prepare:psql", "--", "-f", "schema.sql") == "msgspec"


def test_a_reader_that_leaves_early_is_no_error(project: Path) -> None:
    program = [sys.executable, "-m", "pgstrata", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        program, stdout=writing, stderr=subprocess.PIPE, check=False, env=_environment()
    )
    os.close(writing)
    assert ended.stderr == b""


def _heavy_after(*words: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    return ended.stderr.splitlines()[-1]


def _environment() -> dict[str, str]:
    source = Path(__file__).parents[3] / "src"
    return {**os.environ, "PYTHONPATH": str(source)}


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [("--help", 1, 0), ("nonsense", 1, 2), ("nonsense", 2, 2), ("--help", 0, 0)],
)
def test_who_closes_input_output_or_errors_goes_without_them(
    words: str, closed: int, code: int
) -> None:
    """Neither does it fail, nor are errors taken for output."""
    line = f'"$0" -m pgstrata {words} {closed}>&-'
    ran = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, check=False)
    assert ran.returncode == code
    assert b"Traceback" not in ran.stderr
    assert (ran.stdout == b"") == ((words, closed) != ("--help", 0))
    assert (ran.stderr == b"") == ((words, closed) != ("nonsense", 1))
