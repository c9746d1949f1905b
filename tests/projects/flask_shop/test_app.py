import pytest

import app


@pytest.fixture
def client(pg_dsn):
    return app.create_app(pg_dsn).test_client()


@pytest.mark.parametrize("what", ["cocoa", "coffee"])
def test_an_order_is_taken(client, what):
    assert client.post("/orders", json={"what": what}).status_code == 201
    assert client.get("/orders").json == ["tea", what]
