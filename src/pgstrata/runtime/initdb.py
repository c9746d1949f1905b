"""Makes clusters with initdb, identically on every machine."""

from pathlib import Path

from pgstrata.runtime.access import SUPERUSER
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.system import subprocesses

_LOCALES = ("C.UTF-8", "C")
"""Both are the same on every machine and sort in the same way. The first one also classifies
letters, but not every C library has it."""

_WAL_SEGMENT_MB = 4
"""Every state contains a segment or two, and a copying backend copies them. With 4 MB a new cluster
is 8 MB smaller than with PostgreSQL's 16 MB and loads data as fast; with 1 MB loading is slower."""


async def initdb(bin_dir: Path, major: int, data_dir: Path, user: str | None) -> subprocesses.Ended:
    """Run initdb, as ``user`` if given, and return how it ended. Raises ``ProgramError``."""
    for locale in _LOCALES:
        ended = await subprocesses.run(
            argv(bin_dir, major, data_dir, locale),
            cwd=Path("/"),
            env=MINIMAL_ENV,
            user=user,
            check=False,
        )
        if not refuses_locale(ended):
            break
    return ended


def argv(bin_dir: Path, major: int, data_dir: Path, locale: str) -> list[str]:
    """initdb's command line, with the options that the major version knows."""
    return [
        str(bin_dir / "initdb"),
        f"--pgdata={data_dir}",
        f"--username={SUPERUSER}",
        # The superuser has no password: no server lets anybody in by these rules. One that is run
        # without us lets in who may start it.
        "--auth-local=peer",
        "--auth-host=reject",
        "--encoding=UTF8",
        f"--locale={locale}",
        # States are made durable as files, once, when they are published.
        "--no-sync",
        *((f"--wal-segsize={_WAL_SEGMENT_MB}",) if major >= 11 else ()),
        *(("--no-instructions",) if major >= 14 else ()),
    ]


def refuses_locale(ended: subprocesses.Ended) -> bool:
    """Whether initdb failed because the C library does not know the locale."""
    return ended.exit_code != 0 and "invalid locale" in ended.stderr
