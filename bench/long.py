"""A changelog of 1,000 changesets, few of which leave a state, beside Liquibase's command line."""

import subprocess
import tempfile
from pathlib import Path
from time import time_ns

from bench.engine import Engine
from bench.report import Row, timed
from tests import changelogs
from tests.liquibase import launcher, plain_command

LENGTH = 1000
_WORDS = ("update", "--changelog-file=long.xml")
_GIB = 1 << 30


def measure(engine: Engine) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pgstrata-bench-") as name:
        return _Bench(engine, Path(name)).measure()


class _Bench:
    def __init__(self, engine: Engine, work: Path) -> None:
        self._engine = engine
        self._work = work
        work.chmod(0o755)

    def measure(self) -> list[Row]:
        (self._work / "empty.xml").write_text(changelogs.xml())
        self._write(changed=LENGTH - 1)
        empty = self._prepare("update", "--changelog-file=empty.xml")
        plain = plain_command(launcher(self._work), empty["dsn"], *_WORDS)
        base = timed(lambda: subprocess.run(plain, cwd=self._work, check=True, capture_output=True))
        before = self._usage()
        building = timed(lambda: self._prepare(*_WORDS))
        taken = self._usage() - before
        last = self._changed(LENGTH - 1)
        middle = self._changed(LENGTH // 2)
        same = self._changed(LENGTH // 2)
        against = "one plain command-line update of all of them"
        return [
            Row(
                what=f"{LENGTH} changesets, few of which leave a state",
                value=building,
                against=against,
                base=base,
                limit=1.5,
            ),
            Row(what="    their states", value=taken / _GIB, limit=1, unit="GiB"),
            Row(what="    another change in the last one", value=last, limit=1000),
            Row(
                what="    a change in the middle",
                value=middle,
                against=against,
                base=base,
                limit=0.8,
            ),
            Row(what="    another there", value=same, against=against, base=base, limit=0.8),
        ]

    def _changed(self, number: int) -> float:
        """How long it takes to prepare after a change in one changeset."""
        self._write(changed=number)
        return timed(lambda: self._prepare(*_WORDS))

    def _prepare(self, *words: str) -> dict[str, str]:
        request = {
            "prepare_kind": "lb",
            "image_id": "postgres",
            "work_dir": str(self._work),
            "liquibase_args": list(words),
        }
        return self._engine.result(self._engine.connect(), request)

    def _usage(self) -> int:
        status = self._engine.call(self._engine.connect(), "GET", "/v1/cache/status")
        usage: int = status["usage_bytes"]
        return usage

    def _write(self, *, changed: int) -> None:
        """Write the changelog, one of whose changesets has never been like this before."""
        changesets = []
        for number in range(LENGTH):
            change = _change(number)
            if number == changed:
                change += f"<sql>select {time_ns()}</sql>"
            changesets.append(changelogs.changeset(number, change))
        (self._work / "long.xml").write_text(changelogs.xml(*changesets))


def _change(number: int) -> str:
    """What migrations do: every fifth makes a table, the others change it."""
    kind, table = number % 5, number - number % 5
    if kind == 0:
        return changelogs.table(number)
    if kind == 1:
        return f"<sql>insert into t{table} (name) values ('a'), ('b')</sql>"
    if kind == 2:
        column = f'<column name="extra{number}" type="int"/>'
        return f'<addColumn tableName="t{table}">{column}</addColumn>'
    if kind == 3:
        column = '<column name="name"/>'
        return f'<createIndex tableName="t{table}" indexName="i{number}">{column}</createIndex>'
    return f"<sql>create view v{number} as select name from t{table}</sql>"
