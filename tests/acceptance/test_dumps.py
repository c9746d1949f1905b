"""Dumps restored, and steps that go on after errors: as pg_restore and psql do it by hand."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import needs
from tests.acceptance.conftest import Terminal
from tests.acceptance.test_prepare import CHINOOK, rows
from tests.clusters import fetched

MAJOR = "18"
IMAGE = ("--image", f"postgres:{MAJOR}")
OWN = """\
create role bob;
create schema app;
create table app.note (id serial primary key, about int, text text default 'a;b');
insert into app.note (about, text) select n, E'it\\'s\\t' || n from generate_series(1, 50) n;
create view public.notes as select * from app.note;
select lo_from_bytea(4242, 'large');
alter table app.note owner to bob;
grant select on public.notes to bob;
create function app.words() returns bigint language sql as 'select count(*) from app.note';
"""


@pytest.fixture(scope="module")
def shell(reachable_dir: Path) -> Iterator[Terminal]:
    """A shell with one engine, and a database that was dumped in every format."""
    fetched(MAJOR)
    home = reachable_dir / "home"
    home.mkdir(mode=0o711)
    terminal = Terminal(home)
    terminal.work.mkdir()
    terminal.write("own.sql", OWN)
    # It makes a database of its own, but its tables do for ours.
    text = CHINOOK.read_text() if CHINOOK.exists() else "CREATE TABLE track ();"
    terminal.write("chinook.sql", text[text.index("CREATE TABLE") :])
    source = prepared(terminal, "-f", "own.sql", "-f", "chinook.sql")
    for name, form in (("c.dump", "c"), ("t.dump", "t"), ("d", "d")):
        client("pg_dump", f"-F{form}", "-f", str(terminal.work / name), source)
    all_of_it = client("pg_dumpall", "-d", source, "--no-role-passwords")
    terminal.write("all.sql", all_of_it)
    yield terminal
    terminal.tear_down()


def client(program: str, *words: str) -> str:
    """What one of PostgreSQL's programs prints."""
    path = fetched(MAJOR).bin_dir / program
    # pg_dumpall does not pass a password on to the programs that it starts.
    password = next((urlsplit(word).password for word in words if "://" in word), None) or ""
    env = {**os.environ, "PGPASSWORD": password}
    ended = subprocess.run([path, *words], text=True, capture_output=True, check=False, env=env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def prepared(shell: Terminal, *words: str, options: tuple[str, ...] = ()) -> str:
    """Prepare with psql; the DSN."""
    ended = shell("prepare:psql", *IMAGE, *options, "--", *words)
    return ended.stdout.strip().removeprefix("DSN=")


def content(dsn: str) -> str:
    """All of a database as pg_dump writes it, but for its random keys."""
    lines = client("pg_dump", dsn).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


@pytest.fixture(scope="module")
def by_hand(shell: Terminal) -> Callable[..., str]:
    """What a dump comes to if pg_restore is called for an empty server, with some options."""

    @cache
    def restore(*options: str) -> str:
        dsn = prepared(shell, "-c", "select 1")
        client("pg_restore", "-d", dsn, *options, str(shell.work / "c.dump"))
        return content(dsn)

    return restore


def test_a_dump_in_any_format_comes_to_what_pg_restore_makes_of_it(
    shell: Terminal, by_hand: Callable[..., str]
) -> None:
    options = ("--no-owner", "--no-privileges")
    wanted = by_hand(*options)
    assert "CREATE FUNCTION app.words" in wanted
    for words in (("-f", "c.dump"), ("-f", "t.dump"), ("-f", "d")):
        assert content(prepared(shell, *options, *words)) == wanted
    parallel = shell("prepare:psql", *IMAGE, "--", *options, "-j", "2", "-f", "c.dump")
    assert "cached  -f c.dump" in parallel.stderr.replace("'", "")


def test_jobs_options_and_files_of_options_are_pg_restore_s(
    shell: Terminal, by_hand: Callable[..., str]
) -> None:
    listed = client("pg_restore", "--list", str(shell.work / "c.dump")).splitlines()
    wanted = [line for line in listed if " app " in line and "words" not in line]
    schema = [line for line in listed if " SCHEMA - app " in line]
    shell.write("entries", "\n".join([*schema, *wanted]))
    options = ("--no-owner", "--no-acl")
    use = (*options, f"--use-list={shell.work / 'entries'}")
    words = ("-O", "--no-acl", "-j2", "--use-list", "entries", "-f", "d")
    made = content(prepared(shell, *words))
    assert made == by_hand(*use)
    assert "app.words" not in made
    assert "app.note" in made
    shell.write("entries", "\n".join(schema))
    [reason] = [
        task["reason"]["text"]
        for task in shell.json("plan:psql", *IMAGE, "--", *words)["tasks"]
        if task["type"] == "state_execute"
    ]
    assert "entries differs" in reason


def test_the_table_of_contents_is_the_progress(shell: Terminal) -> None:
    said = shell("-v", "prepare:psql", *IMAGE, "--", "--no-owner", "--no-acl", "-1", "-f", "c.dump")
    numbers = [line.split()[0] for line in said.stderr.splitlines() if "/" in line.split()[0]]
    total = len(numbers) - 1  # the last one is the step's
    assert numbers[:-1] == [f"[{n}/{total}]" for n in range(1, total + 1)]
    assert any("TABLE DATA" in line or "data for table" in line for line in said.stderr.split("\n"))


def test_what_a_dump_needs_and_does_not_find_fails_its_step_or_is_listed(shell: Terminal) -> None:
    failed = shell("prepare:psql", *IMAGE, "--", "-f", "t.dump", exit_code=1)
    assert 'role "bob" does not exist' in failed.stderr
    assert "--no-owner" in failed.stderr
    going_on = ("--on-error", "continue", "--", "-f", "t.dump")
    passed = shell("prepare:psql", *IMAGE, *going_on)
    assert "failed in -f t.dump:" in passed.stderr.replace("'", "")
    assert "(ALTER TABLE app.note OWNER TO bob;)" in passed.stderr
    assert rows(passed.stdout.strip().removeprefix("DSN="), "select app.words()") == [(50,)]


@pytest.mark.parametrize("error", ["out of memory", "cannot extend: No space left on device"])
def test_what_the_machine_could_not_do_is_no_failure_to_go_on_after(
    shell: Terminal, error: str
) -> None:
    raising = f"do $$ begin raise exception '{error}'; end $$"
    words = (*IMAGE, "--on-error=continue", "--", "-c", raising)
    for _ in range(2):
        failed = shell("prepare:psql", *words, exit_code=1)
        assert "[1/1] failed" in failed.stderr
        assert error in failed.stderr


def test_all_of_a_server_is_restored_from_what_pg_dumpall_writes(shell: Terminal) -> None:
    stopped = shell("prepare:psql", *IMAGE, "--", "-f", "all.sql", exit_code=1)
    assert "ON_ERROR_STOP" not in stopped.stderr
    assert 'role "postgres" already exists' in stopped.stderr
    words = (*IMAGE, "--on-error=continue", "--", "-f", "all.sql")
    told, cached = (
        json.loads(shell("--output", "json", "prepare:psql", *words).stdout) for _ in range(2)
    )
    assert cached["failures"] == told["failures"]
    [failed] = told["failures"]
    failures = failed["failures"]
    assert any("CREATE ROLE postgres;" in line for line in failures)
    assert any("/all.sql:" in line for line in failures)
    plain = prepared(shell, "-c", "select 1")
    client("psql", "-X", "-q", "-o", "/dev/null", "-f", str(shell.work / "all.sql"), "-d", plain)
    assert content(told["dsn"]) == content(plain)
    [job] = [job for job in shell.json("ls", "-j")["jobs"] if job["job_id"] == told["job_id"]]
    watched = shell("-v", "watch", job["job_id"]).stderr
    assert "STATEMENT:  CREATE ROLE postgres;" in watched
    assert f"{len(failures)} failed, and the step went on" in watched


def test_a_dump_for_another_pg_restore_and_options_without_a_dump_are_told(shell: Terminal) -> None:
    fetched("15")
    older = shell("prepare:psql", "--image", "postgres:15", "--", "-f", "c.dump", exit_code=1)
    assert "unsupported version" in older.stderr
    assert "newer --image" in older.stderr
    useless = shell("plan:psql", "--", "-j", "2", "-f", "own.sql", exit_code=2)
    assert "--jobs=2 is an option of pg_restore" in useless.stderr


def test_without_cells_a_dump_is_checked_like_a_script_and_comes_to_the_same(
    shell: Terminal, pgstrata: Terminal, by_hand: Callable[..., str]
) -> None:
    pgstrata.environment["PGSTRATA_SANDBOX_LEVEL"] = "off"
    options = ("--no-owner", "--no-privileges")
    dump = str(shell.work / "c.dump")
    assert content(prepared(pgstrata, *options, "-j2", "-f", dump)) == by_hand(*options)
    reading = prepared(shell, "-c", "select 1")
    # Nobody's script can make it, so it is made where nobody checks.
    client("psql", "-X", "-d", reading, "-c", READS)
    path = str(pgstrata.work / "reads.dump")
    client("pg_dump", "-Fc", "-f", path, reading)
    refused = pgstrata("prepare:psql", *IMAGE, "--", "-f", path, exit_code=1)
    assert "pg_read_file" in refused.stderr
    assert "pgstrata status" in refused.stderr


def test_a_forged_dump_that_names_a_file_elsewhere_does_not_get_it(shell: Terminal) -> None:
    if shell.json("status")["sandbox"]["level"] != "basic":
        needs.missing_root("tools have no cell here")
    shell.write("elsewhere.dat", "7\t7\tstolen\n\\.\n")
    forged = shell.work / "forged"
    shutil.copytree(shell.work / "d", forged)
    contents = forged / "toc.dat"
    name = next(forged.glob("*.dat.gz")).name.removesuffix(".gz").encode()
    whole, other = contents.read_bytes(), b"../elsewhere.dat"
    before, after = whole.split(len(name).to_bytes(4, "little") + name)
    contents.write_bytes(before + len(other).to_bytes(4, "little") + other + after)
    refused = shell("prepare:psql", *IMAGE, "--", "-O", "--no-acl", "-f", "forged", exit_code=1)
    assert "forged/../elsewhere.dat" in refused.stderr
    assert "Permission denied" in refused.stderr


READS = """
create or replace function f() returns text language sql as 'select pg_read_file(''/etc/passwd'')'
"""
