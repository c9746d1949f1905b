"""What is put to both: changelogs and scripts of ours, and others made from a seed."""

import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests import changelogs
from tests.liquibase import JHIPSTER

DATA = JHIPSTER.parents[1]


class Input(NamedTuple):
    """A recipe with its files."""

    name: str
    kind: str
    """``lb`` or ``psql``."""
    words: tuple[str, ...]
    files: Mapping[str, str] = {}
    directory: Path | None = None
    """Where it is run, if not where its files are written."""
    quick: bool = False
    """Whether ``make test`` runs it, too."""
    engine: bool = False
    """Whether it is put to an engine, too."""
    refused: bool = False
    """Whether it is right to refuse what a plain run does."""
    own_tool: bool = False
    """Whether a Liquibase of one's own runs it for us, too."""

    @property
    def on_class_path(self) -> bool:
        """Whether it names files as Spring does."""
        return any("classpath:" in text for text in (*self.words, *self.files.values()))

    def without_class_path(self) -> "Input":
        """The same with the names that Spring makes of those."""
        return self._replace(
            words=tuple(_in_place(word) for word in self.words),
            files={name: _in_place(text) for name, text in self.files.items()},
        )


def _in_place(text: str) -> str:
    return re.sub("classpath:/*", "", text)


_UPDATE = ("update", "--changelog-file=a.xml")

SEEN = """
create table public.seen (n serial, path text, schema text, who text, login text, zone text,
    memory text, digits text, application text, tenant text, isolation text, dates text)"""
SEE = """
insert into public.seen (path, schema, who, login, zone, memory, digits, application, tenant,
    isolation, dates)
select current_setting('search_path'), current_schema(), current_user, session_user,
    current_setting('timezone'), current_setting('work_mem'),
    current_setting('extra_float_digits'), current_setting('application_name'),
    coalesce(current_setting('app.tenant', true), ''),
    current_setting('default_transaction_isolation'), current_setting('datestyle')"""
"""Notes what a session is like."""


def sql(number: int | str, *statements: str, more: str = "") -> str:
    """A changeset of plain SQL."""
    text = ";\n".join(statements).replace("&", "&amp;").replace("<", "&lt;")
    return changelogs.changeset(number, f"<sql>{text}</sql>", more=more)


def whole(number: int | str, text: str, more: str = "") -> str:
    """A changeset of SQL that is not split."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return changelogs.changeset(
        number, f'<sql splitStatements="false" stripComments="false">{text}</sql>', more=more
    )


def _session(name: str, *changesets: str, **more: Any) -> Input:
    """A changelog that notes its session after each changeset."""
    seen = [text for n, one in enumerate(changesets) for text in (one, sql(f"see-{n}", SEE))]
    files = {
        "a.xml": changelogs.xml(
            sql("seen", SEEN),
            *seen,
            changelogs.changeset("last", changelogs.table(9)),
            sql("raw", "create table raw (a int)"),
        )
    }
    return Input(name, "lb", _UPDATE, files, **more)


_APP = "create schema app"
_ROLE = (
    "create role app_owner; grant all on schema public to app_owner;\n"
    "grant all on all tables in schema public to app_owner;\n"
    "grant all on all sequences in schema public to app_owner"
)


def sessions() -> Iterator[Input]:
    """What one changeset sets, and the next ones see."""
    yield _session(
        "search path of the database",
        sql(1, _APP, "alter database postgres set search_path = app, public"),
        quick=True,
    )
    yield _session(
        "settings of the role",
        sql(
            1,
            "alter role postgres set default_transaction_read_only = on",
            "alter role postgres set statement_timeout = 1",
            "alter role postgres set timezone = 'Asia/Tokyo'",
        ),
        sql(
            2,
            "alter role all set work_mem = '7MB'",
            "alter role postgres in database postgres set work_mem = '9MB'",
        ),
        engine=True,
        quick=True,
        own_tool=True,
    )
    yield _session(
        "reset of the role",
        sql(1, "alter role postgres set work_mem = '8MB'"),
        sql(2, "alter role postgres reset all"),
    )
    yield _session(
        "a dump's own settings",
        sql(
            1,
            "set statement_timeout = 0",
            "set client_min_messages = warning",
            "select pg_catalog.set_config('search_path', '', false)",
            "set default_tablespace = ''",
            "set row_security = off",
        ),
        quick=True,
    )
    yield _session(
        "set search path",
        sql(1, _APP, "set search_path = app"),
        sql(2, "select 1"),
        sql(3, "set search_path to app, public"),
        own_tool=True,
    )
    yield _session(
        "set search path twice",
        sql(1, _APP, "set search_path = app"),
        sql(2, 'set search_path = "$user"'),
        sql(3, "reset search_path"),
    )
    yield _session(
        "a schema named as the user",
        sql(1, "create schema postgres"),
        sql(2, "create table mine (a int)"),
    )
    yield _session(
        "without public",
        sql(1, _APP, "set search_path = app"),
        sql(2, "create table app.x (a int)"),
    )
    yield _session(
        "another role",
        sql(1, _ROLE, "set role app_owner"),
        sql(2, "create table owned (a int)"),
        sql(3, "reset role"),
        quick=True,
    )
    yield _session(
        "session authorization",
        sql(1, _ROLE, "set session authorization app_owner"),
        sql(2, "create table owned (a int)"),
        sql(3, "reset session authorization"),
    )
    yield _session(
        "time zone and dates",
        sql(1, "set time zone 'Europe/Berlin'"),
        sql(
            2,
            "create table at as select timestamptz '2020-07-01 00:00' as a",
            "set intervalstyle = iso_8601",
        ),
        sql(3, "create table d as select interval '1 day'::text as a"),
        own_tool=True,
    )
    yield _session(
        "settings of its own",
        sql(1, "set app.tenant = 'one'"),
        sql(2, "set session app.tenant to 'two''s'"),
        sql(3, "reset app.tenant"),
    )
    yield _session(
        "set and reset all",
        sql(1, "set work_mem = '5MB'", "set app.tenant = 'x'"),
        sql(2, "reset all"),
        sql(3, "set work_mem = '6MB'"),
    )
    yield _session(
        "discard all",
        sql(1, "set work_mem = '5MB'"),
        sql(2, "discard all", more='runInTransaction="false"'),
        sql(3, "set app.tenant = 'x'"),
    )
    yield _session(
        "isolation",
        sql(1, "set session characteristics as transaction isolation level serializable"),
        sql(2, "select 1"),
    )
    yield _session(
        "local only",
        sql(1, "set local work_mem = '5MB'", "select set_config('app.tenant', 'x', true)"),
    )
    yield _session(
        "several in one text",
        whole(
            1,
            "create schema app; set search_path = app;\n-- set work_mem = '1GB';\n"
            "/* set role x; */ set work_mem = '6MB'; select ';set timezone = 5;'",
        ),
    )
    yield _session(
        "in a block",
        whole(
            1,
            "do $$ begin set work_mem = '6MB'; "
            "perform set_config('app.tenant', 'do', false); end $$",
        ),
    )
    yield _session(
        "by a query",
        sql(1, "select set_config('app.tenant', current_user, false)"),
        sql(2, "select set_config(name, 'UTC', false) from pg_settings where name = 'TimeZone'"),
    )
    yield _session(
        "by a function",
        whole(
            1,
            "create function setting() returns text language sql as "
            "$$ select set_config('work_mem', '6MB', false) $$",
        ),
        sql(2, "select setting()"),
        refused=True,
    )
    yield _session(
        "one that fails",
        sql(1, "set work_mem = '6MB'", "select nothing", more='failOnError="false"'),
        sql(2, "select 1"),
    )
    yield _session(
        "one that is not run",
        changelogs.changeset(
            1,
            '<preConditions onFail="MARK_RAN"><tableExists tableName="no"/>'
            "</preConditions><sql>set work_mem = '6MB'</sql>",
        ),
        sql(2, "set app.tenant = 'two'"),
    )
    yield _session(
        "server settings",
        sql(1, "alter system set work_mem = '6MB'", more='runInTransaction="false"'),
    )
    yield _session(
        "server settings that are loaded",
        sql(
            1,
            "alter system set default_transaction_read_only = on",
            more='runInTransaction="false"',
        ),
    )
    yield _session(
        "a database's other settings",
        sql(
            1,
            "create role other",
            "alter role other set search_path = nowhere",
            "create database other",
            more='runInTransaction="false"',
        ),
        sql(2, "alter database other set work_mem = '9MB'"),
    )
    yield _session("read only from now on", sql(1, "set default_transaction_read_only = on"))
    yield _session(
        "a short time limit of the database",
        sql(1, "alter database postgres set statement_timeout = 1"),
        sql(2, "alter database postgres set lock_timeout = 1"),
    )


def things() -> Iterator[Input]:
    """What is gone with a session."""

    def changelog(name: str, *changesets: str, **more: Any) -> Input:
        return Input(name, "lb", _UPDATE, {"a.xml": changelogs.xml(*changesets)}, **more)

    yield changelog(
        "a temporary table that is used",
        sql(1, "create temp table gone as select 1 as a"),
        sql(2, "create table other (a int)"),
        sql(3, "create table kept as select * from gone"),
        sql(4, "create table last (a int)"),
        engine=True,
        quick=True,
        own_tool=True,
    )
    yield changelog(
        "a temporary table that is not used",
        sql(1, "create temporary table gone (a int)"),
        sql(2, "create table kept (a int)"),
    )
    yield changelog(
        "a temporary table in the way",
        sql(1, "create table t (a int)"),
        sql(2, "create temp table t (a int)"),
        sql(3, "insert into t values (1)"),
        sql(4, "create table other (a int)"),
    )
    yield changelog(
        "a temporary table made again",
        sql(1, "create temp table t (a int) on commit drop"),
        sql(2, "create temp table t (a int)", "drop table t"),
        sql(3, "create table t (a int)"),
    )
    yield changelog(
        "select into a temporary table",
        sql(1, "select 5 as a into temp gone"),
        sql(2, "create table kept as select * from gone"),
    )
    yield changelog(
        "a temporary table from a function",
        whole(
            1,
            "create function f() returns void language plpgsql as $$ begin "
            "create temp table if not exists gone (a int); insert into gone values (1); "
            "end $$; create table kept (n bigint)",
        ),
        sql(2, "select f()"),
        sql(3, "select f()"),
        sql(4, "insert into kept select 1"),
        refused=True,
    )
    yield changelog(
        "a prepared statement",
        sql(1, "prepare add as select 6 as a"),
        sql(2, "create table kept as execute add"),
        sql(3, "create table other (a int)"),
    )
    yield changelog(
        "a cursor",
        sql(1, "declare c cursor with hold for select 7"),
        sql(2, "fetch c", "close c"),
        sql(3, "create table other (a int)"),
    )
    yield changelog(
        "a seed",
        sql(1, "select setseed(0.5)"),
        sql(2, "create table kept as select random()::numeric(6, 5) as r"),
        sql(3, "create table other (a int)"),
    )
    yield changelog(
        "a lock",
        sql(1, "select pg_advisory_lock(1)"),
        sql(2, "create table t (a int)"),
        sql(3, "select pg_advisory_unlock(1)"),
    )
    yield changelog(
        "a sequence",
        sql(1, "create table t (id serial, a int)", "insert into t (a) values (1)"),
        sql(2, "insert into t (a) values (2)", "create table k as select lastval() as l"),
    )
    yield changelog(
        "a sequence's current value elsewhere",
        sql(1, "create sequence s", "select nextval('s')"),
        sql(2, "create table k as select currval('s') as l"),
        refused=True,
    )
    yield changelog(
        "a sequence with a cache",
        sql(1, "create sequence s cache 20"),
        sql(2, "create table t as select nextval('s') as n"),
        sql(3, "create table u (a int)"),
    )
    yield changelog(
        "a sequence with a cache that two use",
        sql(1, "create sequence s cache 20", "create table t (n int)"),
        sql(2, "insert into t select nextval('s')"),
        sql(3, "insert into t select nextval('s')"),
        refused=True,
    )
    yield changelog(
        "a sequence with a cache that is set",
        sql(1, "create sequence s cache 20"),
        sql(2, "create table t as select nextval('s') as n"),
        sql(3, "select setval('s', 100)", "create table u as select nextval('s') as n"),
    )
    yield changelog(
        "numbers as text",
        sql(1, "create table f as select (1::float8 / 3)::text as a"),
        sql(2, "create table g as select (1::float8 / 3)::text as a"),
    )
    yield changelog(
        "a trigger for logins",
        whole(
            1,
            "create table logins (who text); create function noted() returns event_trigger "
            "language plpgsql as $$ begin insert into public.logins values (session_user); "
            "end $$",
        ),
        whole(
            2,
            "do $$ begin if current_setting('server_version_num')::int > 170000 then "
            "execute 'create event trigger noted on login execute function noted()'; "
            "end if; end $$",
        ),
        sql(3, "create table t (a int)"),
    )
    yield changelog("one that fails for all", sql(1, "select 1"), sql(2, "select nothing"))
    yield changelog(
        "an extension and a role",
        sql(1, "create extension hstore", "create role reader login password 'x'"),
        sql(2, "create table h (h hstore)", "grant select on h to reader"),
    )


def options() -> Iterator[Input]:
    """Where things are, and how changelogs are named."""
    app = {
        "a.xml": changelogs.xml(
            sql(1, "create schema if not exists app"),
            changelogs.changeset(2, changelogs.table(1)),
            sql(3, SEEN, SEE, "create table raw (a int)"),
            changelogs.changeset(
                4,
                '<preConditions><tableExists tableName="t1"/></preConditions>',
                '<addColumn tableName="t1"><column name="more" type="int"/></addColumn>',
            ),
        )
    }
    yield Input(
        "a default schema",
        "lb",
        (*_UPDATE, "--default-schema-name=app", "--liquibase-schema-name=public"),
        app,
        quick=True,
        own_tool=True,
    )
    yield Input(
        "a default schema that does not exist", "lb", (*_UPDATE, "--defaultSchemaName=app"), app
    )
    yield Input(
        "names of the history",
        "lb",
        (
            *_UPDATE,
            "--databaseChangeLogTableName=Changes",
            "--database-changelog-lock-table-name=changes_lock",
        ),
        app,
        own_tool=True,
    )
    yield Input(
        "a defaults file",
        "lb",
        _UPDATE,
        {
            **app,
            "liquibase.properties": (
                "url=jdbc:postgresql://elsewhere/db\nusername=me\npassword: secret\n"
                "driver=org.postgresql.Driver\nliquibase.licenseKey=abc\n"
                "liquibaseProLicenseKey=abc\npromptForNonLocalDatabase=false\n"
                "diffTypes=tables,views\nliquibase.hub.mode=off\nliquibase.hub.apiKey=x\n"
                "outputDefaultSchema=true\nliquibase.command.defaultSchemaName=app\n"
                "liquibaseSchemaName=public\ndatabaseChangeLogTableName=history\nlogLevel=info\n"
                "referenceUrl=jdbc:postgresql://other/db\nreferenceUsername=me\n"
                "parameter.unused=1\nliquibase.changelogLockPollRate=2\nverbose=true\n"
            ),
        },
    )
    for name in ("classpath:db/master.xml", "classpath:/db/master.xml", "db/master.xml"):
        yield Input(
            f"included by {name}",
            "lb",
            ("update", f"--changelog-file={name}", "--search-path=src/main/resources"),
            _spring(),
            quick=name.startswith("classpath:/"),
        )


def _spring() -> dict[str, str]:
    """A changelog as a Spring application has it."""
    root = "src/main/resources/db"
    return {
        f"{root}/master.xml": changelogs.xml(
            '<include file="classpath:db/one.xml"/>',
            '<include file="classpath:/db/two.xml"/>',
            '<include file="three.xml" relativeToChangelogFile="true"/>',
            '<include file="/db/four.sql"/>',
            '<includeAll path="classpath:db/all/"/>',
        ),
        f"{root}/one.xml": changelogs.xml(changelogs.changeset(1, changelogs.table(1))),
        f"{root}/two.xml": changelogs.xml(
            changelogs.changeset(2, '<sqlFile path="db/two.sql"/>'),
            changelogs.changeset(3, '<sqlFile path="two.sql" relativeToChangelogFile="true"/>'),
            changelogs.changeset(4, '<loadData file="classpath:db/rows.csv" tableName="t1"/>'),
        ),
        f"{root}/two.sql": "insert into t1 (name) values ('two');\n",
        f"{root}/rows.csv": "id,name\n100,hundred\n",
        f"{root}/three.xml": changelogs.xml(changelogs.changeset(5, changelogs.table(2))),
        f"{root}/four.sql": "--liquibase formatted sql\n--changeset bob:6\nselect 6;\n",
        f"{root}/all/b.sql": "--liquibase formatted sql\n--changeset bob:b\nselect 'b';\n",
        f"{root}/all/a.sql": "--liquibase formatted sql\n--changeset bob:a\nselect 'a';\n",
    }


_PIECES = (
    ("set work_mem = '{n}MB'",),
    ("set search_path = app, public",),
    ("set search_path = app",),
    ("reset search_path",),
    ("alter database postgres set search_path = app",),
    ("alter database postgres set timezone = 'Asia/Tokyo'",),
    ("alter role postgres set work_mem = '1{n}MB'",),
    ("alter role postgres reset work_mem",),
    ("alter role postgres set default_transaction_read_only = on",),
    ("set role app_owner",),
    ("reset role",),
    ("set time zone 'Europe/Berlin'",),
    ("set session app.tenant = 'tenant {n}'",),
    ("select pg_catalog.set_config('search_path', '', false)",),
    ("reset all",),
    ("create temp table tmp{n} (a int)", "insert into tmp{n} values ({n})"),
    ("create temp table if not exists often (a int)", "insert into often values ({n})"),
    (
        "create table if not exists public.often_seen (n int)",
        "insert into public.often_seen select {n}",
    ),
    ("set local work_mem = '99MB'",),
    ("create table app.t{n} (a int)",),
    ("create table if not exists t{n} (a int)",),
    ("create schema if not exists s{n}",),
)
_OWNER = (
    SEEN,
    "create schema app",
    "create role app_owner",
    "grant all on schema public, app to app_owner",
    "alter default privileges grant all on tables to app_owner",
    "alter default privileges grant all on sequences to app_owner",
    "grant all on all tables in schema public to app_owner",
    "grant all on all sequences in schema public to app_owner",
)


def generated_changelog(seed: int) -> Input:
    """A changelog of changesets that set all kinds of things."""
    chance = random.Random(seed)
    chosen = []
    for n in range(chance.randint(4, 12)):
        pieces = chance.sample(_PIECES, chance.randint(1, 2))
        statements = [text.format(n=n) for piece in pieces for text in piece]
        chosen.append([*statements, SEE] if chance.random() < 0.8 else statements)
    everything = [list(_OWNER), *chosen, [SEE]]
    if chance.random() < 0.5:
        files = {"a.xml": changelogs.xml(*(sql(n, *one) for n, one in enumerate(everything)))}
        return Input(
            f"generated {seed}", "lb", _UPDATE, files, quick=seed in _QUICK, engine=seed == 1
        )
    text = "".join(
        f"--changeset eve:{n}\n" + "".join(f"{one};\n" for one in statements)
        for n, statements in enumerate(everything)
    )
    files = {"a.sql": f"--liquibase formatted sql\n{text}"}
    words = ("update", "--changelog-file=a.sql")
    return Input(f"generated {seed}", "lb", words, files, quick=seed in _QUICK, engine=seed == 1)


_QUICK = (1,)


def changelog_files() -> Iterator[Input]:
    """Changelogs in all formats with everything in them, and a real one."""
    for name, words in (
        ("production", ("update", "--contexts=prod", "--labels=!late")),
        ("test", ("update", "--contexts=test", "-Dkind=given")),
        ("counted", ("update-count", "--count=9")),
        ("tagged", ("update-to-tag", "--tag=v0")),
    ):
        yield Input(
            f"everything, {name}",
            "lb",
            (*words, "--changelog-file=master.xml"),
            quick=name == "tagged",
        )
    yield Input(
        "a real application",
        "lb",
        ("update", "--changelog-file=config/liquibase/master.xml", "--contexts=test,faker"),
        directory=JHIPSTER / "src" / "main" / "resources",
    )


_STATEMENTS = (
    "create table t{n} (id int primary key, a text, b numeric(10, 2) default {n});",
    "insert into log values ({n}, 'it''s; -- not a comment');",
    "insert into log values ({n}, E'a\\nb\\'; c');",
    "insert into log values ({n}, $$ dollar ; ' $$), ({n}, $x$ $$ $x$);",
    "/* a comment; /* nested */ with ' */ insert into log values ({n}, 'after');",
    "create function f{n}(x int) returns int language plpgsql as $$\nbegin\n  return x * {n}; "
    "-- so; there\nend $$;\ninsert into log select f{n}(2), 'f{n}';",
    "copy log from stdin;\n{n}\tone\\ttab\n{n}\t\\N\n\\.",
    'copy log (n, what) from stdin with (format csv);\n{n},"quoted, ; \\"\n\\.',
    "\\set v{n} 'value {n}'\ninsert into log values ({n}, :'v{n}');",
    "select {n} as num, 'text {n}' as txt \\gset\ninsert into log values (:num, :'txt');",
    "select format('insert into log values (%s, %L)', g, 'gexec') from generate_series(1, 2) g "
    "\\gexec",
    "\\if :{?nothing}\nselect broken;\n\\else\ninsert into log values ({n}, 'else');\n\\endif",
    "\\copy log from 'rows.csv' csv",
    "\\ir inner.sql",
    "do $$ begin for i in 1..3 loop insert into log values (i, 'do {n}'); end loop; end $$;",
    "begin; insert into log values ({n}, 'gone'); rollback;",
    "begin; insert into log values ({n}, 'kept'); savepoint a; commit;",
    "create view v{n} as select n, what from log where n > {n};",
    "set search_path = app, public; create table inside{n} (a int); reset search_path;",
    "create role r{n}; grant select on log to r{n};",
    "create index concurrently on log (n) where n > {n};",
    "comment on table log is 'changed {n} times';",
    "alter database postgres set work_mem = '1{n}MB';",
    "insert into log values ({n}, :'DBNAME'), ({n}, 'é ü 漢');",
    "insert into log values ({n}, U&'d\\0061t\\+000061');",
    "select 1 \\; insert into log values ({n}, 'second');",
    "insert into log values (nextval('numbers'), 'number');",
)


def generated_script(seed: int) -> Input:
    """Scripts of statements and commands that psql reads in its own way."""
    chance = random.Random(seed)
    files = {
        "inner.sql": "insert into log values (0, 'inner');\n\\echo said\n",
        "rows.csv": '1,one\n2,"two, ""too"""\n',
        "0.sql": "create schema app; create sequence numbers;\n"
        "create table log (n int, what text);\n",
    }
    words = ["-f", "0.sql"]
    for number in range(1, chance.randint(2, 4)):
        picked = (
            text.replace("{n}", f"{number}{at}")
            for at, text in enumerate(chance.sample(_STATEMENTS, chance.randint(3, 9)))
        )
        files[f"{number}.sql"] = "\n".join(picked) + "\n"
        words += ["-f", f"{number}.sql"]
    words += ["-c", "insert into log values (1, 'last')"]
    return Input(
        f"script {seed}", "psql", tuple(words), files, quick=seed in _QUICK, engine=seed == 1
    )


def scripts() -> Iterator[Input]:
    """Scripts of ours, and a real one."""
    yield Input("a script that fails", "psql", ("-c", "select 1", "-c", "select nothing"))
    yield Input("a script that runs a program", "psql", ("-c", "\\! true"), refused=True)
    yield Input(
        "a script that reads the server's files",
        "psql",
        ("-c", "create table t as select pg_read_file('PG_VERSION') as v"),
        refused=True,
    )
    yield Input(
        "a script for another database",
        "psql",
        ("-c", "create database shop", "-f", "a.sql"),
        {"a.sql": "\\connect shop\ncreate table t (a int);\n"},
    )
    yield Input(
        "one transaction",
        "psql",
        ("-1", "-f", "a.sql"),
        {"a.sql": "create table t (a int);\ninsert into t values (1);\n"},
    )
    yield Input(
        "variables",
        "psql",
        ("-v", "name=it's", "-f", "a.sql"),
        {"a.sql": "create table t as select :'name' as a;\n"},
    )
    yield Input(
        "settings that last",
        "psql",
        (
            "-c",
            "alter role postgres set search_path = app",
            "-c",
            "create schema app",
            "-c",
            "alter database postgres set timezone = 'Asia/Tokyo'",
        ),
        quick=True,
    )
    yield Input("a real script", "psql", ("-f", str(DATA / "chinook.sql")), directory=DATA)


def everything() -> list[Input]:
    """All of them."""
    return [
        *sessions(),
        *things(),
        *options(),
        *changelog_files(),
        *(generated_changelog(seed) for seed in range(1, 21)),
        *scripts(),
        *(generated_script(seed) for seed in range(1, 21)),
    ]
