"""What people give in place of a script: dumps, compressed files, other encodings.

The command line imports this too, so it needs only the standard library.
"""

import re
from typing import Literal, NamedTuple

BEGINNING = 512
"""How many bytes tell a format."""


Packing = Literal["gzip", "zstd", "xz", "bzip2"]
"""Compressions that scripts are unpacked from."""


class Format(NamedTuple):
    """A format that is no script."""

    what: str
    """What such a file is: ``it is ...``."""
    converter: str
    """The command that prints a script, if a file's name is added."""
    streams: bool = True
    """Whether it reads standard input without one."""
    is_dump: bool = False
    """Whether pg_restore restores it."""
    packing: Packing | None = None
    """How a script in it is compressed, if it can be unpacked."""


_RESTORED = ("pg_restore -f -", True, True)

DIRECTORY = Format("a dump in pg_dump's directory format", *_RESTORED)
"""A directory of files, of which one is ``toc.dat``."""

TAR = Format("a dump in pg_dump's tar format", *_RESTORED)

_FORMATS = (
    (rb"PGDMP(?:[\x00-\x1f]|\Z)", Format("a dump in pg_dump's custom format", *_RESTORED)),
    (rb"toc\.dat\0.{249}ustar", TAR),
    (rb".{257}ustar", Format("a tar archive", "tar -xOf", streams=False)),
    (rb"\x1f\x8b", Format("compressed with gzip", "gunzip -c", packing="gzip")),
    (rb"\x28\xb5\x2f\xfd", Format("compressed with zstd", "zstd -dc", packing="zstd")),
    (rb"\xfd7zXZ\0", Format("compressed with xz", "xz -dc", packing="xz")),
    (rb"BZh[1-9]1AY&SY", Format("compressed with bzip2", "bzip2 -dc", packing="bzip2")),
    (rb"\x04\x22\x4d\x18", Format("compressed with lz4", "lz4 -dc")),
    (rb"PK\x03\x04", Format("a zip archive", "unzip -p", streams=False)),
    *(
        (pattern, Format(encoding, f"iconv -f {encoding} -t UTF-8"))
        for pattern, encoding in (
            (rb"\xff\xfe\0\0|\0\0\xfe\xff", "UTF-32"),
            (rb"(?:\xff\xfe|\xfe\xff)(?=.*\0)", "UTF-16"),
            (rb"(?:[^\0]\0){4}", "UTF-16LE"),
            (rb"(?:\0[^\0]){4}", "UTF-16BE"),
        )
    ),
)


def recognise(beginning: bytes) -> Format | None:
    """The format of a file that begins like this; None if it may be a script."""
    found = (form for pattern, form in _FORMATS if re.match(pattern, beginning, re.DOTALL))
    return next(found, None)
