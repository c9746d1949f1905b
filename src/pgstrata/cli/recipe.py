"""Common parts of the commands that prepare and plan: from arguments to a request."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pgstrata.cli import standard_input
from pgstrata.cli.command import Context
from pgstrata.cli.models import import_msgspec
from pgstrata.cli.options import Given, one_of, setting_option
from pgstrata.config.keys import OWN, read
from pgstrata.domain.durations import parse_positive
from pgstrata.errors import BodyTooLargeError, InvalidArgumentError, InvalidNameError
from pgstrata.kinds.formats import BEGINNING, recognise
from pgstrata.kinds.plugin import Caller, KindPlugin, Option
from pgstrata.system import environment

if TYPE_CHECKING:
    from pgstrata.config.model import InitdbSettings
    from pgstrata.domain.initdb import Initdb
    from pgstrata.domain.plan import OnError, States
    from pgstrata.domain.request import PrepareRequest, Uncacheable

_on_error: "Callable[[str], OnError]" = one_of("stop", "continue")
_states: "Callable[[str], States]" = one_of("auto", "all", "tags")
_uncacheable: "Callable[[str], Uncacheable]" = one_of("refuse", "run")

_INITDB = ("locale", "localeProvider", "encoding")

SERVER_SETTING = Option(
    ("--server-setting",), "a PostgreSQL setting for its servers; may be repeated", "NAME=VALUE"
)

FROM = Option(
    ("--from",),
    "go on from this state, not from the image: its name, or 8 characters of its id",
    "STATE",
)

PLAN_OPTIONS = (
    setting_option(OWN["image"]),
    FROM,
    *(setting_option(OWN[f"image.initdb.{name}"]) for name in _INITDB),
    Option(("--data-checksums",), "checksums on pages, which 18 has anyway"),
    Option(("--no-data-checksums",), "no checksums on pages"),
    SERVER_SETTING,
    Option(
        ("--states",),
        "the steps that leave a state: auto (default; few in the old part of a long recipe), all, "
        "or tags, for Liquibase only",
        "HOW",
    ),
    Option(("--uncacheable",), "steps that cannot be cached: refuse (default) or run", "HOW"),
    Option(
        ("--on-error",),
        "if a step fails in part: stop (default) or, for psql only, continue to its end and list "
        "what failed",
        "HOW",
    ),
    Option(("--ref",), "read every input from this git revision, not from the files", "REV"),
    Option(("--stop-after",), "stop the job after this long: 90s, 15m, 2h", "TIME"),
)

INSTANCE_OPTIONS = (
    Option(("--name",), "give the instance a name, whose port and password stay the same", "N"),
    Option(("--replace",), "in place of the instance that has the name, which is removed"),
    Option(("--ttl",), "the instance's lifetime: 90s, 15m, 2h, 1d", "TIME"),
)


def request_of(
    plugin: KindPlugin, context: Context, given: Given, stdin: Callable[[], str] | None = None
) -> "PrepareRequest":
    """Make a request from the arguments of a kind's command. Raises ``InvalidArgumentError``.

    ``stdin`` reads standard input, if this process's own is not to be read.
    """
    from pgstrata.config.model import InitdbSettings

    import_msgspec()
    from pgstrata.domain.name import invalid
    from pgstrata.domain.request import PrepareRequest

    name = given.last("--name")
    if name is not None:
        if reason := invalid(name):
            raise InvalidNameError(name, reason)
    elif given.has("--replace"):
        raise InvalidArgumentError("--replace needs a --name", remedy="say which with --name N")
    start_from = given.last(FROM.name)
    fields = plugin.command_line.request(
        given, Caller(context.work_dir, stdin or _standard_input, environment.given)
    )
    return PrepareRequest(
        prepare_kind=plugin.name,
        image_id=given.last("--image")
        or (context.configuration.image if start_from is None else ""),
        start_from=start_from,
        work_dir=str(context.work_dir),
        ref=given.last("--ref"),
        on_error=given.read("--on-error", _on_error) or "stop",
        states=given.read("--states", _states) or "auto",
        # A project's file says how clusters are made, and this one is made already.
        initdb=_initdb(
            given, context.configuration.initdb if start_from is None else InitdbSettings()
        ),
        instance_name=name,
        replace=given.has("--replace"),
        instance_ttl=given.read("--ttl", parse_positive) or context.configuration.default_ttl,
        settings={
            **context.configuration.server_settings,
            **dict(given.read_every(SERVER_SETTING.name, _server_setting)),
        },
        uncacheable=given.read("--uncacheable", _uncacheable) or "refuse",
        timeout=given.read("--stop-after", parse_positive),
        stdin=fields.pop("stdin", None),
        fields=fields,
    )


def _initdb(given: Given, configured: "InitdbSettings") -> "Initdb":
    from pgstrata.domain.initdb import AS_ALWAYS, Initdb

    flags = [OWN[f"image.initdb.{name}"] for name in _INITDB]
    options = {key.fields[1]: given.last(setting_option(key).name) for key in flags}
    checked = {
        key.fields[1]: read(setting_option(key).name, key.name, value, Path())
        for key in flags
        if (value := options[key.fields[1]]) is not None
    }
    switch = given.which("--data-checksums", "--no-data-checksums")
    if switch is not None:
        checked["data_checksums"] = switch == "--data-checksums"
    wanted = configured._replace(**checked)
    provider = None if wanted.locale_provider == "libc" else wanted.locale_provider
    asked = Initdb(**{**wanted._asdict(), "locale_provider": provider})
    return AS_ALWAYS if asked == AS_ALWAYS else asked


def _server_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f'"{text}" is not name=value')
    return name, value


def _standard_input() -> str:
    most = BodyTooLargeError.MOST_BYTES
    # Of what may be without end, no more is read than shows that it is too much.
    given = sys.stdin.buffer.read(most + 1)
    if len(given) > most:
        raise BodyTooLargeError(
            f"standard input is larger than {most >> 20} MiB",
            remedy="write it to a file and name that: -f FILE",
        )
    if not given.strip():
        raise standard_input.empty()
    if found := recognise(given[:BEGINNING]):
        raise InvalidArgumentError(
            f"standard input is {found.what}, not a script",
            remedy="write it to a file and name that: -f FILE"
            if found.is_dump or found.packing
            else f"convert it on its way: … | {found.converter} | pgstrata …"
            if found.streams
            else "unpack it first",
        )
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"standard input is not UTF-8: byte {error.start} is 0x{given[error.start]:02x}",
            remedy="convert it first, for instance with iconv -t UTF-8",
        ) from error
