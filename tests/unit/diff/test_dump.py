"""What pg_dump writes is read as objects; what does not matter is left out."""

from pgstrata.diff import dump as reading
from pgstrata.diff.differences import differences
from pgstrata.diff.dump import Objects

HEAD = """--
-- PostgreSQL database dump
--

\\restrict {token}

-- Dumped from database version {version}
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

"""
TAIL = """
--
-- PostgreSQL database dump complete
--

\\unrestrict {token}

"""
HEAP = "SET default_table_access_method = heap;\n\n"


def piece(kind: str, name: str, text: str, *, schema: str = "public", owner: str = "me") -> str:
    header = f"-- Name: {name}; Type: {kind}; Schema: {schema}; Owner: {owner}"
    return f"--\n{header}\n--\n\n{text}\n\n\n"


TABLE = piece("TABLE", "t", "CREATE TABLE public.t (\n    i integer\n);")
INDEX = piece("INDEX", "t_i", "CREATE INDEX t_i ON public.t USING btree (i);")
COMMENT = piece("COMMENT", "COLUMN t.i", "COMMENT ON COLUMN public.t.i IS 'it';", owner="")
SCHEMA = piece("SCHEMA", "s; Type: x", "CREATE SCHEMA s;", schema="-")


def dump(*pieces: str, token: str = "a1", version: str = "15.1") -> str:
    given = {"token": token, "version": version}
    return HEAD.format(**given) + "".join(pieces) + TAIL.format(**given)


def objects_in(text: str, major: int = 18) -> Objects:
    return reading.objects_in(text, major)


def test_objects_are_called_what_they_are() -> None:
    assert objects_in(dump(TABLE, HEAP, INDEX, COMMENT, SCHEMA)) == {
        "TABLE public.t": "CREATE TABLE public.t (\n    i integer\n);",
        "INDEX public.t_i": "CREATE INDEX t_i ON public.t USING btree (i);",
        "COMMENT ON COLUMN public.t.i": "COMMENT ON COLUMN public.t.i IS 'it';",
        "SCHEMA s; Type: x": "CREATE SCHEMA s;",
    }
    assert objects_in(dump()) == objects_in("") == {}


def test_neither_order_nor_version_nor_owner_in_a_comment_matter() -> None:
    one = dump(TABLE, HEAP, INDEX, COMMENT)
    other = dump(INDEX.replace("Owner: me", "Owner: you"), COMMENT, HEAP, TABLE, token="b2")
    assert objects_in(one) == objects_in(other.replace("15.1", "18.4"))


def test_what_looks_like_the_end_or_a_setting_in_a_body_is_kept() -> None:
    body = f"$$\nSET default_tablespace = 'x';\n{TAIL}$$;"
    found = objects_in(dump(piece("FUNCTION", "f()", f"CREATE FUNCTION f() AS {body}"), TABLE))
    assert found["FUNCTION public.f()"].endswith(body)
    assert "TABLE public.t" in found


def test_objects_with_one_name_are_compared_together() -> None:
    one, two = (piece("RULE", "r", f"CREATE RULE {word};") for word in ("one", "two"))
    assert objects_in(dump(one, two)) == objects_in(dump(two, one))
    assert objects_in(dump(one, two)) != objects_in(dump(one, one))


def test_differences_are_told_object_by_object() -> None:
    wider = TABLE.replace("i integer", "i integer,\n    j text")
    found = differences(objects_in(dump(TABLE, INDEX)), objects_in(dump(COMMENT, wider)))
    assert found.added == ("COMMENT ON COLUMN public.t.i",)
    assert found.removed == ("INDEX public.t_i",)
    assert found.changed == ("TABLE public.t",)
    assert found.diff.splitlines() == [
        "--- /dev/null",
        "+++ b/COMMENT ON COLUMN public.t.i",
        "@@ -0,0 +1 @@",
        "+COMMENT ON COLUMN public.t.i IS 'it';",
        "--- a/INDEX public.t_i",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-CREATE INDEX t_i ON public.t USING btree (i);",
        "--- a/TABLE public.t",
        "+++ b/TABLE public.t",
        "@@ -1,3 +1,4 @@",
        " CREATE TABLE public.t (",
        "-    i integer",
        "+    i integer,",
        "+    j text",
        " );",
    ]


def test_what_is_alike_has_no_differences() -> None:
    assert differences(objects_in(dump(TABLE)), objects_in(dump(TABLE))) == ((), (), (), "")


def test_a_huge_object_is_shown_whole() -> None:
    before: Objects = {"FUNCTION f()": "\n".join(f"{n}" for n in range(50_000))}
    after: Objects = {"FUNCTION f()": before["FUNCTION f()"] + "\nmore"}
    lines = differences(before, after).diff.splitlines()
    assert len(lines) == 3 + 50_000 + 50_001
    assert lines[2] == "@@ -1,50000 +1,50001 @@"


def test_what_a_version_has_from_the_beginning_is_no_difference() -> None:
    granted = "REVOKE USAGE ON SCHEMA public FROM PUBLIC;\nGRANT ALL ON SCHEMA public TO PUBLIC;"
    acl = piece("ACL", "SCHEMA public", granted, schema="-")
    assert objects_in(dump(acl), 14) == {}
    assert objects_in(dump(acl.replace("ALL", "USAGE")), 14) != {}
    assert objects_in(dump(acl), 15) == {"ACL ON SCHEMA public": granted}
