"""Request bodies: reading up to a limit, decoding, and describing what is wrong with them."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.run import RunRequest
from pgstrata.errors import BodyTooLargeError, InvalidArgumentError
from pgstrata.httpapi import long_input

MAX_BODY_BYTES: Final = BodyTooLargeError.MOST_BYTES

T = TypeVar("T")
TWithInput = TypeVar("TWithInput", PrepareRequest, RunRequest)

REMEDY: Final = "GET /openapi.json describes the request bodies."
_MSGSPEC = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<where>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.+)`")
_WRONG_TYPE = re.compile(r"Expected `(?P<wanted>.+?)`(?P<bounds>[^,]*)(?:, got `(?P<given>.+)`)?")
_WORDS: Final = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}


async def read_model(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """Read and decode the request's body. Raises like ``read_body`` and ``decode``."""
    return decode(await read_body(request), decoder)


async def read_with_input(
    request: Request, read: Callable[[bytes | bytearray], TWithInput]
) -> TWithInput:
    """Read the request's body, and decode it by ``read``, without holding up others for long.

    Raises like ``read_body`` and ``read``.
    """
    body = await read_body(request)
    if len(body) <= long_input.LONG_BYTES:
        return read(body)
    split = await asyncio.to_thread(long_input.split, body)
    if split is not None:
        model = read(split.body)
        if model.stdin == split.mark:
            return replace(model, stdin=split.stdin)
    return read(body)


def decode(body: bytes | bytearray, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a body. Raises ``InvalidArgumentError`` if it is not JSON or does not fit."""
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            # To JSON Schema, which has no other numbers, 2.0 is a whole number.
            whole: T = msgspec.convert(_with_whole_numbers(msgspec.json.decode(body)), decoder.type)
            return whole
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(_in_words(str(error)), remedy=REMEDY) from error
    except msgspec.DecodeError as error:
        words = str(error).removeprefix("JSON is malformed: ")
        problem = f"{words[:1].lower()}{words[1:]}" if body else "it is empty"
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    raise InvalidArgumentError(f"The request body is not valid JSON: {problem}.", remedy=REMEDY)


async def read_body(request: Request) -> bytes | bytearray:
    """Read the request's body. Raises ``BodyTooLargeError``."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:19]) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return body


def _with_whole_numbers(value: Any) -> Any:
    """A body's content with ``2`` in place of ``2.0``."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _with_whole_numbers(each) for name, each in value.items()}
        case list():
            return [_with_whole_numbers(each) for each in value]
    return value


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The request body is larger than {MAX_BODY_BYTES // 2**20} MiB.",
        remedy="Put the input into a file and name the file in the arguments.",
    )


def _in_words(complaint: str) -> str:
    match = _MSGSPEC.fullmatch(complaint)
    problem, where = (match["problem"], match["where"]) if match else (complaint, None)
    subject = f"`{where}`" if where else "The request body"
    if missing := _MISSING.fullmatch(problem):
        name = f"{where}.{missing['field']}" if where else missing["field"]
        return f"`{name}` is missing."
    if wrong := _WRONG_TYPE.fullmatch(problem):
        given = f", not {_word(wrong['given'])}" if wrong["given"] else ""
        return f"{subject} must be {_word(wrong['wanted'])}{wrong['bounds']}{given}."
    # msgspec repeats the value here, and a client's text may be long or contain line breaks.
    return f"{subject} has a value that is not allowed."


def _word(types: str) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types.split(" | "))
