"""A job request is handed to the next engine only if the one there is about to end."""

from pathlib import Path

import pytest

from pgstrata.client.connect import connect, submit
from pgstrata.config.model import Configuration
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import DiskFullError, PgstrataError, StoreUnusableError
from tests.unit.client.discovered import engine_file, write_engine_file
from tests.unit.client.fake_engine import FakeEngine

REQUEST = PrepareRequest(
    prepare_kind="psql", image_id="postgres", fields={"psql_args": ["-c", "select 1"]}
)


@pytest.mark.parametrize("expected", [DiskFullError, StoreUnusableError])
def test_an_engine_that_cannot_do_it_now_is_not_taken_for_one_that_stops(
    tmp_path: Path, expected: type[PgstrataError]
) -> None:
    with FakeEngine().serving() as fake:
        # Its process does not end: to wait for that would take a minute.
        write_engine_file(tmp_path / "engine.json", engine_file(fake))
        refusal = {"code": expected.code, "message": "not now"}
        fake.on("POST", "/v1/prepare-jobs", refusal, 503)
        configuration = Configuration(store=tmp_path)
        engine = connect(configuration)
        with pytest.raises(expected, match="not now"):
            submit(configuration, engine, REQUEST)
        engine.close()
    assert len(fake.requests("POST", "/v1/prepare-jobs")) == 1
