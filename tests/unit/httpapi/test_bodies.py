"""What a request's body may be, and how a bad one is refused."""

import json
import re

import pytest

from pgstrata.errors import split_details
from pgstrata.httpapi.body import MAX_BODY_BYTES
from pgstrata.httpapi.long_input import LONG_BYTES
from tests.unit.httpapi.driver import BEARER, Client, scenario
from tests.unit.httpapi.engine import MemoryEngine

JOBS = "/v1/prepare-jobs"
MIB = b" " * 2**20


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"nope", "invalid character"),
        (b'{"prepare_kind": "psql"', "truncated"),
        (b'{"prepare_kind": "\xff"}', "UTF-8"),
        (b'{"prepare_kind": "\\ud800 alone"}', "surrogate"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
@scenario
async def test_malformed_json_is_refused(
    engine: MemoryEngine, client: Client, body: bytes, said: str
) -> None:
    answer = await client.ask("POST", JOBS, body=body)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert said in answer.json()["message"]
    assert split_details(answer.json()["details"])[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_id": 3}, "`image_id` must be a string, not a whole number."),
        ({"image_id": None}, "`image_id` must be a string, not null."),
        ({"psql_args": "-f x"}, "`psql_args` must be an array, not a string."),
        ({"psql_args": ["-f", 1]}, "`psql_args[1]` must be a string, not a whole number."),
        ({"labels": {"a": []}}, "`labels[...]` must be a string, not an array."),
        ({"plan_only": "yes"}, "`plan_only` must be true or false, not a string."),
        ({"instance_ttl": 0}, "`instance_ttl` must be a whole number >= 1."),
        ({"instance_ttl": 0.5}, "`instance_ttl` must be a whole number or null, not a number."),
        ({"instance_name": ""}, "`instance_name` must be a string matching regex '^[^/]+$'."),
        ({"instance_name": "a/b"}, "`instance_name` must be a string matching regex '^[^/]+$'."),
        ({"uncacheable": "a\nb"}, "`uncacheable` has a value that is not allowed."),
    ],
)
@scenario
async def test_a_wrong_type_is_named_with_its_place(
    engine: MemoryEngine, client: Client, fields: dict[str, object], message: str
) -> None:
    answer = await client.post(JOBS, {"prepare_kind": "psql", "image_id": "postgres"} | fields)
    assert (answer.status, answer.json()["message"]) == (400, message)
    assert not engine.jobs


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "The request body must be an object, not an array."),
        (None, "The request body must be an object, not null."),
        ("psql", "The request body must be an object, not a string."),
        ({}, "`prepare_kind` is missing."),
        ({"prepare_kind": "psql"}, "`image_id` is missing."),
    ],
)
@scenario
async def test_what_is_not_a_whole_request_is_refused(
    engine: MemoryEngine, client: Client, value: object, message: str
) -> None:
    answer = await client.post(JOBS, value)
    assert (answer.status, answer.json()["message"]) == (400, message)


@scenario
async def test_fields_that_are_not_known_are_ignored(engine: MemoryEngine, client: Client) -> None:
    request = {"prepare_kind": "psql", "image_id": "postgres", "from_the_future": {"a": 1}}
    assert (await client.post(JOBS, request)).status == 201


@scenario
async def test_a_body_may_come_in_pieces(engine: MemoryEngine, client: Client) -> None:
    pieces = [b'{"prepare_kind": "ps', b'ql", "image_', b'id": "postgres"}']
    assert (await client.ask("POST", JOBS, body=pieces)).status == 201


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    "text",
    ["x", 'select "1";\n', "привет 'ы'\n", "a😀\\", "\\u00e9\0\r"],
    ids=["plain", "lines", "letters", "emoji", "escapes"],
)
@scenario
async def test_standard_input_of_any_length_comes_as_it_was_sent(
    engine: MemoryEngine, client: Client, text: str, ascii_only: bool
) -> None:
    text *= LONG_BYTES // len(text) + 1
    other = {"labels": {"stdin": "x"}, "psql_args": ["stdin", '\\"stdin": "', "-f", "-"]}
    for before, after in ((other, {}), ({}, other)):
        request = (
            {"prepare_kind": "psql", "image_id": "postgres"} | before | {"stdin": text} | after
        )
        body = json.dumps(request, ensure_ascii=ascii_only, indent=1).encode()
        answer = await client.ask("POST", JOBS, body=body)
        assert answer.status == 201
        submitted = engine.jobs[answer.json()["job_id"]].request
        assert submitted.stdin == text
        assert submitted.fields["psql_args"] == other["psql_args"]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (b"", "truncated"),
        (b"\\", "truncated"),
        (b"\\q", "invalid escape"),
        (b"\\ud83d", "truncated"),
        (b'\\ud83dxxxxxx"', "unexpected end of"),
        (b'\xff"}', "UTF-8"),
        (b'", "stdin": 3}', "`stdin` must be a string"),
    ],
)
@scenario
async def test_a_bad_end_of_a_long_body_is_told_as_one_of_a_short_one(
    engine: MemoryEngine, client: Client, end: bytes, said: str
) -> None:
    told = []
    for size in (1, LONG_BYTES):
        body = b'{"prepare_kind": "psql", "image_id": "postgres", "stdin": "' + b"x" * size + end
        answer = await client.ask("POST", JOBS, body=body)
        assert answer.status == 400
        told.append(re.sub(r"byte \d+", "", answer.json()["message"]))
    assert told[0] == told[1]
    assert said in told[0]


@scenario
async def test_a_body_that_says_it_is_too_large_is_not_even_read(
    engine: MemoryEngine, client: Client
) -> None:
    headers = BEARER | {"Content-Length": str(MAX_BODY_BYTES + 1)}
    answer = await client.ask("POST", JOBS, headers=headers)
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
    assert "64 MiB" in answer.json()["message"]


@scenario
async def test_a_body_that_turns_out_too_large_is_not_read_on(
    engine: MemoryEngine, client: Client
) -> None:
    pieces = iter([MIB] * (MAX_BODY_BYTES // len(MIB) + 10))
    answer = await client.ask("POST", JOBS, body=pieces)
    assert answer.status == 413
    assert len(list(pieces)) == 9


@scenario
async def test_a_client_that_leaves_before_its_request_is_whole_changes_nothing(
    engine: MemoryEngine, client: Client
) -> None:
    exchange = client.exchange("POST", JOBS, body=[b'{"prepare_kind"'])
    exchange.leave()
    await exchange.run()
    assert exchange.messages.empty()
    assert not engine.jobs
