"""The JSON Schema of the engine's settings, judged by a validator."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.config.files import ConfigFile
from pgstrata.config.keys import OWN, engine_keys, read
from pgstrata.config.schema import DIALECT, json_schema
from pgstrata.errors import InvalidArgumentError
from tests.unit.config.test_keys import RIGHT, WRONG

SCHEMA = json_schema()
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
ENGINES = list(engine_keys().values())


def nested(name: str, value: object) -> dict[str, Any]:
    """A file's content that says this for a key."""
    section, dot, last = name.rpartition(".")
    return nested(section, {last: value}) if dot else {last: value}


def subschema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA
    for part in name.split("."):
        found = found["properties"][part]
    return found


def test_it_is_a_schema_of_the_dialect_it_names() -> None:
    assert SCHEMA["$schema"] == DIALECT
    jsonschema_rs.meta.validate(SCHEMA)


def test_every_setting_of_the_engines_is_described_and_no_other() -> None:
    for key in ENGINES:
        assert subschema(key.name)["description"].startswith(key.setting.about[0].upper())
    assert SCHEMA["properties"].keys() == {key.name.split(".")[0] for key in ENGINES}
    assert not VALIDATOR.is_valid({"store": "/srv"})


def test_the_defaults_are_valid_and_are_read_as_what_they_are() -> None:
    told = [key for key in ENGINES if "default" in subschema(key.name)]
    assert {"cache.capacity.minStateAge", "instances.minFreeMemory", "instances.max"} <= {
        key.name for key in told
    }
    for key in told:
        if key.default == ():  # no path at all cannot be written
            continue
        default = subschema(key.name)["default"]
        VALIDATOR.validate(nested(key.name, default))
        assert read("here", key.name, default, Path("/")) == key.default


@pytest.mark.parametrize("name", [name for name in WRONG if name not in OWN])
def test_a_wrong_value_is_invalid(name: str) -> None:
    # A home that is not there is known only to the machine.
    valid = VALIDATOR.is_valid(nested(name, WRONG[name]))
    assert valid == (name == "liquibase.java")


@pytest.mark.parametrize("name", [name for name in RIGHT if name not in OWN])
def test_a_value_in_its_own_type_is_valid(name: str) -> None:
    said = RIGHT[name][0]
    as_text = isinstance(said, str) and RIGHT[name][1] in (3, 0.7)
    assert VALIDATOR.is_valid(nested(name, said)) != as_text


@pytest.mark.parametrize(
    "wrong",
    [
        {"snapshot": "copy"},
        {"snapshot": {"backnd": "copy"}},
        {"runtime": {"settings": {"port": 1}}},
        [],
    ],
)
def test_what_is_no_setting_is_invalid(wrong: object) -> None:
    assert not VALIDATOR.is_valid(wrong)


SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["auto", "crash", "0", "1e3", "", " ", "٣s"])
    | st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3})? ?([kMGT]i?)?[Bb]?", fullmatch=True)
    | st.from_regex(r"[0-9]{1,5}[smhdw]?\n?", fullmatch=True)
)


@given(st.sampled_from(ENGINES), SCALARS)
def test_what_is_valid_can_be_loaded(key: Any, value: object) -> None:
    name = f"{key.name}.work_mem" if key.is_map else key.name
    if VALIDATOR.is_valid(nested(name, value)):
        read("here", name, value, Path("/"))


def test_a_whole_file_that_is_valid_can_be_loaded_and_one_that_is_not_cannot(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.yaml"
    for text, valid in (
        ("instances: {max: 3, defaultTtl: 1h}\nruntime: {settings: {jit: off}}", True),
        ("instances: {max: 3, defaultTtl: 1w}", False),
        ("instances: {max: 3, defaultTtl: 10000d}", True),
        ("instances: {max: 3, defaultTtl: 10001d}", False),
        ("instances: {max: 3, defaultTtl: 864000001}", False),
        ("instances: {least: 3}", False),
    ):
        file.write_text(text)
        assert VALIDATOR.is_valid(yaml.safe_load(text)) == valid
        if valid:
            assert ConfigFile(file).plain["instances.max"] == 3
        else:
            with pytest.raises(InvalidArgumentError):
                ConfigFile(file)
