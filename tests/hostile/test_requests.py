"""Requests with the token that would have been faults of the engine."""

from collections.abc import Iterator

import pytest

from tests.hostile.engines import serving
from tests.resilience.engine import Engine, RefusedError


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with serving() as (engine, _):
        yield engine


@pytest.mark.parametrize("kind", ["psql", "lb"])
@pytest.mark.parametrize(
    "work_dir",
    ["/" + 4999 * "x", "/tmp" + 2498 * "/x", "/tmp" + 714 * "/../tmp", 5000 * "x", "/\0"],
)
def test_a_work_dir_that_no_directory_can_have_is_a_bad_request(
    engine: Engine, kind: str, work_dir: str
) -> None:
    request = {"prepare_kind": kind, "image_id": "postgres", "work_dir": work_dir}
    for more in (
        {"psql_args": ["-c", "select 1"], "liquibase_args": ["update", "--changelog-file=a.xml"]},
        {"psql_args": ["-f", "a.sql"], "liquibase_args": ["update", "--defaults-file=a"]},
    ):
        with pytest.raises(RefusedError) as refused:
            engine.ask("POST", "/v1/prepare-jobs", {**request, **more})
        assert refused.value.status == 400
        assert refused.value.body["code"] == "invalid_argument"
        assert "work_dir" in refused.value.body["message"]
