"""Who is let in."""

import pytest

from pgstrata.httpapi.app import create_app
from tests.unit.httpapi.driver import TOKEN, Client, scenario
from tests.unit.httpapi.engine import MemoryEngine

PATHS = ("/v1/prepare-jobs", "/v1/status", "/openapi.json", "/v1/nowhere", "/")


@scenario
async def test_health_needs_no_token(engine: MemoryEngine, client: Client) -> None:
    answer = await client.ask("GET", "/v1/health", headers={})
    assert answer.status == 200
    assert answer.json() == {"ok": True, "version": "0.1.0", "instanceId": "f" * 32, "pid": 42}


@scenario
async def test_nothing_but_asking_for_health_is_public(
    engine: MemoryEngine, client: Client
) -> None:
    assert (await client.ask("HEAD", "/v1/health", headers={})).status == 200
    assert (await client.ask("DELETE", "/v1/health", headers={})).status == 401


@pytest.mark.parametrize("path", PATHS)
@scenario
async def test_everything_else_is_closed_to_strangers_known_or_not(
    engine: MemoryEngine, client: Client, path: str
) -> None:
    answer = await client.ask("GET", path, headers={})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthorized"


@pytest.mark.parametrize(
    "credentials",
    ["", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer t\u00f6ken"],
)
@scenario
async def test_wrong_credentials_are_refused(
    engine: MemoryEngine, client: Client, credentials: str
) -> None:
    answer = await client.ask("GET", "/v1/status", headers={"Authorization": credentials})
    assert answer.status == 401
    assert TOKEN not in answer.body.decode()


@scenario
async def test_the_name_of_the_scheme_has_no_case(engine: MemoryEngine, client: Client) -> None:
    answer = await client.ask("GET", "/v1/status", headers={"Authorization": f"bEARER {TOKEN}"})
    assert answer.status == 200


def test_an_engine_is_not_opened_with_an_empty_token() -> None:
    with pytest.raises(ValueError, match="token"):
        create_app(MemoryEngine().service, "")
