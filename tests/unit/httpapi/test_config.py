"""The configuration over HTTP."""

from tests.unit.httpapi.driver import Client, scenario
from tests.unit.httpapi.engine import MemoryEngine


@scenario
async def test_a_setting_is_read_changed_and_removed(engine: MemoryEngine, client: Client) -> None:
    assert (await client.get("/v1/config")).json() == {"answer": None}
    assert (await client.get("/v1/config?effective")).json() == {"answer": 42}
    assert (await client.get("/v1/config?path=answer")).json() == {"path": "answer", "value": None}
    changed = await client.ask("PATCH", "/v1/config", body=b'{"path": "answer", "value": 1}')
    assert changed.json() == {"path": "answer", "value": 1, "restart_required": True}
    assert (await client.ask("DELETE", "/v1/config?path=answer")).json()["value"] is None
    assert "answer" in (await client.get("/v1/config/schema")).json()["properties"]


@scenario
async def test_what_is_wrong_is_refused(engine: MemoryEngine, client: Client) -> None:
    for method, query, body in (
        ("PATCH", "", b"{}"),
        ("PATCH", "", b'{"path": 1, "value": 1}'),
        ("PATCH", "", b'{"path": "answers", "value": 1}'),
        ("DELETE", "", b""),
        ("DELETE", "?path=answers", b""),
        ("GET", "?path=answers", b""),
    ):
        refused = await client.ask(method, f"/v1/config{query}", body=body)
        assert (refused.status, refused.json()["code"]) == (400, "invalid_argument"), method
