"""Which error an engine's answer stands for."""

import json

import pytest

from pgstrata.client import answers
from pgstrata.errors import (
    ConflictError,
    EngineStoppingError,
    HostLimitError,
    InvalidArgumentError,
    NotFoundError,
    PgstrataError,
    UnauthorizedError,
    UnreachableError,
)


def error_from(status: int, body: object) -> PgstrataError:
    return answers.error_from(status, json.dumps(body).encode())


@pytest.mark.parametrize("status", [400, 404, 409, 418, 500, 503, 507])
@pytest.mark.parametrize("expected", [EngineStoppingError, HostLimitError, NotFoundError])
def test_the_code_decides_whatever_the_status(expected: type[PgstrataError], status: int) -> None:
    error = error_from(status, {"code": expected.code, "message": "no"})
    assert type(error) is expected


@pytest.mark.parametrize(
    "code",
    ["cache_enforcement_unavailable", "store_unusable", "disk_full", "of_a_newer_engine", None],
)
def test_not_every_503_is_an_engine_that_stops(code: str | None) -> None:
    error = error_from(503, {"code": code, "message": "no"})
    assert not isinstance(error, EngineStoppingError)
    assert error.exit_code in (1, 3)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidArgumentError),
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, InvalidArgumentError),
        (500, PgstrataError),
        (503, PgstrataError),
        (599, PgstrataError),
    ],
)
def test_a_code_of_a_newer_engine_is_kept_and_its_status_says_what_family_it_is_of(
    status: int, expected: type[PgstrataError]
) -> None:
    error = error_from(status, {"code": "of_a_newer_engine", "message": "no"})
    assert (type(error), error.code, error.message) == (expected, "of_a_newer_engine", "no")


@pytest.mark.parametrize("body", [None, [], "text", {}, {"error": "x"}, {"code": 5, "message": ""}])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, NotFoundError), (500, PgstrataError), (502, UnreachableError), (503, UnreachableError)],
)
def test_a_proxy_that_answers_without_an_error_body_is_told_by_its_status(
    status: int, expected: type[PgstrataError], body: object
) -> None:
    error = error_from(status, body)
    assert type(error) is expected
    assert str(status) in error.message
    assert error.remedy


@pytest.mark.parametrize("data", [b"", b"<html>bad gateway</html>", b"\xff", b"[" * 100_000])
def test_a_proxy_may_say_anything(data: bytes) -> None:
    assert type(answers.error_from(502, data)) is UnreachableError
