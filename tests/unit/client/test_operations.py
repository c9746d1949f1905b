"""Every operation of the engine is declared once, and both clients have all of them alike."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pgstrata import AsyncClient, Client
from pgstrata.client import operations
from pgstrata.client.operation import Operation
from pgstrata.domain.request import PrepareRequest
from pgstrata.httpapi.app import OPERATIONS

DECLARED: dict[str, Operation[..., Any]] = {
    name: value for name, value in vars(operations).items() if isinstance(value, Operation)
}
SECTIONS = ("states", "instances", "names", "jobs", "images", "cache", "config")


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def bare(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_the_clients_operations_are_the_engines() -> None:
    engines = {snake(each.name): each for each in OPERATIONS if each.name != "getDocument"}
    assert DECLARED.keys() == engines.keys()
    for name, declared in DECLARED.items():
        engines_own = engines[name]
        assert declared.method == engines_own.method, name
        assert bare(declared.path) == bare(engines_own.path), name
        in_query = {each.name for each in engines_own.parameters if each.location == "query"}
        assert declared.query_names == in_query, name
        results = {reply.status: reply.body for reply in engines_own.replies if reply.body}
        theirs = {declared.results.get(status, declared.result) for status in results}
        assert theirs == set(results.values()) or not results, name
        assert declared.streams == (engines_own.replies[0].shape != "one"), name


def methods(client: Client | AsyncClient) -> Iterator[tuple[str, Any]]:
    """Everything that a client and its sections can do, by name."""
    for place in ("", *SECTIONS):
        owner = getattr(client, place) if place else client
        for name, method in inspect.getmembers(type(owner), inspect.isroutine):
            if not name.startswith("_"):
                yield f"{place}.{name}", method


def told(method: Any) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(method)
    return [(each.name, each.kind, each.default) for each in signature.parameters.values()]


def test_what_waits_and_what_is_awaited_have_the_same_methods_with_the_same_parameters() -> None:
    waiting, awaited = dict(methods(Client())), dict(methods(AsyncClient()))
    assert waiting.keys() == awaited.keys()
    for name, method in waiting.items():
        assert told(method) == told(awaited[name]), name
        assert inspect.getdoc(method), name


def test_every_operation_is_a_method_of_both() -> None:
    for client in (Client(), AsyncClient()):
        documents = {inspect.getdoc(method) for _, method in methods(client)}
        missing = [name for name, each in DECLARED.items() if inspect.getdoc(each) not in documents]
        assert missing == []


@pytest.mark.parametrize(
    ("call", "path", "query", "body"),
    [
        (operations.list_states(kind="psql"), "/v1/states", {"kind": "psql"}, None),
        (
            operations.delete_state("a/b", recurse=True),
            "/v1/states/a%2Fb",
            {"recurse": "true"},
            None,
        ),
        (
            operations.submit_job(PrepareRequest(prepare_kind="psql"), wait=5),
            "/v1/prepare-jobs",
            {"wait": "5"},
            {"prepare_kind": "psql"},
        ),
    ],
)
def test_arguments_go_where_they_belong(
    call: Any, path: str, query: dict[str, str], body: Any
) -> None:
    assert (call.path, call.query, call.body) == (path, query, body)


def test_fields_of_a_body_are_parameters() -> None:
    call = operations.snapshot_instance("i1", name="seeded", force=True)
    assert call.query == {"force": "true"}
    assert call.body is not None
    assert vars_of(call.body) == {"name": "seeded"}
    assert vars_of(operations.set_config("a.b", None).body) == {"path": "a.b", "value": None}


def vars_of(body: Any) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.__struct_fields__}


def test_events_are_asked_for_from_a_number_on() -> None:
    assert operations.follow_events("j").headers == {"Accept": "application/x-ndjson"}
    assert operations.follow_events("j", start=3).headers["Range"] == "events=3-"
