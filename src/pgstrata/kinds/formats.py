"""What people give in place of a script: dumps, compressed files, other encodings.

The command line imports this too, so it needs only the standard library.
"""

import re
from typing import NamedTuple

BEGINNING = 512
"""How many bytes tell a format."""


class Format(NamedTuple):
    """A format that is no script."""

    what: str
    """What such a file is: ``it is ...``."""
    converter: str
    """The command that prints a script, if a file's name is added."""
    streams: bool = True
    """Whether it reads standard input without one."""


_FORMATS = (
    (rb"PGDMP[\x00-\x1f]", Format("a dump in pg_dump's custom format", "pg_restore -f -")),
    (rb"toc\.dat\0.{249}ustar", Format("a dump in pg_dump's tar format", "pg_restore -f -")),
    (rb".{257}ustar", Format("a tar archive", "tar -xOf", streams=False)),
    (rb"\x1f\x8b", Format("compressed with gzip", "gunzip -c")),
    (rb"\x28\xb5\x2f\xfd", Format("compressed with zstd", "zstd -dc")),
    (rb"\xfd7zXZ\0", Format("compressed with xz", "xz -dc")),
    (rb"BZh[1-9]1AY&SY", Format("compressed with bzip2", "bzip2 -dc")),
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
