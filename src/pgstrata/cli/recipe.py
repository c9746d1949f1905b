"""What the commands that prepare and plan have in common: from words to a request."""

import sys
from typing import TYPE_CHECKING, Any, Literal

from pgstrata.cli.command import Context
from pgstrata.cli.options import Given, Option, setting_option
from pgstrata.config.keys import OWN
from pgstrata.domain.durations import parse_positive
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgstrata.domain.request import PrepareRequest

Fields = dict[str, Any]

PLAN_OPTIONS = (
    setting_option(OWN["image"]),
    Option(("--uncacheable",), "steps that cannot be cached: refuse (default) or run", "HOW"),
    Option(("--timeout",), "stop the job after this long: 90s, 15m, 2h", "TIME"),
)

INSTANCE_OPTIONS = (
    Option(("--name",), "give the instance a name", "N"),
    Option(("--ttl",), "the instance's lifetime: 90s, 15m, 2h, 1d", "TIME"),
)


LIQUIBASE_OPTIONS = (
    Option(("--env",), "a variable for the changelog; may be repeated", "NAME=VALUE"),
    Option(("--liquibase-exec",), "run this Liquibase for each step; slow", "PATH"),
    Option(("--liquibase-exec-mode",), "how to call it: native", "MODE"),
)


def psql_request(context: Context, given: Given) -> "PrepareRequest":
    """The request that a command line for psql stands for. Raises ``InvalidArgumentError``."""
    return _request(context, given, {"prepare_kind": "psql", **_psql(context, given.words)})


def liquibase_request(context: Context, given: Given) -> "PrepareRequest":
    """The request that a command line for Liquibase stands for. Raises ``InvalidArgumentError``."""
    return _request(context, given, {"prepare_kind": "lb", **_liquibase(context, given)})


def _request(context: Context, given: Given, fields: Fields) -> "PrepareRequest":
    from pgstrata.domain.request import PrepareRequest

    return PrepareRequest(
        image_id=given.last("--image") or context.configuration.image,
        work_dir=str(context.work_dir),
        instance_name=given.read("--name", _name),
        instance_ttl=given.read("--ttl", parse_positive),
        uncacheable=given.read("--uncacheable", _uncacheable) or "refuse",
        timeout=given.read("--timeout", parse_positive),
        **fields,
    )


def _psql(context: Context, words: tuple[str, ...]) -> Fields:
    if not words:
        raise InvalidArgumentError(
            "there is nothing to prepare", remedy="name a script: -- -f schema.sql -f seed.sql"
        )
    from pgstrata.kinds.psql import arguments

    fields: Fields = {"psql_args": tuple(arguments.absolute(words, str(context.work_dir)))}
    if arguments.parse(words).needs_stdin:
        fields["stdin"] = _standard_input()
    return fields


def _liquibase(context: Context, given: Given) -> Fields:
    if not given.words:
        raise InvalidArgumentError(
            "there is nothing to prepare",
            remedy="name a changelog: -- update --changelog-file=changelog.xml",
        )
    from pgstrata.kinds.liquibase import arguments

    arguments.parse(given.words)
    words = arguments.absolute(given.words, str(context.work_dir))
    fields: Fields = {
        "liquibase_args": tuple(words),
        "liquibase_env": dict(given.read_every("--env", _variable)),
    }
    if program := given.last("--liquibase-exec"):
        fields["liquibase_exec"] = str(context.work_dir / program)
    if mode := given.last("--liquibase-exec-mode"):
        fields["liquibase_exec_mode"] = mode
    return fields


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f'"{text}" is not name=value')
    return name, value


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"standard input is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}",
            remedy="convert it first, for instance with iconv -t UTF-8",
        ) from error


def _name(text: str) -> str:
    if not text or "/" in text:
        raise ValueError(f'"{text}" is not a valid name: it must not be empty or contain a slash')
    return text


def _uncacheable(text: str) -> Literal["refuse", "run"]:
    if text == "refuse":
        return "refuse"
    if text == "run":
        return "run"
    raise ValueError(f'"{text}" is neither refuse nor run')
