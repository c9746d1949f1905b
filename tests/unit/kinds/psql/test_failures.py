"""What failed, from what psql and pg_restore say about it."""

import pytest

from pgstrata.kinds.psql.failures import MOST, Failures

PSQL = """\
psql:all.sql:3: ERROR:  role "postgres" already exists
psql:all.sql:3: STATEMENT:  create role postgres;
psql:all.sql:5: NOTICE:  nothing to worry about
psql:all.sql:9: error: invalid command \\foo
psql:a: b.sql:12: FATAL:  terminating connection
"""
COMMAND = """\
ERROR:  relation "t" already exists
STATEMENT:  create table t ();
"""
OLD_PSQL = """\
psql:all.sql:9: invalid command \\foo
psql:all.sql:10: \\connect: FATAL:  database "x" does not exist
"""
RESTORE = """\
pg_restore: creating TABLE "public.t"
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 222; 1259 16395 TABLE t bob
pg_restore: error: could not execute query: ERROR:  role "bob" does not exist
Command was: ALTER TABLE public.t OWNER TO bob;
pg_restore: warning: errors ignored on restore: 1
"""
OLD_RESTORE = """\
pg_restore: [archiver (db)] Error while PROCESSING TOC:
pg_restore: [archiver (db)] Error from TOC entry 222; 1259 16395 TABLE t bob
pg_restore: [archiver (db)] could not execute query: ERROR:  role "bob" does not exist
    Command was: ALTER TABLE public.t OWNER TO bob;
"""
BOB = (
    'could not execute query: ERROR: role "bob" does not exist (ALTER TABLE public.t OWNER TO bob;)'
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            PSQL,
            [
                'all.sql:3: ERROR: role "postgres" already exists (create role postgres;)',
                "all.sql:9: error: invalid command \\foo",
                "a: b.sql:12: FATAL: terminating connection",
            ],
        ),
        (COMMAND, ['ERROR: relation "t" already exists (create table t ();)']),
        (
            OLD_PSQL,
            [
                "all.sql:9: invalid command \\foo",
                'all.sql:10: \\connect: FATAL: database "x" does not exist',
            ],
        ),
        (RESTORE, [BOB]),
        (OLD_RESTORE, [BOB]),
    ],
)
def test_each_failure_is_told_with_its_line_and_its_statement(said: str, told: list[str]) -> None:
    failures = Failures()
    for line in said.splitlines():
        failures.take(line)
    assert failures.count == len(told)
    assert list(failures.lines()) == told


def test_of_very_many_failures_the_first_are_told_and_the_others_counted() -> None:
    failures = Failures()
    for number in range(MOST + 7):
        failures.take(f"psql:a.sql:{number}: ERROR:  {'x' * 10_000}")
        failures.take(f"psql:a.sql:{number}: STATEMENT:  {'y' * 10_000}")
    *told, rest = failures.lines()
    assert len(told) == MOST
    assert max(map(len, told)) <= 1000
    assert rest == "… and 7 more"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ('psql:a.sql:1: ERROR:  could not extend file "base/5/1": No space left on device', True),
        ("psql:a.sql:1: ERROR:  53100", True),
        ("psql:a.sql:1: error: connection failed: FATAL:  sorry, too many clients already", True),
        ('pg_restore: error: COPY failed for table "t": ERROR:  out of memory', True),
        ("psql:a.sql:1: NOTICE:  No space left on device", False),
        ("psql:a.sql:1: ERROR:  out of shared memory", False),
        ("psql:a.sql:1: ERROR:  division by zero", False),
    ],
)
def test_what_another_time_need_not_fail_is_told_apart(error: str, told: bool) -> None:
    failures = Failures()
    failures.take("psql:a.sql:1: ERROR:  no")
    failures.take(error)
    assert failures.of_the_machine == (error if told else None)
