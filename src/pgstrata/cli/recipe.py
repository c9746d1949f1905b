"""What ``prepare:psql`` and ``plan:psql`` have in common: from words to a request."""

import sys

from pgstrata.cli.command import Context
from pgstrata.cli.options import Given, Option
from pgstrata.client.http import Json
from pgstrata.client_errors import UsageError, engine_errors_translated
from pgstrata.config.durations import parse_positive

UNCACHEABLE = ("refuse", "run")

PLAN_OPTIONS = (
    Option(("--image",), "which PostgreSQL: postgres:17, postgres:16.4; default: the newest", "I"),
    Option(("--uncacheable",), "inputs that cannot be known: refuse (default) or run", "HOW"),
    Option(("--timeout",), "stop the job when it has run for this long: 90s, 15m, 2h", "TIME"),
)

INSTANCE_OPTIONS = (
    Option(("--name",), "give the instance a name", "N"),
    Option(("--ttl",), "how long the instance may live: 90s, 15m, 2h, 1d", "TIME"),
)


def request(context: Context, given: Given) -> Json:
    """The request that a command line stands for. Raises ``UsageError``."""
    asked: Json = {
        "prepare_kind": "psql",
        "image_id": given.last("--image") or context.configuration.image,
        "work_dir": str(context.work_dir),
        **_psql(context, given.words),
    }
    optional = {
        "instance_name": given.read("--name", _name),
        "instance_ttl": given.read("--ttl", parse_positive),
        "uncacheable": given.read("--uncacheable", _uncacheable),
        "timeout": given.read("--timeout", parse_positive),
    }
    asked.update((name, value) for name, value in optional.items() if value is not None)
    return asked


def _psql(context: Context, words: tuple[str, ...]) -> Json:
    if not words:
        raise UsageError(
            "there is nothing to prepare", remedy="name a script: -- -f schema.sql -f seed.sql"
        )
    with engine_errors_translated():
        from pgstrata.kinds.psql import arguments

        fields: Json = {"psql_args": list(arguments.absolute(words, str(context.work_dir)))}
        if arguments.parse(words).needs_stdin:
            fields["stdin"] = _standard_input()
    return fields


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}",
            remedy="convert it first, for instance with iconv -t UTF-8",
        ) from error


def _name(text: str) -> str:
    if not text or "/" in text:
        raise ValueError(f'"{text}" is no name: it must not be empty or hold a slash')
    return text


def _uncacheable(text: str) -> str:
    if text not in UNCACHEABLE:
        raise ValueError(f'"{text}" is neither refuse nor run')
    return text
