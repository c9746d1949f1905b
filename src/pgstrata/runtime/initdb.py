"""Makes clusters with initdb, identically on every machine unless a request asks for a locale."""

from pathlib import Path

from pgstrata.domain.image import Installation
from pgstrata.domain.initdb import Initdb
from pgstrata.domain.locales import DEFAULT_ENCODING, DEFAULT_LOCALE
from pgstrata.errors import InvalidArgumentError
from pgstrata.runtime.access import SUPERUSER
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.images import install_command
from pgstrata.system import subprocesses

_LOCALES = (DEFAULT_LOCALE, "C")
"""Both are the same on every machine and sort in the same way. The first one also classifies
letters, but not every C library has it."""

_OLDEST_WITH = {"icu": 15, "builtin": 17}
"""The majors since which a cluster's locale can be of these providers."""

_BUILT_IN = "use C, C.UTF-8 or, from PostgreSQL 18 on, PG_UNICODE_FAST; others are libc's and icu's"

_WAL_SEGMENT_MB = 4
"""Every state contains a segment or two, and a copying backend copies them. With 4 MB a new cluster
is 8 MB smaller than with PostgreSQL's 16 MB and loads data as fast; with 1 MB loading is slower."""


async def initdb(
    installation: Installation, data_dir: Path, user: str | None, options: Initdb
) -> subprocesses.Ended:
    """Run initdb, as ``user`` if given, and return how it ended.

    Raises ``ProgramError``, and ``InvalidArgumentError`` for options that it cannot fulfil.
    """
    _check(installation, options)
    for locale in _locales(options):
        ended = await subprocesses.run(
            argv(installation.bin_dir, installation.major, data_dir, locale, options),
            cwd=Path("/"),
            env=MINIMAL_ENV,
            user=user,
            check=False,
        )
        if not refuses_locale(ended):
            break
    if ended.exit_code != 0 and (refusal := _refusal(installation, options, ended)):
        raise refusal
    return ended


def argv(
    bin_dir: Path, major: int, data_dir: Path, locale: str, options: Initdb | None = None
) -> list[str]:
    """initdb's command line, with the options that the major version knows.

    ``locale`` is one of the C library.
    """
    options = options or Initdb()
    return [
        str(bin_dir / "initdb"),
        f"--pgdata={data_dir}",
        f"--username={SUPERUSER}",
        # The superuser has no password: no server lets anybody in by these rules. One that is run
        # without us lets in who may start it.
        "--auth-local=peer",
        "--auth-host=reject",
        f"--encoding={options.encoding or DEFAULT_ENCODING}",
        f"--locale={locale}",
        *_of_provider(options),
        *_checksums(major, options.data_checksums),
        # States are made durable as files, once, when they are published.
        "--no-sync",
        *((f"--wal-segsize={_WAL_SEGMENT_MB}",) if major >= 11 else ()),
        *(("--no-instructions",) if major >= 14 else ()),
    ]


def _locales(options: Initdb) -> tuple[str, ...]:
    """The C library's locales to try."""
    if _of_c_library(options) and (locale := options.own.get("locale")) is not None:
        return (locale,)
    # Any other encoding than that of C.UTF-8 goes with C alone.
    return _LOCALES[1:] if "encoding" in options.own else _LOCALES


def _of_c_library(options: Initdb) -> bool:
    return options.locale_provider in (None, "libc")


def _of_provider(options: Initdb) -> tuple[str, ...]:
    match options.locale_provider:
        case "icu":
            return ("--locale-provider=icu", f"--icu-locale={options.locale}")
        case "builtin":
            locale = options.locale or DEFAULT_LOCALE
            return ("--locale-provider=builtin", f"--builtin-locale={locale}")
    # What a server says is read by programs, ours among them.
    return ("--lc-messages=C",) if "locale" in options.own else ()


def _checksums(major: int, wanted: bool | None) -> tuple[str, ...]:
    if wanted is None:
        return ()
    if wanted:
        return ("--data-checksums",)
    return ("--no-data-checksums",) if major >= 18 else ()


def refuses_locale(ended: subprocesses.Ended) -> bool:
    """Whether initdb failed because the C library does not know the locale."""
    return ended.exit_code != 0 and "invalid locale" in ended.stderr


def _check(installation: Installation, options: Initdb) -> None:
    provider = options.locale_provider or "libc"
    oldest = _OLDEST_WITH.get(provider, 0)
    if installation.major < oldest:
        raise InvalidArgumentError(
            f"PostgreSQL {installation.version} has no clusters with a locale of {provider}",
            remedy=f"use --image postgres:{oldest} or newer, or a locale of the C library",
        )
    if provider == "icu" and options.locale is None:
        raise InvalidArgumentError(
            "the locale provider icu needs a locale", remedy="add one: --locale de-DE"
        )


def _refusal(
    installation: Installation, options: Initdb, ended: subprocesses.Ended
) -> InvalidArgumentError | None:
    """The error for what was asked of initdb in vain; None if it is about something else."""
    said = ended.stderr
    asked = ", ".join(f"{name} {value}" for name, value in options.own.items())
    if not asked:
        return None
    if refuses_locale(ended) and options.locale is not None:
        if not _of_c_library(options):
            return InvalidArgumentError(
                f"PostgreSQL {installation.version} makes no cluster with {asked}",
                remedy=_BUILT_IN,
                details=said,
            )
        icu = (
            ", or one of ICU: --locale-provider icu"
            if installation.major >= _OLDEST_WITH["icu"]
            else ""
        )
        return InvalidArgumentError(
            f"this machine has no locale {options.locale}",
            remedy="generate it (Debian: `dpkg-reconfigure locales`), or use one that `locale -a` "
            f"lists{icu}",
            details=said,
        )
    remedies = {
        "not supported in this build": f"use one with ICU: "
        f"`{install_command(installation.major) or 'pgstrata postgres install 18'}` installs it",
        "encoding mismatch": "use a locale that has that encoding, or the encoding of the locale",
        "not a valid server encoding": "use one of PostgreSQL's server encodings, such as LATIN1",
        "collator": "use a locale that ICU has, such as de-DE or und-x-icu",
        "not supported for": "use another encoding, or another locale",
        "locale": "use another locale",
        "encoding": "use another encoding",
    }
    for words, remedy in remedies.items():
        if words in said:
            return InvalidArgumentError(
                f"PostgreSQL {installation.version} makes no cluster with {asked}",
                remedy=remedy,
                details=said,
            )
    return None
