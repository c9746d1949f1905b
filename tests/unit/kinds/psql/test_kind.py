"""What is particular to the psql kind, beside what every kind does."""

import asyncio
import gzip
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest, Uncacheable
from pgstrata.errors import (
    InvalidArgumentError,
    StepFailedError,
    StepInterruptedError,
    UncacheableError,
)
from pgstrata.kinds.psql import inputs
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.psql.running import RESTORE, failure
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.runtime.base import ToolExit

LOCAL = LocalTree()


def _request(
    *args: str,
    work_dir: str | None = None,
    stdin: str | None = None,
    uncacheable: Uncacheable = "refuse",
) -> PrepareRequest:
    return PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        fields={"psql_args": args},
        work_dir=work_dir,
        stdin=stdin,
        uncacheable=uncacheable,
    )


def _steps(request: PrepareRequest) -> tuple[Step, ...]:
    return asyncio.run(PsqlRecipe().steps(request, LOCAL))


def test_the_request_must_bring_the_standard_input_that_is_read() -> None:
    with pytest.raises(InvalidArgumentError, match="standard input"):
        PsqlRecipe().normalize(_request("-f", "-"))


def test_standard_input_that_no_one_reads_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="standard input"):
        PsqlRecipe().normalize(_request("-c", "x", stdin="y"))


def test_the_normal_form_is_that_of_the_arguments() -> None:
    assert PsqlRecipe().normalize(_request("-Xqf", "a b")) == "-q -f 'a b'"


def test_a_relative_path_needs_a_work_dir() -> None:
    with pytest.raises(InvalidArgumentError, match=r"a\.sql is a relative path"):
        _steps(_request("-f", "a.sql"))


def test_without_relative_paths_no_work_dir_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("1")
    [step] = _steps(_request("-f", f"{tmp_path}/a.sql"))
    assert step.work_dir == Path("/")


@pytest.mark.parametrize("work_dir", ["relative", "/no/such/directory", "/dev/null"])
def test_the_work_dir_must_be_a_directory(work_dir: str) -> None:
    with pytest.raises(InvalidArgumentError, match="work_dir"):
        _steps(_request("-c", "x", work_dir=work_dir))


def test_what_cannot_be_known_is_refused_with_place_and_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("\\i b.sql\n")
    (tmp_path / "b.sql").write_text("select 1;\n\\! date\n\\getenv x Y\n")
    with pytest.raises(UncacheableError) as refused:
        _steps(_request("-f", "a.sql", work_dir=str(tmp_path)))
    assert refused.value.message == r"b.sql:2: \! runs a shell command"
    assert "--uncacheable=run" in (refused.value.remedy or "")
    assert refused.value.details == (
        "b.sql:2: \\! runs a shell command\nb.sql:3: \\getenv reads the environment"
    )


@pytest.mark.parametrize(("uncacheable", "lines"), [("refuse", 5), ("run", 3)])
def test_everything_wrong_in_any_step_is_reported_at_once(
    tmp_path: Path, uncacheable: Uncacheable, lines: int
) -> None:
    (tmp_path / "a.sql").write_text("\\! date\nselect 1;\n\\getenv x Y\n")
    (tmp_path / "b.sql").write_text("select 1;\n\\i missing.sql\n")
    (tmp_path / "c.sql.gz").write_bytes(gzip.compress(b"select 1;")[:20])
    files = ("-f", "a.sql", "-f", "b.sql", "-c", "select 1", "-f", "none.sql", "-f", "c.sql.gz")
    with pytest.raises(InvalidArgumentError) as refused:
        _steps(_request(*files, work_dir=str(tmp_path), uncacheable=uncacheable))
    told = (refused.value.details or "").splitlines()
    assert len(told) == lines
    assert told[0] == refused.value.message
    missing, absent, compressed = told[-3:]
    assert "b.sql:2: " in missing
    assert "missing.sql does not exist" in missing
    assert absent == f"{tmp_path}/none.sql does not exist"
    assert compressed.startswith(f"{tmp_path}/c.sql.gz cannot be unpacked with gzip")


def test_what_is_wrong_with_a_variable_is_reported_once(tmp_path: Path) -> None:
    words = ("-v", "q=copy t from program 'date'", "-c", "select 1", "-c", "select 2")
    with pytest.raises(UncacheableError, match="-v q:1: COPY runs a program") as refused:
        _steps(_request(*words))
    assert refused.value.details is None


def test_what_cannot_be_known_is_run_when_asked_to_and_never_has_the_same_digest_again() -> None:
    request = _request("-c", r"\! date", "-c", "select 1", uncacheable="run")
    (date, known), (again, known_again) = _steps(request), _steps(request)
    assert date.digest != again.digest
    assert known.digest == known_again.digest


def test_what_can_be_known_has_its_usual_digest_where_anything_may_be_run() -> None:
    [one] = _steps(_request("-c", "x", uncacheable="run"))
    [other] = _steps(_request("-c", "x"))
    assert one == other


def _differing(one: Step, other: Step) -> set[str]:
    return {name for name, _ in one.parts.items() ^ other.parts.items()}


@pytest.mark.parametrize("edited", ["a.sql", "b.sql", "c.csv"])
def test_a_file_that_was_edited_is_the_part_that_differs(tmp_path: Path, edited: str) -> None:
    (tmp_path / "a.sql").write_text("\\i b.sql\nselect 1;")
    (tmp_path / "b.sql").write_text("\\copy t from 'c.csv'\n")
    (tmp_path / "c.csv").write_text("1\n")
    request = _request("-v", "tenant=acme", "-f", "a.sql", work_dir=str(tmp_path))
    [before] = _steps(request)
    files = {f"{tmp_path}/{name}" for name in ("a.sql", "b.sql", "c.csv")}
    assert before.parts.keys() == files | {"variable tenant"}
    with (tmp_path / edited).open("a") as file:
        file.write("-- more\n")
    [after] = _steps(request)
    assert _differing(before, after) == {f"{tmp_path}/{edited}"}


def test_a_file_that_moved_is_the_same_part_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("\\i b.sql\n")
    (tmp_path / "b.sql").write_text("select 1;")
    [before] = _steps(_request("-f", "a.sql", work_dir=str(tmp_path)))
    (tmp_path / "sub").mkdir()
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).rename(tmp_path / "sub" / name)
    [after] = _steps(_request("-f", "a.sql", work_dir=str(tmp_path / "sub")))
    assert not before.parts.keys() & after.parts.keys()
    assert sorted(before.parts.values()) == sorted(after.parts.values())


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        (["-v", "x=1"], ["-v", "x=2"], {"variable x"}),
        (["-v", "x=1"], ["-v", "y=1"], {"variable x", "variable y"}),
        (["-v", "x"], [], {"variable x"}),
        (["-1"], [], {"-1"}),
        (["-q"], [], {"variable QUIET"}),
        (["-A"], [], set()),
    ],
)
def test_each_variable_and_flag_that_counts_is_a_part_by_its_name(
    one: list[str], other: list[str], differing: set[str]
) -> None:
    [first], [second] = (_steps(_request(*flags, "-c", "x")) for flags in (one, other))
    assert _differing(first, second) == differing


def test_a_command_and_standard_input_are_parts_too() -> None:
    [command], [longer] = (_steps(_request("-c", sql)) for sql in ("select 1", "select 1;"))
    assert _differing(command, longer) == {"-c"}
    [script], [other] = (_steps(_request("-f", "-", stdin=sql)) for sql in ("select 1", "x"))
    assert _differing(script, other) == {"standard input"}
    assert _differing(command, script) == {"-c", "standard input", "-c in place of -f"}


def test_equal_variables_of_different_names_are_different_parts() -> None:
    [step] = _steps(_request("-v", "x=1", "-v", "y=1", "-c", "x"))
    assert len(set(step.parts.values())) == len(step.parts)


def _digest(*flags: str) -> str:
    [step] = _steps(_request(*flags, "-c", "x"))
    return step.digest


@pytest.mark.parametrize(
    ("flag", "variable"),
    [
        ("-q", "QUIET=on"),
        ("-a", "ECHO=all"),
        ("-e", "ECHO=queries"),
        ("-b", "ECHO=errors"),
        ("-E", "ECHO_HIDDEN=on"),
    ],
)
def test_a_flag_counts_as_the_variable_it_sets_since_a_script_can_read_that(
    flag: str, variable: str
) -> None:
    assert _digest(flag) != _digest()
    assert _digest(flag) == _digest("-v", variable)


def test_of_the_flags_that_set_one_variable_the_last_one_counts() -> None:
    assert _digest("-a", "-e") == _digest("-e")


@pytest.mark.parametrize("flags", [["-A"], ["-t", "-x"], ["-F", ","], ["-P", "null=x"], ["--csv"]])
def test_a_flag_for_printing_alone_does_not_count(flags: list[str]) -> None:
    assert _digest(*flags) == _digest()


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            'psql:/a.sql:1: NOTICE:  table "x" does not exist, skipping\n'
            'psql:/a.sql:3: ERROR:  relation "y" does not exist\nLINE 1: select * from y',
            'psql:/a.sql:3: ERROR:  relation "y" does not exist',
        ),
        ("NOTICE:  hi\nERROR:  syntax error", "ERROR:  syntax error"),
        ("psql:<stdin>:2: error: \\ir: missing required argument",) * 2,
        ("psql: error: connection to server failed",) * 2,
        ("something else\nthe last word\n", "the last word"),
        ("", "psql ended with exit code 3"),
    ],
)
def test_a_failure_is_told_in_psqls_own_words(stderr: str, message: str) -> None:
    [step] = _steps(_request("-c", "select\n1"))
    error = failure(step, ToolExit(exit_code=3, stderr_tail=stderr))
    assert error.message == message
    assert error.details == (stderr or None)
    assert error.remedy == "correct `-c 'select 1'` and prepare again"


@pytest.mark.parametrize(
    ("number", "name", "blamed"),
    [(9, "SIGKILL", False), (15, "SIGTERM", False), (11, "SIGSEGV", True), (6, "SIGABRT", True)],
)
def test_a_psql_that_a_signal_ended_is_told_as_that_and_not_as_a_fault_of_the_script(
    number: int, name: str, blamed: bool
) -> None:
    [step] = _steps(_request("-c", "select 1"))
    error = failure(step, ToolExit(exit_code=128 + number, stderr_tail="NOTICE:  hi"))
    assert error.message == f"psql was ended by signal {number} ({name})"
    assert isinstance(error, StepFailedError if blamed else StepInterruptedError)
    assert "correct" not in (error.remedy or "")
    assert error.details == "NOTICE:  hi"


def test_of_many_failures_that_a_step_went_on_after_the_last_one_is_told() -> None:
    [step] = _steps(_request("-c", "select 1"))
    step = replace(step, on_error="continue")
    unknown = "psql:a.sql:2: error: \\connect: connection failed: FATAL:  no such database"
    gone = "psql:a.sql:2: FATAL:  terminating connection"
    lost = "server closed\npsql:a.sql:2: error: connection to server was lost"
    for said, message in ((unknown, unknown), (f"{gone}\n{lost}", gone)):
        stderr = f"psql:a.sql:1: ERROR:  no\n{said}"
        assert failure(step, ToolExit(exit_code=2, stderr_tail=stderr)).message == message


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("could not execute query: ERROR:  role", "--no-owner"),
        ('COPY failed for table "t": ERROR:  missing data', "--no-owner"),
        ("could not read from input file: end of file", "copied as a whole"),
        ("could not uncompress data: invalid distance too far back", "copied as a whole"),
        ('schema "nope" not found', "what its options select"),
        (
            'unrecognized section name: "x"\npg_restore: hint: Try "pg_restore --help" for',
            "options",
        ),
        ("unsupported version (1.16) in file header", "newer --image"),
    ],
)
def test_what_pg_restore_could_not_do_is_told_with_what_helps(said: str, remedy: str) -> None:
    [step] = _steps(_request("-c", "select 1"))
    ended = ToolExit(exit_code=1, stderr_tail=f"pg_restore: error: {said}")
    error = failure(replace(step, args=(RESTORE, "a.dump")), ended)
    assert remedy in (error.remedy or "")


FRIENDLY = {
    "main.sql": "\\set n 1\nselect 'it''s', $a$ \\i x $a$;\n\\i sub/a.sql\n"
    "\\copy t from '../data.csv' csv\ncopy t from stdin;\n1\n\\.\nselect :n;\n",
    "sub/a.sql": "\\ir b.sql\n\\cd sub\nselect 'a';\n",
    "sub/b.sql": f"insert into t values {', '.join(f'({n}, {n!r})' for n in range(20_000))};\n",
    "data.csv": "1,2\n",
}


@pytest.mark.parametrize(
    ("args", "stdin", "digest"),
    [
        (
            ("-f", "main.sql"),
            None,
            "32de6cfec5a05ef8989f3879c77c40bc19e174c6ea7dbea57c9435a3daecf81f",
        ),
        (
            ("-f", "-"),
            "select 1;\n\\i sub/b.sql\n",
            "55eda713e6a0bc0475f2b7975e0e2a1533aa116053ff104a6fc5747c057e1a40",
        ),
        (
            ("-c", "select 1"),
            None,
            "cf6c33aeddbe467e110a0c288561ce80ea0dd487b4d5180414c81f297449d9ed",
        ),
    ],
)
def test_steps_have_the_names_they_had_in_earlier_releases(
    tmp_path: Path, args: tuple[str, ...], stdin: str | None, digest: str
) -> None:
    for name, text in FRIENDLY.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    [step] = _steps(_request(*args, work_dir=str(tmp_path), stdin=stdin))
    assert step.digest == digest


def test_an_argument_that_no_program_could_be_given_is_refused() -> None:
    many = [word for number in range(100) for word in ("-v", f"v{number}=" + "x" * 100_000)]
    for words in (
        ("-c", "x" * 200_000),
        ("-v", "a=" + "é" * 70_000, "-c", "x"),
        (*many, "-c", "x"),
    ):
        with pytest.raises(InvalidArgumentError, match="longer than the system allows"):
            PsqlRecipe().normalize(_request(*words))
    PsqlRecipe().normalize(_request("-c", "x" * 131_071))


def test_what_a_variable_is_bound_to_first_is_told(tmp_path: Path) -> None:
    script = "\\gset p_\n\\set p_b 'x;'\n\\gset p\nselect :p_b;"
    (tmp_path / "a.sql").write_text(script)
    with pytest.raises(UncacheableError, match=r"a\.sql:4: :p_b may .* \(.*a\.sql:1\)"):
        _steps(_request("-f", f"{tmp_path}/a.sql"))


def test_a_long_script_can_be_included_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_PARTS", 1000)
    (tmp_path / "many.sql").write_text("\\lo_import data\n" * 100)
    (tmp_path / "data").touch()
    (tmp_path / "main.sql").write_text("\\i many.sql\n" * 9)
    with pytest.raises(InvalidArgumentError, match="one script too many"):
        _steps(_request("-f", "main.sql", work_dir=str(tmp_path)))
