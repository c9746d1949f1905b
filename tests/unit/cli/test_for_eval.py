"""What a shell does with the output of a prepare that fails."""

import json
import shutil
import subprocess

import pytest

from pgstrata.cli.for_eval import LINE
from tests import needs
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import CANCELLED, DSN, FAILED, SUCCESS, script_job
from tests.unit.client.fake_engine import FakeEngine

RECIPE = ("prepare:psql", "-f", "schema.sql")


def evaluated(shell: str, out: str, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in which ``$(printf …)`` stands for the command that printed ``out``."""
    if shutil.which(shell) is None:
        needs.missing(shell)
    return subprocess.run(
        [shell, "-c", script],
        env={"OUT": out, "PATH": "/usr/bin:/bin", "DSN": "postgresql://of-before/"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("eval_it", ['eval "$(printf %s "$OUT")"', 'eval $(printf %s "$OUT")'])
def test_a_script_does_not_go_on_after_a_failure(
    fake: FakeEngine, pgstrata: Pgstrata, shell: str, eval_it: str
) -> None:
    script_job(fake, FAILED)
    failed = pgstrata(*RECIPE)
    assert failed.exit_code == 1
    stopped = evaluated(shell, failed.out, f"set -e; {eval_it}; echo went on")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert evaluated(shell, failed.out, f"{eval_it} && echo went on").stdout == ""
    script_job(fake, SUCCESS)
    done = evaluated(shell, pgstrata(*RECIPE).out, f'set -e; {eval_it}; echo "$DSN"')
    assert (done.returncode, done.stdout) == (0, f"{DSN}\n")


def test_without_set_e_the_dsn_leads_to_no_server(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, FAILED)
    out = pgstrata(*RECIPE).out
    ended = evaluated("sh", out, 'eval "$(printf %s "$OUT")"; printf %s "$DSN"')
    assert ended.stdout == "postgresql://prepare-failed.invalid/"


@pytest.mark.parametrize(
    "words",
    [
        ("prepare:psql",),
        ("prepare:sql",),
        ("prepare", "nothing"),
        ("--profile", "", *RECIPE),
        ("--verbose=3", *RECIPE),
        ("--nonsense", *RECIPE),
    ],
)
@pytest.mark.usefixtures("fake")
def test_wrong_usage_is_a_failure_too(pgstrata: Pgstrata, words: tuple[str, ...]) -> None:
    ran = pgstrata(*words)
    assert (ran.exit_code, ran.out.splitlines()[-1]) == (2, LINE)


def test_output_that_is_not_for_eval_is_left_alone(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, CANCELLED)
    assert json.loads(pgstrata("--output", "json", *RECIPE).out)["error"]["code"] == "cancelled"
    assert pgstrata("plan:psql", *RECIPE[1:]).out == ""
    assert pgstrata(*RECIPE, "run:psql", "-c", "select 1").out == ""
    assert pgstrata("dsn", "nobody").out == ""
