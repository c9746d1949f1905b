"""Scripts of fragments that change how psql reads on, made from a seed. Needs no other module.

Run by any Python with a directory of sources, a seed and a count, it prints what the scanner there
makes of so many scripts, as one digest.
"""

import hashlib
import random
import sys
from collections.abc import Iterator

_FRAGMENTS = {
    "quotes": (
        *("'", "''", "e'", "E'", "\\'", "\\", "\r", "\n", '"', "--", " ", "x", "1", "1a", "12.5e3"),
        *("$$", "$a$", "a", "a$", ".", "&", "U&'", "\\i m\n", "/*", "*/", "$", "$1", "_", ":", ";"),
    ),
    "copy": (
        *("copy", " ", " ", " ", "t", "(", ")", "from", "to", "stdin", "program", "'x'", "'", ";"),
        *("\n", "--", "/*", "*/", '"', "a", ".", "binary", ":x", "$1", "\\g", "\n\\.\n", ",", "||"),
        *("' || ", "%s", "stdout", "copy t from stdin;\n", "\\i m\n", "'copy '", "' from '"),
    ),
    "routine": (
        *(
            "create",
            " ",
            " ",
            "or",
            "replace",
            "function",
            "procedure",
            "begin",
            "end",
            "case",
            "(",
        ),
        *(")", ";", "\n", "$$", "$a$", "'", ":x", "\\", "/*x*/", "--x\n", "atomic", "f", "1"),
        *("copy t from stdin;\n1\n\\.\n", "create function f() begin atomic ", "\\i m\n"),
    ),
    "settings": (
        *("standard_conforming_strings", "client_encoding", "names", " ", " ", "=", "to", ",", "'"),
        *('"', "on", "off", "default", "sjis", "big5", "-", "_", "utf8", "show ", "\n", ";", "/*"),
        *("*/", "--", "wrapper", "file_fdw", "pg_ls_dir", "$$", "lo_import"),
    ),
    "commands": (
        *(
            "\\set ",
            "\\i ",
            "\\ir ",
            "\\echo ",
            "\\cd ",
            "\\lo_import ",
            "\\gset ",
            "\\copy ",
            "\\g ",
        ),
        *("'", '"', "`", ":x", ":'x'", ':"', ":{?x}", " ", " ", "\\", "\\\\", "a", "b", "\\n"),
        *(
            "\\101",
            "\\x41",
            "''",
            ";",
            "\n",
            "\r\n",
            "(",
            ")",
            "~",
            "~/",
            "-",
            "\v",
            "from ",
            "to ",
        ),
        *("t ", "stdin", "program ", ".", ",", "/dev/null", "|", "\\if :x\n", "\\endif\n", "\\q\n"),
        *("\\! x\n", ":HOST", ":'PORT'", "\\encoding ", "\\c ", "\\;", "\\:", "é", "\x80"),
    ),
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def scripts(seed: int, count: int) -> Iterator[bytes]:
    """So many scripts, the same for the same seed with every Python."""
    chance = random.Random(seed)
    everything = tuple(fragment for some in _FRAGMENTS.values() for fragment in some)
    choices = (*_FRAGMENTS.values(), everything)
    for _ in range(count):
        fragments = chance.choice(choices)
        length = chance.randint(1, 30)
        text = "".join(chance.choice(fragments) for _ in range(length)).encode("latin-1")
        if chance.random() < 0.1:
            text = text.upper()
        yield _BYTE_ORDER_MARK + text if chance.random() < 0.05 else text


def digest(seed: int, count: int) -> str:
    """Of all that the scanner finds in these scripts."""
    from pgstrata.kinds.psql.scanner import scan, scan_command

    hashed = hashlib.sha256()
    for text in scripts(seed, count):
        hashed.update(repr((text, scan(text), scan_command(text))).encode())
    return hashed.hexdigest()


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    print(digest(int(sys.argv[2]), int(sys.argv[3])))
