"""Changelogs to test with: long ones, with something of everything a changelog may hold."""

import json
from collections.abc import Iterator
from pathlib import Path

_XML = (
    '<databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
    '"http://www.liquibase.org/xml/ns/dbchangelog '
    'http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd">\n{}\n'
    "</databaseChangeLog>\n"
)

FUNCTION = """create or replace function twice{n}(x int) returns int language plpgsql as $$
begin
  -- a comment; with a semicolon
  return x * 2;  /* and 'one' of
  several lines */
end $$;
"""


CONDITION = '<not><tableExists tableName="t1"/></not>'
"""Holds before the first changeset and not after it."""


def xml(*changesets: str) -> str:
    """An XML changelog of these elements."""
    return _XML.format("\n".join(changesets))


def changeset(number: int | str, *changes: str, more: str = "") -> str:
    """A changeset element."""
    return f'<changeSet id="{number}" author="ada" {more}>{"".join(changes)}</changeSet>'


def table(number: int) -> str:
    """A change that creates a table."""
    return (
        f'<createTable tableName="t{number}"><column name="id" type="int" autoIncrement="true">'
        '<constraints primaryKey="true"/></column><column name="name" type="varchar(50)"/>'
        "</createTable>"
    )


def write(directory: Path, files: dict[str, str]) -> None:
    """Write files below a directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def mixed(directory: Path, length: int = 24, *, condition: str = CONDITION) -> str:
    """Write a changelog of at least ``length`` changesets in all formats; the master's name.

    ``condition`` is a precondition of the changelog as a whole.
    """
    blocks = max(1, -(-length // 24))
    includes: list[str] = []
    for block in range(blocks):
        for name, text in _block(block * 100):
            write(directory, {name: text})
            if name.endswith((".xml", ".yaml", ".json", ".changes.sql")):
                includes.append(f'<include file="{name}"/>')
        includes.append(f'<includeAll path="all{block * 100}" relativeToChangelogFile="true"/>')
    master = xml(
        '<property name="kind" value="from the changelog"/>',
        f'<preConditions><dbms type="postgresql"/>{condition}</preConditions>',
        *includes,
    )
    write(directory, {"master.xml": master})
    return "master.xml"


def _block(n: int) -> Iterator[tuple[str, str]]:
    yield f"part{n}.xml", xml(*_xml_changesets(n))
    yield f"data{n}/rows.csv", 'id,name\n1001,one\n1002,"two, too"\n1003,three\n'
    yield f"sql{n}/function.sql", FUNCTION.format(n=n)
    yield f"part{n}.yaml", json.dumps({"databaseChangeLog": [_plain(n + 40), _plain(n + 41)]})
    yield f"part{n}.json", json.dumps({"databaseChangeLog": [_plain(n + 42), _plain(n + 43)]})
    yield f"part{n}.changes.sql", _formatted(n)
    for letter in "ba":
        yield (
            f"all{n}/{letter}.sql",
            (
                f"--liquibase formatted sql\n--changeset eve:{n}-{letter}\n"
                f"insert into t{n + 1} (name) values ('{letter} ${{kind}}');\n"
            ),
        )


def _xml_changesets(n: int) -> Iterator[str]:
    yield changeset(n + 1, table(n + 1), "<rollback/>")
    yield changeset(n + 2, "<comment>the second</comment>", table(n + 2), more='labels="base"')
    yield changeset(
        n + 3,
        f'<loadData file="data{n}/rows.csv" relativeToChangelogFile="true" '
        f'tableName="t{n + 1}" usePreparedStatements="true"/>',
    )
    yield changeset(n + 4, f'<sqlFile path="sql{n}/function.sql" splitStatements="false"/>')
    yield changeset(
        n + 5,
        f'<createProcedure procedureName="p{n}">create or replace procedure p{n}() language sql '
        f"as $$ insert into t{n + 1} (name) values ('called') $$</createProcedure>",
        f"<sql>call p{n}()</sql>",
    )
    for number, fail in enumerate(("MARK_RAN", "CONTINUE", "WARN"), n + 6):
        yield changeset(
            number,
            f'<preConditions onFail="{fail}"><not><tableExists tableName="t{n + 1}"/></not>'
            "</preConditions>",
            f"<sql>insert into t{n + 1} (name) values ('{fail}')</sql>",
        )
    insert = f"<sql>insert into t{n + 1} (name) values ('{{}}')</sql>"
    yield changeset(n + 9, insert.format("always"), more='runAlways="true"')
    yield changeset(n + 10, insert.format("onchange"), more='runOnChange="true"')
    yield changeset(n + 11, "<sql>select nothing</sql>", more='failOnError="false"')
    yield changeset(n + 12, insert.format("test"), more='contextFilter="test"')
    yield changeset(n + 13, insert.format("prod"), more='contextFilter="prod and !test"')
    yield changeset(n + 14, insert.format("mysql"), more='dbms="mysql"')
    yield changeset(n + 15, insert.format("ignored"), more='ignore="true"')
    yield changeset(
        n + 16,
        f"<sql>create view v{n} as select 1 as one</sql>",
        '<modifySql dbms="postgresql"><replace replace="select 1" with="select 7"/></modifySql>',
    )
    yield changeset(n + 17, f'<tagDatabase tag="v{n}"/>')
    yield changeset(
        n + 18,
        f'<insert tableName="t{n + 2}"><column name="name" value="${{kind}}"/></insert>',
        f'<addColumn tableName="t{n + 2}"><column name="extra" type="clob"/></addColumn>',
    )
    yield changeset(
        n + 19,
        '<preConditions onFail="MARK_RAN"><sqlCheck expectedResult="0">'
        f"select count(*) from t{n + 1} where name = 'WARN'</sqlCheck></preConditions>",
        insert.format("never"),
    )
    yield changeset(
        n + 20,
        f"<sql>create index concurrently i{n} on t{n + 1} (name)</sql>",
        more='runInTransaction="false"',
    )


def _plain(number: int) -> dict[str, object]:
    columns = [
        {"column": {"name": "id", "type": "int", "constraints": {"nullable": False}}},
        {"column": {"name": "at", "type": "datetime", "defaultValue": "2020-01-01 10:00:00"}},
    ]
    return {
        "changeSet": {
            "id": str(number),
            "author": "bob",
            "changes": [{"createTable": {"tableName": f"t{number}", "columns": columns}}],
        }
    }


def _formatted(n: int) -> str:
    return (
        "--liquibase formatted sql\n"
        f"--changeset eve:odd::id{n} splitStatements:false\n"
        "--comment: in sql\n"
        f"{FUNCTION.format(n=n + 50)}"
        f"--rollback drop function twice{n + 50};\n"
        f"--changeset eve:{n}-two labels:late\n"
        f"insert into t{n + 1} (name) values ('a;b'); insert into t{n + 1} (name) "
        "values ('${kind}');\n"
        f"--changeset eve:{n}-three context:test\n"
        "--preconditions onFail:MARK_RAN\n"
        f"--precondition-sql-check expectedResult:1 select count(*) from t{n + 1}\n"
        f"delete from t{n + 1};\n"
    )
