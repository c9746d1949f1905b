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
    *("argparse", "subprocess", "http.client", "pgstrata.settings"),
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


def test_an_unknown_command_is_answered_with_those_there_are(pgstrata: Pgstrata) -> None:
    ran = pgstrata("prepare:oracle")
    assert ran.exit_code == 2
    first, second = ran.err.splitlines()
    assert first == 'error: unknown command "prepare:oracle"'
    assert all(name in second for name in COMMANDS)


@pytest.mark.parametrize("words", [("engine",), ("engine", "dance"), ("engine", "--help")])
def test_engine_alone_is_answered_with_its_commands(
    pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata(*words)
    assert ran.exit_code == 2
    assert "engine serve, engine start, engine stop" in ran.err


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
    assert _heavy_after("ls") == "msgspec,http.client"


def test_a_prepare_imports_nothing_heavier_than_models_and_http(fake: FakeEngine) -> None:
    script_job(fake, SUCCESS)
    assert _heavy_after("prepare:psql", "--", "-f", "schema.sql") == "msgspec,http.client"


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
