"""What a step's identity covers, driven through the kind."""

import asyncio
import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InputChangedError, InvalidArgumentError, UncacheableError
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memory import MemorySources

KIND = PsqlRecipe()
LOCAL = LocalTree()


def _write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _request(directory: Path, *args: str, stdin: str | None = None) -> PrepareRequest:
    return PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        work_dir=str(directory),
        fields={"psql_args": args},
        stdin=stdin,
    )


def _steps(directory: Path, *args: str, stdin: str | None = None) -> tuple[Step, ...]:
    return asyncio.run(KIND.steps(_request(directory, *args, stdin=stdin), LOCAL))


def _digest(directory: Path, *args: str, stdin: str | None = None) -> str:
    [step] = _steps(directory, *args, stdin=stdin)
    return step.digest


def _names(step: Step, directory: Path) -> list[str]:
    return [str(Path(one.name).relative_to(directory)) for one in step.inputs]


TREE = {
    "main.sql": "select 1;\n\\i sub/a.sql\n\\copy t from 'data.csv' csv\n",
    "sub/a.sql": "\\ir b.sql\nselect 'a';\n",
    "sub/b.sql": "\\if :x\n\\ir c.sql\n\\endif\n\\lo_import sub/blob\n",
    "sub/c.sql": "select 'c';\n",
    "sub/blob": "\x00\x01",
    "data.csv": "1,2\n",
}


def test_every_file_that_is_read_is_an_input(tmp_path: Path) -> None:
    _write(tmp_path, TREE)
    [step] = _steps(tmp_path, "-f", "main.sql")
    assert sorted(_names(step, tmp_path)) == sorted(TREE)


DUMP = """\\restrict {0}
create table t (x text);
copy t from stdin;
\\\\restrict {1}
\\.
\\unrestrict {2}
"""


def test_the_keys_of_a_dump_do_not_count(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": DUMP.format("k3Y", "x", "k3Y"), "b.sql": DUMP.format("k", "x", "k")})
    assert _digest(tmp_path, "-f", "a.sql") == _digest(tmp_path, "-f", "b.sql")
    twice = ("\\restrict {0}\n\\unrestrict {0}\n", "\\restrict {1}\n\\unrestrict {1}\n")
    _write(tmp_path, {"c.sql": "".join(twice).format("a", "b")})
    _write(tmp_path, {"d.sql": "".join(twice).format("e", "f")})
    assert _digest(tmp_path, "-f", "c.sql") == _digest(tmp_path, "-f", "d.sql")


@pytest.mark.parametrize(
    "other",
    [
        DUMP.format("k", "y", "k"),
        DUMP.format("k", "x", "l"),
        DUMP.format("l", "x", "k"),
        DUMP.format("k'", "x", "k'"),
        DUMP.format(":k", "x", ":k"),
        DUMP.format("k", "x", "k").replace("\\unrestrict k\n", ""),
        DUMP.format("k", "x", "k").replace("\\restrict k\n", ""),
        DUMP.format("k", "x", "k") + "\\restrict k\n\\unrestrict k\n",
    ],
)
def test_whether_keys_are_there_and_the_same_counts(tmp_path: Path, other: str) -> None:
    _write(tmp_path, {"a.sql": DUMP.format("k", "x", "k"), "b.sql": other})
    assert _digest(tmp_path, "-f", "a.sql") != _digest(tmp_path, "-f", "b.sql")


@pytest.mark.parametrize(
    ("one", "other"), [("restrict {0}", "{0}"), ("restrict {0}\n\\i c.sql", "unrestrict {0}")]
)
def test_a_key_whose_other_half_is_not_in_its_script_counts(
    tmp_path: Path, one: str, other: str
) -> None:
    for name, key in (("a.sql", "k"), ("b.sql", "l")):
        _write(tmp_path, {"c.sql": "", name: f"\\{one.format(key)}\nselect '{other.format(key)}';"})
    assert _digest(tmp_path, "-f", "a.sql") != _digest(tmp_path, "-f", "b.sql")


@pytest.mark.parametrize("changed", sorted(TREE))
def test_a_change_in_any_file_changes_the_digest(tmp_path: Path, changed: str) -> None:
    _write(tmp_path, TREE)
    before = _digest(tmp_path, "-f", "main.sql")
    _write(tmp_path, {changed: TREE[changed] + " "})
    assert _digest(tmp_path, "-f", "main.sql") != before
    _write(tmp_path, {changed: TREE[changed]})
    assert _digest(tmp_path, "-f", "main.sql") == before


def test_names_and_places_of_files_leave_the_digest_alone(tmp_path: Path) -> None:
    _write(tmp_path / "one", TREE)
    moved = {
        "x.sql": "select 1;\n\\include 'y z.sql'\n\\copy t from other.csv csv\n",
        "y z.sql": "\\i sub/x/b.sql\nselect 'a';\n",
        "sub/x/b.sql": "\\if :x\n\\i c\n\\endif\n\\lo_import 'x'\n",
        "c": TREE["sub/c.sql"],
        "x": TREE["sub/blob"],
        "other.csv": TREE["data.csv"],
    }
    _write(tmp_path / "two", moved)
    assert _digest(tmp_path / "one", "-f", "main.sql") == _digest(tmp_path / "two", "-f", "x.sql")


def test_an_include_is_not_its_text_in_place(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "\\i b.sql", "b.sql": "select 1;", "c.sql": "select 1;"})
    assert _digest(tmp_path, "-f", "a.sql") != _digest(tmp_path, "-f", "c.sql")


def test_text_is_not_moved_across_the_end_of_an_include(tmp_path: Path) -> None:
    _write(tmp_path / "1", {"a.sql": "\\i b.sql\nx", "b.sql": "y"})
    _write(tmp_path / "2", {"a.sql": "\\i b.sql\n", "b.sql": "yx"})
    _write(tmp_path / "3", {"a.sql": "\\i b.sql\n\\i c.sql\n", "b.sql": "y", "c.sql": "x"})
    assert len({_digest(tmp_path / name, "-f", "a.sql") for name in "123"}) == 3


def test_standard_input_is_a_script_like_any_other(tmp_path: Path) -> None:
    _write(tmp_path, TREE)
    text = TREE["main.sql"]
    [step] = _steps(tmp_path, "-f", "-", stdin=text)
    assert step.digest == _digest(tmp_path, "-f", "main.sql")
    assert step.stdin == text
    assert step.args[-2:] == ("-f", "-")


def test_a_command_is_not_a_script_with_the_same_text(tmp_path: Path) -> None:
    assert _digest(tmp_path, "-c", "x") != _digest(tmp_path, "-f", "-", stdin="x")


def test_a_command_can_include_a_file(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "select 1;"})
    before = _digest(tmp_path, "-c", "\\i a.sql")
    _write(tmp_path, {"a.sql": "select 2;"})
    assert _digest(tmp_path, "-c", "\\i a.sql") != before


def test_a_relative_include_starts_at_its_own_script(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {"m.sql": "\\ir a/b.sql", "a/b.sql": "\\ir c.sql\n\\i c.sql", "a/c.sql": "1", "c.sql": "2"},
    )
    [step] = _steps(tmp_path, "-f", "m.sql")
    assert _names(step, tmp_path) == ["m.sql", "a/b.sql", "a/c.sql", "c.sql"]


def test_a_relative_include_in_standard_input_starts_at_the_working_directory(
    tmp_path: Path,
) -> None:
    _write(tmp_path, {"a.sql": "1"})
    for step in (
        *_steps(tmp_path, "-f", "-", stdin="\\ir a.sql"),
        *_steps(tmp_path, "-c", r"\ir a.sql"),
    ):
        assert _names(step, tmp_path) == ["a.sql"]


def test_a_change_of_directory_moves_what_follows(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "m.sql": "\\i sub/cd.sql\n\\i a.sql\n\\copy t from d.csv\n\\ir a.sql\n",
            "sub/cd.sql": "\\cd sub\n\\ir cd.sql2\n",
            "sub/sub/cd.sql2": "3",
            "sub/a.sql": "1",
            "sub/d.csv": "2",
            "a.sql": "4",
        },
    )
    [step] = _steps(tmp_path, "-f", "m.sql")
    assert _names(step, tmp_path) == [
        *("m.sql", "sub/cd.sql", "sub/sub/cd.sql2", "sub/a.sql", "sub/d.csv", "a.sql")
    ]


def test_a_tilde_is_the_home_that_the_password_file_has(tmp_path: Path) -> None:
    home = pwd.getpwuid(os.geteuid()).pw_dir
    with pytest.raises(InvalidArgumentError, match=f"{home}/no/such.sql does not exist"):
        _steps(tmp_path, "-c", "\\i ~/no/such.sql")


def test_a_missing_include_is_refused_and_says_where_it_is_asked_for(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "\n\\i b.sql", "b.sql": "\\i none.sql"})
    with pytest.raises(InvalidArgumentError) as refused:
        _steps(tmp_path, "-f", "a.sql")
    assert refused.value.message == f"b.sql:1: {tmp_path}/none.sql does not exist"
    assert refused.value.remedy


@pytest.mark.parametrize("text", ["\\if :x\n\\i b.sql\n\\endif\n", "\\q\n\\copy t from b.sql\n"])
def test_what_psql_may_pass_by_can_be_missing_and_counts_when_it_appears(
    tmp_path: Path, text: str
) -> None:
    _write(tmp_path, {"a.sql": text})
    [without] = _steps(tmp_path, "-f", "a.sql")
    asyncio.run(LOCAL.check_unchanged(without.inputs))
    _write(tmp_path, {"b.sql": ""})
    with pytest.raises(InputChangedError, match=r"b\.sql"):
        asyncio.run(LOCAL.check_unchanged(without.inputs))
    assert _digest(tmp_path, "-f", "a.sql") != without.digest


def test_a_file_below_an_optional_include_can_be_missing_too(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "\\if :x\n\\i b.sql\n\\endif\n", "b.sql": "\\i none.sql"})
    [step] = _steps(tmp_path, "-f", "a.sql")
    assert _names(step, tmp_path) == ["a.sql", "b.sql", "none.sql"]


def test_a_circle_of_includes_is_refused_with_its_links(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "\\ir b.sql", "b.sql": "\\i a.sql"})
    with pytest.raises(InvalidArgumentError, match=r"itself: .*a\.sql > .*b\.sql > a\.sql"):
        _steps(tmp_path, "-f", "a.sql")


def test_includes_without_end_are_refused(tmp_path: Path) -> None:
    doubling = {f"{n}.sql": f"\\i {n + 1}.sql\n\\i {n + 1}.sql\n" for n in range(16)}
    _write(tmp_path, {**doubling, "16.sql": ""})
    with pytest.raises(InvalidArgumentError, match="one include too many"):
        _steps(tmp_path, "-f", "0.sql")


@pytest.mark.parametrize("what", ["\\i pipe", "\\copy t from pipe", "\\i sub"])
def test_what_is_no_regular_file_is_refused_by_name(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    with pytest.raises(InvalidArgumentError, match=r"^-c:1: .* is not a regular file"):
        _steps(tmp_path, "-c", what)


def test_a_path_that_psql_reads_otherwise_than_the_system_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, {"real/deep/x": "", "real/a.sql": "1", "a.sql": "2"})
    (tmp_path / "link").symlink_to("real/deep")
    with pytest.raises(InvalidArgumentError, match="symbolic link"):
        _steps(tmp_path, "-c", "\\i link/../a.sql")


def test_variables_and_the_single_transaction_are_part_of_the_digest(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "1"})
    variants = [
        *([], ["-1"], ["-v", "a=1"], ["-v", "a=2"], ["-v", "a="], ["-v", "a"], ["-v", "b=1"]),
        ["-v", "a=1", "-v", "b=1"],
    ]
    assert len({_digest(tmp_path, *flags, "-f", "a.sql") for flags in variants}) == len(variants)


def test_what_only_changes_the_output_is_not_part_of_the_digest(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "1"})
    plain = _digest(tmp_path, "-v", "a=1", "-1", "-f", "a.sql")
    [step] = _steps(tmp_path, "-At", "--single-transaction", "-fa.sql", "--set", "a=1", "-X")
    assert step.digest == plain
    assert step.args == (
        *("-X", "-v", "ON_ERROR_STOP=1", "-v", "a=1", "-A", "-t", "-1"),
        *("-f", f"{tmp_path}/a.sql"),
    )


def test_every_source_is_a_step_in_order(tmp_path: Path) -> None:
    _write(tmp_path, {"a b.sql": "1"})
    steps = _steps(tmp_path, "-f", "a b.sql", "-c", "select 2", "-f", "-", stdin="3")
    assert [step.title for step in steps] == ["-f 'a b.sql'", "-c 'select 2'", "-f -"]
    assert [step.stdin for step in steps] == [None, None, "3"]
    one, two = _steps(tmp_path, "-c", "1", "-c", "2")
    two_first, one_last = _steps(tmp_path, "-c", "2", "-c", "1")
    assert (one.digest, two.digest) == (one_last.digest, two_first.digest)


def test_a_variable_that_may_hide_a_command_is_refused_where_it_is_put_in(tmp_path: Path) -> None:
    _write(tmp_path, {"a.sql": "select 1;\n:x;\n", "b.sql": "select :'x';\n"})
    with pytest.raises(UncacheableError, match=r"a\.sql:2: :x may hold more"):
        _steps(tmp_path, "-v", "x=\\i c.sql", "-f", "a.sql")
    _steps(tmp_path, "-v", "x=\\i c.sql", "-f", "b.sql")
    _steps(tmp_path, "-v", "x=select 1", "-f", "a.sql")


def test_a_variable_from_a_query_is_refused_where_it_is_put_in_by_another_script(
    tmp_path: Path,
) -> None:
    _write(tmp_path, {"a.sql": "select a as x from t \\gset\n\\i b.sql", "b.sql": "\nselect :x;"})
    with pytest.raises(UncacheableError, match=r"b\.sql:2: :x may hold more .*a\.sql:1"):
        _steps(tmp_path, "-f", "a.sql")


@pytest.mark.parametrize(
    "text",
    [
        "select a as x from t \\gset\nselect :DBNAME, :y, :SERVER_VERSION_NUM;",
        "select * from t \\gset\nselect :SERVER_VERSION_NUM, :'a';",
        "select count(*) n, max(a)::int + 1 as next from t \\gset p_\nselect :p_n, :p_next, :n;",
        "select exists (table t) as there, 'app' as s \\gset\nselect :there from :s.t;",
        "select a from t \\gset\n\\set a 1\n\\if :a\n\\endif\nselect :'a', :\"a\";",
    ],
)
def test_what_a_query_cannot_have_set_is_let_pass(tmp_path: Path, text: str) -> None:
    _write(tmp_path, {"a.sql": text})
    _steps(tmp_path, "-f", "a.sql", "-v", "y=1")


@pytest.mark.parametrize(
    "text",
    [
        "select * from t \\gset\nselect :anything;",
        "select * from t \\gset p_\nselect :p_a;",
        "select 'x;' as \"DBNAME\" \\gset\nselect :DBNAME;",
        "select a as b, 1 as c from t \\gset p_\nselect :p_b;",
        "select 'it''s' as b \\gset\nselect :b;",
        "select 'a' as b union select a from t \\gset\nselect :b;",
        "select a as x from t;\n\\gset\nselect :x;",
        "select 1 as x \\echo y\n, a as y from t \\gset\nselect :y;",
        "select 1 as x \\; select a as y from t \\gset\nselect :y;",
        "select :'v' as x \\gset\nselect :x;",
        "select 1 as x \\gset :prefix\nselect :y;",
    ],
)
def test_what_a_query_may_have_set_is_refused(tmp_path: Path, text: str) -> None:
    _write(tmp_path, {"a.sql": text})
    with pytest.raises(UncacheableError, match="may hold more than a plain value"):
        _steps(tmp_path, "-f", "a.sql")


def test_a_variable_given_on_the_command_line_is_searched_too(tmp_path: Path) -> None:
    with pytest.raises(UncacheableError, match="-v q:1: COPY runs a program"):
        _steps(tmp_path, "-v", "q=copy t from program 'date'", "-c", "select 1")


_NAMES = ("a.sql", "b.sql", "d/c.sql", "e.csv")
_PIECES = st.sampled_from(("x", "select 1;\n", "-- y\n", "'q'", "\n", "\\\\ ", "é"))
_TEXTS = st.lists(_PIECES, max_size=4).map("".join)


@given(texts=st.tuples(*[_TEXTS] * len(_NAMES)), others=st.tuples(*[_TEXTS] * len(_NAMES)))
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_two_trees_have_one_digest_only_when_all_their_contents_are_the_same(
    tmp_path: Path, texts: tuple[str, ...], others: tuple[str, ...]
) -> None:
    digests = []
    for contents in (texts, others):
        files = dict(zip(_NAMES, contents, strict=True))
        files["a.sql"] = "\\i b.sql\n" + files["a.sql"]
        files["b.sql"] = "\\ir d/c.sql\n\\copy t from e.csv\n" + files["b.sql"]
        _write(tmp_path, files)
        digests.append(_digest(tmp_path, "-f", "a.sql"))
    assert (digests[0] == digests[1]) == (texts == others)


AFAR = [
    ("\\i /etc/passwd", "/etc/passwd is an absolute path"),
    ("\\ir /app/b.sql", "/app/b.sql is an absolute path"),
    ("\\copy t from '/etc/passwd'", "/etc/passwd is an absolute path"),
    ("\\i ~/b.sql", "is an absolute path"),
    ("\\cd /", "/ is an absolute path"),
    ("\\i ../../b.sql", "leads out of the sources"),
    ("\\ir sub/../../../b.sql", "leads out of the sources"),
    ("\\cd ..\n\\cd ..", "leads out of the sources"),
    ("\\if :x\n\\i ../../b.sql\n\\endif", "leads out of the sources"),
    ("\\i sub/c.sql", "/b.sql is an absolute path"),
]


@pytest.mark.parametrize(("text", "problem"), AFAR)
def test_a_script_from_afar_reaches_nothing_of_this_machine(text: str, problem: str) -> None:
    files = {"a.sql": text, "b.sql": "", "sub/c.sql": "\\i /b.sql"}
    sources = MemorySources({f"/app/{name}": body.encode() for name, body in files.items()})
    with pytest.raises(InvalidArgumentError, match=re.escape(problem)) as refused:
        asyncio.run(KIND.steps(_request(Path("/app"), "-f", "a.sql"), sources))
    assert refused.value.message.startswith(("a.sql:", "/app/a.sql:", "sub/c.sql:"))
    assert refused.value.remedy


def test_a_script_from_afar_has_the_digest_it_has_here(tmp_path: Path) -> None:
    _write(tmp_path, {**TREE, "up/main.sql": "\\ir ../sub/a.sql\n\\i sub/../sub/b.sql\n"})
    sources = MemorySources(
        {
            f"/app/{path.relative_to(tmp_path)}": path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file()
        }
    )
    for script in ("main.sql", "up/main.sql"):
        [there] = asyncio.run(KIND.steps(_request(Path("/app"), "-f", script), sources))
        [here] = _steps(tmp_path, "-f", script)
        assert there.digest == here.digest
        assert [(one.digest, one.size) for one in there.inputs] == [
            (one.digest, one.size) for one in here.inputs
        ]
