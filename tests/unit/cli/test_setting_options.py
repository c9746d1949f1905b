"""Options that stand for settings, and what a command hands on to the engine it starts."""

from pathlib import Path
from typing import Any

import pytest

from pgstrata.cli.options import parse
from pgstrata.cli.setting_options import engine_options, engine_settings
from pgstrata.client import connect
from pgstrata.config.keys import OWN
from pgstrata.config.load import load
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option
from tests.unit.config.test_keys import RIGHT

WORK_DIR = Path("/work/project")


def settings(*words: str) -> dict[str, Any]:
    options = (*engine_options(), Option(("--listen",), "", "HOST:PORT"))
    return engine_settings(parse(words, options), WORK_DIR)[0]


def defaults(*words: str) -> dict[str, Any]:
    return engine_settings(parse(words, engine_options()), WORK_DIR)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--snapshot-backend", "copy"], {"snapshot.backend": "copy"}),
        (["--snapshot-consistency=clean"], {"snapshot.consistency": "clean"}),
        (["--server-user", "me"], {"runtime.user": "me"}),
        (["--server-setting", "jit=off"], {"runtime.settings.jit": "off"}),
        (["--server-setting", "a.b=x=y"], {"runtime.settings.a.b": "x=y"}),
        (["--max-parallel", "3"], {"orchestrator.jobs.maxParallel": 3}),
        (["--max-identical", "0"], {"orchestrator.jobs.maxIdentical": 0}),
        (["--job-timeout", "15m"], {"orchestrator.jobs.timeout": 900}),
        (["--drain-timeout", "5"], {"orchestrator.jobs.drainTimeout": 5}),
        (["--set", "instances.max=4"], {"instances.max": 4}),
        (["--set", "runtime.settings.jit=off"], {"runtime.settings.jit": "off"}),
        (["--set", "liquibase.home=lb"], {"liquibase.home": WORK_DIR / "lb"}),
        (["--listen", "box:1"], {}),
    ],
)
def test_an_option_says_what_its_setting_is(words: list[str], said: dict[str, Any]) -> None:
    assert settings(*words) == said


def test_of_options_for_the_same_setting_the_last_counts() -> None:
    first, second = ("--max-parallel", "3"), ("--set", "orchestrator.jobs.maxParallel=4")
    assert settings(*first, *second) == {"orchestrator.jobs.maxParallel": 4}
    assert settings(*second, *first) == {"orchestrator.jobs.maxParallel": 3}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max-parallel", "0"], "--max-parallel: orchestrator.jobs.maxParallel must be a whole"),
        (["--set", "instances.max=many"], "--set: instances.max must be a whole number"),
        (["--set", "instances.many=1"], "--set: there is no setting instances.many"),
        (["--set", "store=/srv"], "--set: store is not a setting of the engine"),
        (["--set", "instances.max"], "is not name=value"),
        (["--server-setting", "=off"], "is not name=value"),
    ],
)
def test_a_wrong_option_is_told_with_its_key(words: list[str], told: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        settings(*words)
    assert told in caught.value.message
    assert caught.value.remedy


def test_an_engine_is_handed_all_that_was_said_for_it(tmp_path: Path) -> None:
    project = tmp_path / ".pgstrata" / "config.yaml"
    project.parent.mkdir()
    of_engine = {name: said for name, (said, _) in RIGHT.items() if name not in OWN}
    project.write_text("".join(f"{name}: {said}\n" for name, said in of_engine.items()))
    configuration = load(tmp_path, {"HOME": str(tmp_path)}, None)
    assert configuration.engine.keys() == of_engine.keys()
    assert configuration.engine["liquibase.exec"] == tmp_path.parent / "liquibase"
    handed = defaults(*connect.serve_options(configuration))
    assert handed == configuration.of_engine
    # These go with each request.
    assert configuration.engine.keys() - handed.keys() == {
        "runtime.settings.jit",
        "instances.defaultTtl",
    }
