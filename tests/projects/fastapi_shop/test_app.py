import pytest
from anyio import run
from httpx import ASGITransport, AsyncClient

import app


@pytest.fixture
def client(pg_async_engine):
    app.app.dependency_overrides[app.engine] = lambda: pg_async_engine
    yield AsyncClient(transport=ASGITransport(app.app), base_url="http://shop")
    app.app.dependency_overrides.clear()


@pytest.mark.parametrize("what", ["cocoa", "coffee"])
def test_an_order_is_taken(client, what):
    async def take():
        async with client:
            assert (await client.post("/orders", json={"what": what})).status_code == 201
            return (await client.get("/orders")).json()

    assert run(take) == ["tea", what]
