"""What is found in scripts; the lexer itself is also put beside psql's in the integration tests."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.kinds.psql.scanner import scan, scan_command
from pgstrata.kinds.psql.script import ChangeDirectory, DataFile, Include, Script, Text, is_inert


def _includes(text: bytes) -> list[str]:
    return [part.path for part in scan(text).segments if isinstance(part, Include)]


def _parts(text: bytes, script: Script) -> list[bytes]:
    return [text[part.start : part.end] for part in script.segments]


def _complaints(text: bytes) -> str:
    return "; ".join(problem.what for problem in scan(text).problems)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (b"\\i a.sql", ["a.sql"]),
        (b"\\i a.sql\n\\ir b.sql\n", ["a.sql", "b.sql"]),
        (b"\\include a.sql\n\\include_relative b.sql", ["a.sql", "b.sql"]),
        (b"select 1 \\i a.sql\n;", ["a.sql"]),
        (b"\\i a.sql;", ["a.sql"]),
        (b"\\i a.sql \\i b.sql", ["a.sql", "b.sql"]),
        (b"\\i a.sql\\\\ select 1; \\i b.sql", ["a.sql", "b.sql"]),
        (b"\\echo x\\i a.sql", ["a.sql"]),
        (b"\\i a.sql more words", ["a.sql"]),
        (b"\\i 'a b.sql'", ["a b.sql"]),
        (b"\\i 'it''s'", ["it's"]),
        (b"\\i 'a\\'b\\\\c\\x41\\101\\tz'", ["a'b\\cAA\tz"]),
        (b'\\i "a.sql"', ['"a.sql"']),
        (b"\\i 'a'b'c'", ["abc"]),
        (b"\\i 'a;';", ["a;"]),
        (b"\\i \xc3\xa9.sql", ["é.sql"]),
        (b"\\i\ta.sql\r\n", ["a.sql"]),
        (b"\\i a:.sql", ["a:.sql"]),
        (b"\xef\xbb\xbf\\i a.sql", ["a.sql"]),
        (b"-- \\i a.sql\n\\i b.sql", ["b.sql"]),
        (b"-- x\r\\i a.sql", ["a.sql"]),
        (b"select 1--\\i a.sql", []),
        (b"/* \\i a.sql */ \\i b.sql", ["b.sql"]),
        (b"/* /* */ \\i a.sql */ \\i b.sql", ["b.sql"]),
        (b"/*/ \\i a.sql */ \\i b.sql", ["b.sql"]),
        (b"select +/* \\i a.sql */ 1 \\i b.sql", ["b.sql"]),
        (b"select '\\i a.sql' \\i b.sql", ["b.sql"]),
        (b"select '\n\\i a.sql\n' \\i b.sql", ["b.sql"]),
        (b"select 'it''s \\i a.sql' \\i b.sql", ["b.sql"]),
        (b"select '\\' \\i b.sql", ["b.sql"]),
        (b"select E'\\' \\i a.sql' \\i b.sql", ["b.sql"]),
        (b"select xE'\\' \\i b.sql", ["b.sql"]),
        (b"select U&'\\' \\i b.sql", ["b.sql"]),
        (b'select "\\i a.sql" \\i b.sql', ["b.sql"]),
        (b'select U&"\\" \\i b.sql', ["b.sql"]),
        (b"select $$ \\i a.sql ' $$ \\i b.sql", ["b.sql"]),
        (b"select $a$ $$ \\i a.sql $b$ $a$ \\i b.sql", ["b.sql"]),
        (b"select $a$ $aa$a$ \\i b.sql", ["b.sql"]),
        (b"select a$$ \\i b.sql", ["b.sql"]),
        (b"select a$b$ \\i b.sql", ["b.sql"]),
        (b"select $1, $2 \\i b.sql -- $$", ["b.sql"]),
        (b"select $a \\i b.sql", ["b.sql"]),
        (b"select 'unclosed \n\\i a.sql", []),
        (b"select $$ unclosed \n\\i a.sql", []),
        (b"/* unclosed \n\\i a.sql", []),
        (b"select 1 \\; \\i a.sql", ["a.sql"]),
        (b"select :'x', :\"y\", a::text, b[1:2] \\i a.sql", ["a.sql"]),
        (b"\\echo 'unclosed \\i a.sql\n\\i b.sql", ["b.sql"]),
        (b"\\copy t to stdout \\i a.sql\n\\i b.sql", ["b.sql"]),
        (b"\\h copy \\i a.sql\n\\i b.sql", ["b.sql"]),
        (b"\\ifoo a.sql\n\\I a.sql\n\\i", []),
        (b"\\i 'unclosed\n", []),
        (b"copy t from stdin;\n\\i a.sql\n\\.\n\\i b.sql", ["b.sql"]),
        (b'COPY public.t (a, "b;") FROM stdin;\n\'\n\\.\n\\i b.sql', ["b.sql"]),
        (b"copy t from stdin with (format csv) ;\n'\n\\.\r\n\\i b.sql", ["b.sql"]),
        (b"copy t\nfrom -- where\n stdin\n; -- data\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (b"-- c\n/* d */ copy t from stdin;\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (b"copy t from stdin \\g\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (b"\\copy t from stdin\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (b"begin;\nselect 1;\n\\echo x\ncopy t from stdin;\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (
            b"create function f(a int) returns int begin atomic select 1; select case when $1 > 0"
            b" then 1 end; end;\ncopy t from stdin;\n'\n\\.\n\\i b.sql",
            ["b.sql"],
        ),
        (b"copy t from stdin;\n'\n\\.\nselect 1 \\g\n\\i b.sql", ["b.sql"]),
        (
            b"create or replace procedure p() language plpgsql as $$begin $a$ end$$;\n"
            b"create table t (begin int);\ncopy t (begin) from stdin;\n'\n\\.\n\\i b.sql",
            ["b.sql"],
        ),
        (b"copy t from stdin;\n \\.\n\\i a.sql", []),
        (b"/* /* ; */ */ copy t from stdin; -- /* /* */\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (b"copy t /* /* */ ; */ from /* ' /* */ */ stdin;\n'\n\\.\n\\i b.sql", ["b.sql"]),
        (b"copy t to stdout;\n\\i a.sql", ["a.sql"]),
        (b"copy (select 1) to stdout;\n\\i a.sql", ["a.sql"]),
        (b"select copy, fromage from x;\n\\i a.sql", ["a.sql"]),
        (b"insert into copy values (1);\n\\i a.sql", ["a.sql"]),
    ],
)
def test_includes_are_found_where_psql_carries_them_out(text: bytes, paths: list[str]) -> None:
    assert _includes(text) == paths
    assert _complaints(text) == ""


def test_an_include_says_where_it_is_and_how_its_path_is_meant() -> None:
    text = b"select 1;\n\n\\i a b\n\\ir 'c';\n"
    script = scan(text)
    assert script.segments == (
        Text(0, 11),
        Include(11, 15, "a", line=3, relative=False, optional=False),
        Text(15, 18),
        Include(18, 26, "c", line=4, relative=True, optional=False),
        Text(26, 27),
    )
    assert _parts(text, script) == [b"select 1;\n\n", b"\\i a", b" b\n", b"\\ir 'c';", b"\n"]


@pytest.mark.parametrize(
    ("text", "optional"),
    [
        (b"\\i a", [False]),
        (b"\\if :x\n\\i a\n\\endif\n\\i b", [True, False]),
        (b"\\if :x\n\\i a\n\\elif :y\n\\i b\n\\else\n\\i c\n\\endif", [True, True, True]),
        (b"\\if 1\n\\if 0\n\\i a\n\\endif\n\\i b\n\\endif\n\\i c", [True, True, False]),
        (b"\\i a\n\\q\n\\i b", [False, True]),
    ],
)
def test_an_include_that_psql_may_pass_by_is_optional(text: bytes, optional: list[bool]) -> None:
    found = [part.optional for part in scan(text).segments if isinstance(part, Include)]
    assert found == optional


@pytest.mark.parametrize(
    ("text", "path", "raw"),
    [
        (b"\\copy t from 'a b.csv' with csv", "a b.csv", b"'a b.csv'"),
        (b"\\copy t from a.csv csv header", "a.csv", b"a.csv"),
        (b"\\copy t from a.csv;", "a.csv", b"a.csv"),
        (b"\\copy s.t (a, \"b)\") FROM 'a.csv'", "a.csv", b"'a.csv'"),
        (b"\\copy \"from\" from 'it''s'", "it's", b"'it''s'"),
        (b"\\copy binary t from a.csv", "a.csv", b"a.csv"),
        (b"\\copy t from ':x'", ":x", b"':x'"),
        (b"\\copy t from 'a\\b'", "a\\b", b"'a\\b'"),
        (b"\\lo_import 'a.png' comment", "a.png", b"'a.png'"),
    ],
)
def test_data_files_are_found_by_their_paths(text: bytes, path: str, raw: bytes) -> None:
    script = scan(text)
    assert script.problems == ()
    [found] = [part for part in script.segments if isinstance(part, DataFile)]
    assert (found.path, text[found.start : found.end]) == (path, raw)


def test_a_change_of_directory_is_found() -> None:
    script = scan(b"\\cd sub\n\\cd\n")
    assert [part for part in script.segments if isinstance(part, ChangeDirectory)] == [
        ChangeDirectory(0, 7, "sub", 1),
        ChangeDirectory(8, 11, "~", 2),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"\\! date", r"\!"),
        (b"\\set x `date`", "backquotes"),
        (b"\\set ON_ERROR_STOP off", "ON_ERROR_STOP"),
        (b"\\unset ON_ERROR_STOP", "ON_ERROR_STOP"),
        (b"\\set :x 1", "a variable names"),
        (b"copy t from stdin;\n\\.\n\\g\n1\n", "repeat"),
        (b"copy t from stdin;\n\\.\n:x /* y */ \\g\n1\n", "repeat"),
        (b"create function f() begin atomic;copy t from stdin;\n\\i b\n;end;", "CREATE FUNCTION"),
        (b"create function f() begin $a ;copy t from stdin;\n\\.\n", "CREATE FUNCTION"),
        (b"\\i `ls`", "backquotes"),
        (b"\\g |cat", r"\g"),
        (b"select 1 \\gx out.txt", r"\gx"),
        (b"select 1 \\g (format=csv) out", r"\g"),
        (b"\\o out.txt", r"\o"),
        (b"\\out | cat", r"\out"),
        (b"\\o :file", r"\o"),
        (b"\\w out.sql", r"\w"),
        (b"\\write out.sql", r"\write"),
        (b"\\s out.sql", r"\s"),
        (b"\\copy t to 'out.csv'", "writes a file"),
        (b"\\copy t to program 'cat'", "program"),
        (b"\\copy t from program 'cat x'", "program"),
        (b"\\copy t from pstdin", "standard input"),
        (b"\\copy t form x", "not understood"),
        (b"\\copy t from 'a'b", "not understood"),
        (b"\\lo_export 1 out", r"\lo_export"),
        (b"\\i :x", "variables"),
        (b"\\i :'x'", "variables"),
        (b"\\i a/:x.sql", "variables"),
        (b'\\ir :"x"', "variables"),
        (b"\\cd :x", "variables"),
        (b"\\lo_import :x", "variables"),
        (b"\\i -", "standard input"),
        (b"\\i ~other/x.sql", "home"),
        (b"\\i \xff.sql", "UTF-8"),
        (b"\\if 1\n\\cd x\n\\endif", r"\cd"),
        (b"\\getenv x HOME", r"\getenv"),
        (b"\\setenv PGHOST x", r"\setenv"),
        (b"\\prompt x y", "terminal"),
        (b"\\password", "terminal"),
        (b"\\e", "terminal"),
        (b"\\ef f", "terminal"),
        (b"\\ev v", "terminal"),
        (b"\\edit", "terminal"),
        (b"\\c db user host", "another server"),
        (b"\\connect - - - 5433", "another server"),
        (b"\\c 'host=x'", "another server"),
        (b"\\c postgresql://x/y", "another server"),
        (b"\\c 'postgres://me:secret@/y'", "another server"),
        (b"\\c postgresql:///y?host=/tmp", "another server"),
        (b"\\connect -reuse-previous=on \"dbname='my-shop' host=x\"", "another server"),
        (b"\\connect -reuse-previous=on \"dbname='my-shop' options=-cx=y\"", "another server"),
        (b"\\connect -reuse-previous=on shop me - 5433", "another server"),
        (b'\\c "dbname=\'my-shop"', "another server"),
        (b"\\c service=x", "another server"),
        (b"\\c :db", "variable"),
        (b"\\set SINGLELINE on", "SINGLELINE"),
        (b"\\encoding SJIS", "SJIS"),
        (b"\\encoding :x", "encoding"),
        (b"set client_encoding = 'SJIS';", "sjis"),
        (b"set client_encoding to big5;", "big5"),
        (b"SET NAMES 'GBK';", "gbk"),
        (b"select set_config('client_encoding', 'Shift_JIS_2004', false);", "shift_jis_2004"),
        (b"set standard_conforming_strings = off;", "standard_conforming_strings"),
        (b"alter role x set standard_conforming_strings to 'off';", "standard_conforming_strings"),
        (b"select set_config('standard_conforming_strings', 'off', true)", "standard_conforming"),
        (b"select pg_read_file('x');", "pg_read_file"),
        (b"select \"pg_read_binary_file\"('x');", "pg_read_binary_file"),
        (b"select lo_import('x');", "lo_import"),
        (b"select pg_ls_dir('/x');", "pg_ls_dir"),
        (b"select (pg_stat_file('/x')).size;", "pg_stat_file"),
        (b"create server s foreign data wrapper file_fdw;", "file_fdw"),
        (b"create server s foreign data wrapper /* */\n\"file_fdw\" options (a 'b');", "file_fdw"),
        (b"do $$ begin perform pg_read_file('x'); end $$;", "pg_read_file"),
        (b"copy t from program 'date';", "program"),
        (b"copy t (a) from '/x';", "file of the server"),
        (b"COPY t\nTO /* */ '/x';", "file of the server"),
        (b"copy (select 1) to E'/x';", "file of the server"),
        (b"copy t from $$/x$$;", "file of the server"),
        (b"copy t from :'x';", "file of the server"),
        (b"copy \"a;b\" from program 'date';", "program"),
        (b"do $$ begin copy t from '/x'; end $$;", "file of the server"),
        (b"do $$ begin execute 'copy t from program ''date'''; end $$;", "program"),
        (b"do $$ begin execute format('copy %I from %L', a, b); end $$;", "file of the server"),
        (b"do $$ begin execute 'copy ' || t || ' from ' || f; end $$;", "file of the server"),
        (b"create function f() returns void as 'copy t to program ''x''' language sql", "program"),
        (b"\\set q 'copy t from program ''date'''", "program"),
        (b"do $$ begin copy (select 1) to program 'x'; end $$;", "program"),
        (b"copy t from stdin; select 1;\n\\.\n", "follows"),
        (b"select 1 \\; copy t from stdin;\n\\.\n", "FROM STDIN"),
        (b"copy t from stdin \\gset\n\\.\n", "follows"),
        (b"explain copy t from stdin;\n\\.\n", "FROM STDIN"),
        (b"\\if 1\ncopy t from stdin;\n\\.\n\\endif", r"inside \if"),
        (b"\\if 1\n\\copy t from stdin\n\\.\n\\endif", r"inside \if"),
        (b"copy t from 1a$$stdin;", "file of the server"),
        (b"copy $a$ from stdin;", "not understood"),
        (b"select 1a$$ \\i x $$;", "directly follows a number"),
        (b"select E'a'\r'b\\'';", "carriage return"),
        (b"\xef\xbb\xbf$$x$$", "byte order mark"),
        (b"select 1;\0", "NUL"),
        (b"\\echo a\vb", "vertical tab"),
    ],
)
def test_what_cannot_be_known_is_a_problem(text: bytes, named: str) -> None:
    problems = scan(b"select 0;\n" + text if named != "byte order mark" else text).problems
    assert any(named in problem.what for problem in problems), problems
    assert all(problem.what and problem.remedy for problem in problems)
    if named != "byte order mark":
        assert all(problem.line >= 2 for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        b"GRANT ALL ON FUNCTION pg_catalog.pg_ls_dir(text), pg_read_file(text) TO x;",
        b"/* x */ revoke all on function\npg_read_file(text) from public; select 1;",
        b'ALTER FUNCTION pg_catalog."pg_ls_dir"(text) OWNER TO x;\nalter routine lo_import cost 1;',
        b"DROP FUNCTION lo_import(text); drop procedure pg_stat_file;",
        b"comment on function f() is 'like pg_read_file, or copy t from ''/x''';",
        b"comment on table t is $$copy t to program 'x'$$;",
        b"security label on function pg_ls_dir(text) is 'x'",
        b"insert into t (a) values ('copy t from ''/x'''), ($$copy t to program 'x'$$);",
        b"select 'copy t from ''/x''' as a, (select 'pg_read' where 'copy t to ''x''' in ('y'));",
        b"do $$ begin -- copy t from '/x'\n null; /* pg_read_file('x') /* */ */ end $$;",
        b"create or replace function f() returns int language 'sql' as $a$ -- pg_ls_dir\n $a$;",
    ],
)
def test_what_only_looks_as_if_it_read_a_file_is_no_problem(text: bytes) -> None:
    assert scan(b"select 1;\n\\echo x\n" + text).problems == ()
    assert scan(text + b"\n\\g\nselect 1;").problems == ()
    assert scan_command(text).problems == ()


@pytest.mark.parametrize(
    "text",
    [
        b"alter function pg_ls_dir(text) rename to innocent;",
        b"alter function pg_ls_dir(text) \\echo x\n rename to innocent;",
        b"alter function f() set client_encoding = 'sjis';",
        b"create cast (a as b) with function pg_read_file(text);",
        b"create operator + (function = pg_ls_dir, rightarg = text);",
        b"select 1 as \\echo x\ngrant, pg_read_file('x');",
        b"comment on function f() is 'x'; select pg_ls_dir('x');",
        b"insert into t values (f('copy t from ''/x'''));",
        b"insert into t values (\"F\" /* */ (('copy t from ''/x''')));",
        b"insert into t values (\"values\"('copy t from ''/x'''));",
        b"insert into t values (:f('copy t from ''/x'''));",
        b"insert into t values (f( \\echo x\n'copy t from ''/x'''));",
        b"insert into t values ('copy t from ''/x''') returning a \\gexec\n",
        b"select 'copy t from ''/x''';\n\\gexec\n",
        b"select 'copy t from ''/x''' \\; select 1;",
        b"select f(array['copy t from ''/x''']);",
        b"update t set a = 'copy t from ''/x''';",
        b"update pg_settings set setting = 'off' where name = 'standard_conforming_strings';",
        b"with u as (update pg_settings set setting = 'standard_conforming_strings') select 1;",
        b"insert into pg_db_role_setting values (0, 0, '{standard_conforming_strings=off}');",
        b"insert into \"pg_db_role_setting\" values (0, 0, '{standard_conforming_strings=off}');",
        b"do $$ begin -- copy t from '/x'\n copy t from '/x'; end $$;",
        b"do $$ begin execute '-- ' || e'\\n copy t from ''/x'''; end $$;",
        b"do language plpython3u $$ 1 --plpy.execute(\"copy t from '/x'\") $$;",
        b"create function f() returns int as $$ 1 --copy t from '/x'\n$$ language 'plpython3u';",
        b"create table t (a text default 'copy t from ''/x''');",
    ],
)
def test_what_may_read_a_file_is_a_problem_still(text: bytes) -> None:
    [problem] = scan(text).problems
    assert re.search("file of the server|client encoding|standard_conforming", problem.what)


@pytest.mark.parametrize(
    "text",
    [
        b"\\o /dev/null\n\\o\n\\g\n\\gx\n\\g (format=csv)\n\\copy t to '/dev/null'\n\\s",
        b"\\c shop\n\\connect shop owner\n\\c - owner\n\\c",
        b"\\connect -reuse-previous=on \"dbname='my-shop'\"\n\\connect -reuse-previous=off x - - -",
        b"\\c \"user = 'a b' dbname=my\\-shop\"\n\\c postgresql://me@/my%2Dshop\n\\c postgres://",
        b"\\encoding UTF8\nset client_encoding = 'UTF8'; set names 'latin1';",
        b"SET standard_conforming_strings = on; show standard_conforming_strings;",
        b"\\watch 1\n\\gexec\n\\crosstabview\n\\d\n\\timing\n\\unset x\n\\setenv PAGER less",
        b"-- copy t from program 'date'\n/* pg_read_file('x') */ select 1;",
        b"create extension file_fdw;",
        b"-- copy the rows from 'old'\nselect 'the copy came from \"old\", to ''us''';",
        b"select extract(year from '2020-01-01'::date), trim(both from 'x');",
        b"select 'echo `date`', \"`\", 1 `op` 2;",
        b"copy t from stdin;\npg_read_file('x'), copy t from program 'x' \\! date\n\\.\n",
        b"\\restrict abc\nselect 1;\n\\unrestrict abc",
        b"insert into names values ('sjis');",
        b"copy t to stdout; select pg_column_size('x');",
    ],
)
def test_what_can_be_known_is_no_problem(text: bytes) -> None:
    assert scan(text).problems == ()


def test_a_problem_says_in_which_line_it_is() -> None:
    script = scan(b"select 1;\n\\! date\n\ncopy t from\n'/x';\nselect\npg_read_file('x');")
    assert [problem.line for problem in script.problems] == [2, 4, 7]


def test_variables_that_may_hold_anything_are_bound() -> None:
    script = scan(b"\\set a 1\n\\set b 'x\\''\n\\set c :d\nselect 1 \\gset p_\n\\set e '\\\\i x'")
    assert [(bound.name, bound.prefix) for bound in script.bindings] == [
        ("b", False),
        ("c", False),
        ("p_", True),
        ("e", False),
    ]


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        (b"my-shop me;", set()),
        (b"my;shop - ", {"DBNAME"}),
        (b'- "it\'s me"', {"USER"}),
        (b"-reuse-previous=on \"dbname='my;shop' user='o\\'brien'\"", {"DBNAME", "USER"}),
        (b"'dbname=my-shop' -", set()),
        (b"postgresql://a%3Bb@/shop", {"USER"}),
    ],
)
def test_a_database_or_user_with_an_odd_name_is_bound(words: bytes, bound: set[str]) -> None:
    script = scan(b"\\connect " + words)
    assert script.problems == ()
    assert {one.name for one in script.bindings} == bound


def test_variables_put_in_without_quotes_are_interpolated() -> None:
    script = scan(b"select :a, :'b', :\"c\", d::text, ':e', :a;\ncopy :f from stdin;\n:g\n\\.\n:h")
    assert [use.name for use in script.interpolations] == ["a", "f", "h"]


@pytest.mark.parametrize("value", ["", "on", "10", "app_user", "a, b", "f(x, y)", "now() - 1"])
def test_a_plain_value_is_inert(value: str) -> None:
    assert is_inert(value)


@pytest.mark.parametrize(
    "value",
    ["\\i x", "it's", '"', "$$", "a;", "(", ")(", "--", "/*", "copy", "x from y", "STDIN", ":x"],
)
def test_a_value_that_changes_how_psql_reads_on_is_not_inert(value: str) -> None:
    assert not is_inert(value)


@given(st.binary(max_size=200))
def test_a_scan_never_fails_and_loses_nothing(text: bytes) -> None:
    assert b"".join(_parts(text, scan(text))) == text
    assert b"".join(_parts(text, scan_command(text))) == text


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "\\",
                    "'",
                    '"',
                    "$$",
                    "$a$",
                    "E'",
                    "\\i x",
                    "copy t from stdin;\n",
                    "\\.\n",
                    "\n",
                ),
                *(
                    "/*",
                    "*/",
                    "--",
                    ":x",
                    "\\copy t from x\n",
                    "\\cd y ",
                    "\\if 1\n",
                    "1a",
                    "`",
                    "a",
                ),
            ]
        )
    )
)
def test_a_scan_of_soup_loses_nothing(words: list[str]) -> None:
    text = "".join(words).encode()
    assert b"".join(_parts(text, scan(text))) == text


def test_a_command_that_starts_with_a_backslash_is_that_command_alone() -> None:
    script = scan_command(b"\\i a.sql \\i b.sql")
    assert [part.path for part in script.segments if isinstance(part, Include)] == ["a.sql"]


def test_a_command_of_sql_has_no_backslash_commands_and_no_variables() -> None:
    script = scan_command(b"select ':x', :x \\i a.sql")
    assert [type(part) for part in script.segments] == [Text]
    assert script.interpolations == ()


@pytest.mark.parametrize(
    "text", [b"copy t from program 'x'", b"copy t to '/x'", b"\\! date", b"a\0b"]
)
def test_a_command_is_searched_for_what_cannot_be_known(text: bytes) -> None:
    assert scan_command(text).problems


@pytest.mark.parametrize(
    "text", [b"select :'PORT';", b"select :PORT;", b'select 1 as :"HOST";', b"\\if :{?PORT}"]
)
def test_what_only_this_one_server_knows_is_refused(text: bytes) -> None:
    [problem] = scan(b"select 1;\n" + text).problems
    assert problem.line == 2
    assert re.search("HOST|PORT", problem.what)


def test_a_variable_of_ones_own_may_be_called_port() -> None:
    assert scan(b"select :'port', :'PORTAL', ':PORTS';").problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"copy t from stdin;\n\\! date\n\\.\n", r"\! may be read as a command"),
        (b"copy t from stdin;\na\t\\i x\n\\.\n", r"\i may be read as a command"),
        (b"select '\\copy t from ''x'' ';", r"\copy may be read as a command"),
        (b"-- \\w out\nselect 1;", r"\w may be read as a command"),
        (b"\\echo a \\\\ select '\n\\setenv A b\n';", r"\setenv may be read as a command"),
        (b"copy t from stdin;\ncopy u from program 'x';\n\\.\n", "COPY runs a program"),
        (b"insert into t values ('copy u from ''/f'' ');", "COPY"),
    ],
)
def test_what_may_be_read_after_an_error_counts_as_read(text: bytes, problem: str) -> None:
    assert not scan(text).problems
    found = "; ".join(one.what for one in scan(text, goes_on=True).problems)
    assert problem in found


@pytest.mark.parametrize(
    "text",
    [
        b"copy t from stdin;\na\\tb\\N\\\\x41\\n\n\\.\nselect 1;",
        b"create table t (a text check (a ~ '^\\w+\\s*\\d$'), b text default E'\\\\!');",
        b"\\c other\n\\set x 1\nselect :x;",
        b"\\set ON_ERROR_STOP off\n\\unset ON_ERROR_STOP\n",
        b"\\restrict abc\nselect 1;\n\\unrestrict abc\n",
    ],
)
def test_what_harms_in_no_reading_is_accepted_when_psql_goes_on(text: bytes) -> None:
    assert scan(text, goes_on=True).problems == ()


@given(text=st.binary(max_size=200))
def test_the_parts_are_the_same_whether_psql_goes_on_or_not(text: bytes) -> None:
    assert scan(text, goes_on=True).segments == scan(text).segments
