"""A kind from another package, as its users meet it; ours know nothing of it."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.acceptance.conftest import Terminal
from tests.packages.installing import install, record


@pytest.fixture(scope="module")
def packages(reachable_dir: Path) -> Path:
    """Where the package is installed."""
    return install("shout", reachable_dir / "packages")


@pytest.fixture
def shouting(shared: Terminal, packages: Path) -> Terminal:
    """A shell where the package is installed, and a file to shout."""
    shared.environment["PYTHONPATH"] = str(packages)
    shared.write("hello.txt", "hello\nworld\n")
    return shared


@pytest.fixture
def alone(pgstrata: Terminal) -> Terminal:
    """The same, with a store and packages of its own."""
    packages = install("shout", pgstrata.home / "packages")
    pgstrata.environment["PYTHONPATH"] = str(packages)
    pgstrata.write("hello.txt", "hello\nworld\n")
    return pgstrata


def _lines(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [line for (line,) in connection.execute("select line from shouts").fetchall()]


def _prepared(shouting: Terminal, *words: str) -> tuple[str, list[bool]]:
    """The DSN, and which steps were cached."""
    made = shouting.json("prepare:shout", *words)
    return made["dsn"], [task["cached"] for task in _tasks(shouting, made["job_id"])]


def _tasks(shouting: Terminal, job_id: str) -> list[dict[str, Any]]:
    tasks = shouting.json("ls", "-t", "--job", job_id)["tasks"]
    return [task for task in tasks if task["type"] == "state_execute"]


def test_its_commands_are_listed_and_explain_themselves(shouting: Terminal) -> None:
    listed = shouting("--help").stdout
    assert "  prepare:shout      make a database of shouted lines, or reuse one\n" in listed
    assert "  plan:shout " in listed
    own = shouting("prepare:shout", "--help").stdout
    assert own.startswith("usage: pgstrata prepare:shout [OPTIONS] [--] FILE…\n")
    assert "--times N" in own
    assert "--ttl" in own
    assert "--times N" in shouting("plan:shout", "--help").stdout


def test_it_is_prepared_once_and_reused_and_only_what_changed_is_built_anew(
    shouting: Terminal,
) -> None:
    shouting.write("more.txt", "more\n")
    dsn, cached = _prepared(shouting, "--times", "2", "hello.txt", "more.txt")
    assert sorted(_lines(dsn)) == ["HELLO!", "HELLO!", "MORE!", "MORE!", "WORLD!", "WORLD!"]
    assert cached == [False, False]
    assert _prepared(shouting, "--times", "2", "hello.txt", "more.txt")[1] == [True, True]
    shouting.write("more.txt", "even more\n")
    plan = shouting("plan:shout", "--times", "2", "hello.txt", "more.txt").stdout
    assert "shout " in plan
    assert _prepared(shouting, "--times", "2", "hello.txt", "more.txt")[1] == [True, False]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "there is nothing to shout"),
        (("--times", "never", "hello.txt"), '--times: "never" is no number of times'),
        (("none.txt",), "there is no "),
    ],
)
def test_wrong_usage_of_it_is_told_like_ours(
    shouting: Terminal, words: tuple[str, ...], problem: str
) -> None:
    error, remedy = shouting("prepare:shout", *words, exit_code=2).stderr.splitlines()[-2:]
    assert error.startswith(f"error: {problem}")
    assert remedy


def test_a_step_of_it_that_fails_is_told_with_its_tools_words(shouting: Terminal) -> None:
    shouting.write("bad.txt", "one\ttoo many\n")
    said = shouting("prepare:shout", "hello.txt", "bad.txt", exit_code=1).stderr
    assert "bad.txt cannot be shouted" in said
    assert "extra data after last expected column" in said


def _set_by_file(shouting: Terminal, mark: str) -> None:
    shouting.write(".pgstrata/config.yaml", f"shout:\n  mark: '{mark}'\n")


def _set_by_variable(shouting: Terminal, mark: str) -> None:
    shouting.environment["PGSTRATA_SHOUT_MARK"] = mark


def _set_by_both(shouting: Terminal, mark: str) -> None:
    _set_by_file(shouting, "!")
    _set_by_variable(shouting, mark)


@pytest.mark.parametrize(
    "setting", [pytest.param(_set_by_file, marks=pytest.mark.slow), _set_by_both]
)
def test_its_setting_reaches_it_and_makes_another_state(alone: Terminal, setting: Any) -> None:
    first, _ = _prepared(alone, "hello.txt")
    assert _lines(first) == ["HELLO!", "WORLD!"]
    alone("engine", "stop")
    setting(alone, "?")
    dsn, cached = _prepared(alone, "hello.txt")
    assert _lines(dsn) == ["HELLO?", "WORLD?"]
    assert cached == [False]


def test_a_wrong_value_of_its_setting_is_refused_where_it_is_written(shouting: Terminal) -> None:
    _set_by_file(shouting, "#")
    said = shouting("prepare:shout", "hello.txt", exit_code=2).stderr
    assert 'config.yaml: shout.mark must be one of !, !!, ?; it is "#"' in said
    shouting.write(".pgstrata/config.yaml", "shout:\n  volume: 11\n")
    assert "there is no setting shout.volume" in shouting("ls", exit_code=2).stderr


def test_over_http_it_has_fields_of_its_own_and_the_document_says_so(shouting: Terminal) -> None:
    shouting("engine", "start")
    engine = shouting.engine_file()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {engine['authToken']}"
    jobs = f"{engine['endpoint']}/v1/prepare-jobs"

    def submit(**fields: Any) -> requests.Response:
        asked: Any = {"prepare_kind": "shout", "image_id": "postgres", **fields}
        return session.post(jobs, json=asked, timeout=300)

    files = [str(shouting.work / "hello.txt")]
    accepted = submit(shout_files=files, shout_times=3, psql_args=["-f", "no.sql"], unheard_of=7)
    assert accepted.status_code == 201, accepted.text
    events = session.get(f"{engine['endpoint']}{accepted.headers['Location']}/events", timeout=300)
    assert events.text.splitlines()[-1].endswith('"status":"succeeded"}')

    for wrong, problem in (
        ({"shout_files": "hello.txt"}, "`shout_files` must be an array, not a string."),
        (
            {"shout_files": files, "psql_args": 7},
            "`psql_args` must be an array, not a whole number.",
        ),
        ({"shout_files": files, "shout_times": 0}, "`shout_times` must be a whole number >= 1."),
    ):
        refused = submit(**wrong)
        assert refused.status_code == 400
        assert refused.json()["code"] == "invalid_argument"
        assert refused.json()["message"] == problem

    document = session.get(f"{engine['endpoint']}/openapi.json", timeout=300).json()
    body = document["paths"]["/v1/prepare-jobs"]["post"]["requestBody"]["content"]
    described = body["application/json"]["schema"]
    assert set(described["discriminator"]["mapping"]) == {"psql", "lb", "exec", "shout"}
    own = document["components"]["schemas"]["ShoutPrepareRequest"]["properties"]
    assert own["shout_times"] == {"type": "integer", "minimum": 1, "default": 1}
    assert "psql_args" not in own
    assert "image_id" in own


BROKEN = {
    "torn": ("raise ImportError('no lungs')", "ImportError: no lungs"),
    "quiet": ("PLUGIN = object()", "has no attribute 'name'"),
    "psql": ("PLUGIN = None", "another package has a kind of this name"),
}


def _install_broken(packages: Path, name: str, text: str) -> None:
    (packages / f"{name}_kind.py").write_text(text)
    entry = {"pgstrata.kinds": {name: f"{name}_kind:PLUGIN"}}
    record(packages, {"name": f"{name}-kind", "version": "1", "entry-points": entry})


def test_one_that_is_broken_is_told_of_and_harms_no_other(alone: Terminal) -> None:
    packages = Path(alone.environment["PYTHONPATH"])
    for name, (text, _) in BROKEN.items():
        _install_broken(packages, name, text)
    listed = alone("--help").stdout
    assert "  prepare:torn       cannot be used" in listed
    assert "  prepare:psql       make a database from SQL scripts" in listed
    assert _lines(_prepared(alone, "hello.txt")[0]) == ["HELLO!", "WORLD!"]
    assert alone.prepare("-c", "select 1").startswith("postgresql://")
    log = (alone.store / "engine.log").read_text()
    for name, (_, reason) in BROKEN.items():
        assert f"the kind {name} of {name}-kind cannot be used" in log
        assert reason in log
    error, remedy = alone("prepare:torn", "x", exit_code=2).stderr.splitlines()
    assert error == "error: the kind torn of torn-kind cannot be used: ImportError: no lungs"
    assert "uninstall it" in remedy


def test_once_it_is_uninstalled_its_states_stay_and_its_jobs_can_be_read(
    shouting: Terminal,
) -> None:
    _prepared(shouting, "hello.txt")
    shouting("engine", "stop")
    del shouting.environment["PYTHONPATH"]
    assert [state["prepare_kind"] for state in shouting.json("ls", "-s")["states"]] == ["shout"]
    [job] = shouting.json("ls", "-j")["jobs"]
    assert job["prepare_kind"] == "shout"
    said = shouting("prepare:shout", "hello.txt", exit_code=2).stderr
    assert 'unknown command "prepare:shout"' in said
