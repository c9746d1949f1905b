"""The document says what the routes do."""

from typing import Any

import pytest

from pgstrata.httpapi.app import OPERATIONS
from tests.unit.httpapi.driver import Client, scenario
from tests.unit.httpapi.engine import MemoryEngine


async def document(client: Client) -> Any:
    return (await client.get("/openapi.json")).json()


@scenario
async def test_an_error_body_has_no_field_that_a_strict_client_refuses(
    engine: MemoryEngine, client: Client
) -> None:
    error = (await document(client))["components"]["schemas"]["ErrorBody"]
    assert set(error["properties"]) == {"code", "message", "details"}
    assert error["required"] == ["code", "message"]
    assert error["additionalProperties"] is False


@scenario
async def test_every_route_is_described_and_nothing_else(
    engine: MemoryEngine, client: Client
) -> None:
    described = await document(client)
    assert described["openapi"].startswith("3.1")
    assert {
        (method.upper(), path) for path, item in described["paths"].items() for method in item
    } == {(operation.method, operation.path) for operation in OPERATIONS}


@scenario
async def test_health_alone_is_described_as_open(engine: MemoryEngine, client: Client) -> None:
    described = await document(client)
    assert described["security"] == [{"bearer": []}]
    open_paths = {
        path
        for path, item in described["paths"].items()
        for operation in item.values()
        if operation.get("security") == []
    }
    assert open_paths == {"/v1/health"}


@scenario
async def test_every_operation_that_needs_the_token_says_so_in_its_answers(
    engine: MemoryEngine, client: Client
) -> None:
    described = await document(client)
    for path, item in described["paths"].items():
        for operation in item.values():
            assert ("401" in operation["responses"]) == (path != "/v1/health")
            assert "500" in operation["responses"]


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for item in value for found in _objects(item)]
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in _objects(item))]
    return []


@scenario
async def test_models_but_an_error_s_are_open_to_fields_of_later_versions(
    engine: MemoryEngine, client: Client
) -> None:
    described = await document(client)
    del described["components"]["schemas"]["ErrorBody"]
    objects = _objects(described)
    assert not [found for found in objects if found.get("additionalProperties") is False]


@scenario
async def test_every_reference_leads_somewhere(engine: MemoryEngine, client: Client) -> None:
    described = await document(client)
    references = {found["$ref"] for found in _objects(described) if "$ref" in found}
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert references
    assert references <= known


@scenario
async def test_operation_names_are_unique_and_links_lead_to_them(
    engine: MemoryEngine, client: Client
) -> None:
    described = await document(client)
    operations = [item for path in described["paths"].values() for item in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    submitted = described["paths"]["/v1/prepare-jobs"]["post"]["responses"]["201"]
    assert {link["operationId"] for link in submitted["links"].values()} <= set(names)


@pytest.mark.parametrize(
    ("model", "nullable"),
    [
        ("State", {"parent_state_id"}),
        ("InstanceEntry", {"name", "expires_at"}),
        ("NameEntry", {"instance_id", "last_used_at"}),
    ],
)
@scenario
async def test_nullable_fields_are_required_and_may_be_null(
    engine: MemoryEngine, client: Client, model: str, nullable: set[str]
) -> None:
    schema = (await document(client))["components"]["schemas"][model]
    for name in nullable:
        assert name in schema["required"]
        assert {"type": "null"} in schema["properties"][name]["anyOf"]


@scenario
async def test_a_stream_is_described_by_its_lines(engine: MemoryEngine, client: Client) -> None:
    described = await document(client)
    events = described["paths"]["/v1/prepare-jobs/{id}/events"]["get"]["responses"]
    lines = events["200"]["content"]["application/x-ndjson"]["schema"]
    assert lines["contentSchema"] == {"$ref": "#/components/schemas/Event"}
    assert set(events["206"]["headers"]) == {"Accept-Ranges", "Content-Range"}
