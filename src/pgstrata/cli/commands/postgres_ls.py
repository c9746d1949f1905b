"""``postgres ls``: list every PostgreSQL on this machine, and those that can be installed."""

import json
import sys
from typing import TYPE_CHECKING

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.postgres_options import found, home_of
from pgstrata.cli.text import columns, equipment, table
from pgstrata.domain.sizes import rounded
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.domain.image import Installation
    from pgstrata.runtime.packaged.pins import ServerPin

ABOUT = """
Lists every PostgreSQL found on this machine, where it comes from and which of the usual extensions
it lacks, followed by those that `pgstrata postgres install MAJOR` can download for this machine.
"""


def run(context: Context, given: Given) -> int:
    """Find every PostgreSQL, and list them."""
    if given.words:
        raise InvalidArgumentError(
            f'postgres ls takes no "{given.words[0]}"', remedy="write `pgstrata postgres ls`"
        )
    from pgstrata.runtime.packaged.pins import available

    home = home_of(context)
    installed = found(context, home)
    ours = {one.version for one in installed if one.bin_dir.is_relative_to(home.resolve())}
    fetchable = [pin for _, pin in sorted(available().items()) if pin.version not in ours]
    if context.json:
        print(json.dumps(_document(installed, fetchable)))
    else:
        width = None if given.has("--wide") else columns(sys.stdout)
        print(table(HEAD, _rows(installed, fetchable), width))
    return 0


HEAD = ("VERSION", "FROM", "EXTENSIONS", "DIRECTORY")


def _rows(
    installed: "tuple[Installation, ...]", fetchable: "list[ServerPin]"
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            one.version,
            one.source,
            f"unusable: {one.problem}" if one.problem else equipment(one.extensions, one.lacks),
            str(one.bin_dir),
        )
        for one in installed
    ]
    return rows + [
        (
            pin.version,
            "not installed",
            f"`pgstrata postgres install {pin.version.partition('.')[0]}`, "
            f"{rounded(pin.archive.size)}",
            "-",
        )
        for pin in reversed(fetchable)
    ]


def _document(
    installed: "tuple[Installation, ...]", fetchable: "list[ServerPin]"
) -> dict[str, object]:
    import msgspec

    return {
        "installed": msgspec.to_builtins(installed, enc_hook=str),
        "available": [
            {
                "version": pin.version,
                "major": int(pin.version.partition(".")[0]),
                "package": f"{pin.package}@{pin.package_version}",
                "size_bytes": pin.archive.size,
                "integrity": pin.archive.integrity,
            }
            for pin in fetchable
        ],
    }


COMMAND = Command(
    usage="postgres ls [--wide]",
    about=ABOUT,
    options=(Option(("--wide",), "do not cut lines to the terminal's width"),),
    examples=("pgstrata postgres ls", "pgstrata --output json postgres ls"),
    run=run,
)
