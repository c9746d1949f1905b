"""Reads pg_dump's text of a schema as objects, whatever their order. Pure.

pg_dump writes a comment above each object, which says what it is. Everything else that depends on
the time, the version or the order is left out.
"""

import re
from collections import defaultdict
from typing import Final

Objects = dict[str, str]
"""The statements that make objects, by what each is called, such as ``TABLE public.t``."""

_HEADER: Final = re.compile(
    r"^--\n-- Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*?); Owner: .*\n"
    r"--\n",
    re.MULTILINE,
)
_END: Final = "\n--\n-- PostgreSQL database dump complete\n--\n"

_FOR_THE_NEXT: Final = re.compile(
    r"(?:\s*^SET default_(?:tablespace|table_access_method|with_oids) = .*;$)+\s*\Z", re.MULTILINE
)
"""What pg_dump sets before an object, which is the end of the one before it."""


_ABOUT_OTHERS: Final = ("ACL", "COMMENT", "SECURITY LABEL")
"""These are named after the object that they are about, with its type: ``TABLE t``."""


_PUBLIC_CHANGED: Final = 15
"""The first major in which not everybody may create objects in the schema ``public``."""

_PUBLIC_BEFORE: Final = {
    "SCHEMA public": """
-- *not* creating schema, since initdb creates it


ALTER SCHEMA public OWNER TO postgres;
""".strip(),
    "ACL ON SCHEMA public": """
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO PUBLIC;
""".strip(),
}
"""How a later pg_dump says that this is as it was before."""


def objects_in(dump: str, major: int) -> Objects:
    """All objects in a dump of a schema. Some that are called the same count as one.

    ``major``: the server's. What its databases have from the beginning is left out.
    """
    end_of_all = dump.rfind(_END)
    text = dump if end_of_all < 0 else dump[:end_of_all]
    found: defaultdict[str, list[str]] = defaultdict(list)
    headers = list(_HEADER.finditer(text))
    ends = (*(header.start() for header in headers[1:]), len(text))
    for header, end in zip(headers, ends, strict=False):  # there may be no object at all
        statements = _FOR_THE_NEXT.sub("", text[header.end() : end]).strip()
        found[_called(header)].append(statements)
    objects = {name: "\n\n".join(sorted(texts)) for name, texts in found.items()}
    usual = _PUBLIC_BEFORE if major < _PUBLIC_CHANGED else {}
    return {name: text for name, text in objects.items() if usual.get(name) != text}


def _called(header: re.Match[str]) -> str:
    kind, name = header["type"], header["name"]
    if kind in _ABOUT_OTHERS:
        of, _, name = name.partition(" ")
        kind = f"{kind} ON {of}"
    schema = "" if header["schema"] == "-" else f"{header['schema']}."
    return f"{kind} {schema}{name}"
