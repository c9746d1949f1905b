"""The same recipe through an engine of ours, and through the plain tool; what each came to."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

import psycopg

from pgstrata.domain.image import Installation
from pgstrata.domain.instance import Server
from pgstrata.kinds.liquibase import search_path
from tests.acceptance.conftest import Terminal
from tests.truth.inputs import Input

_HISTORIES = """
select attrelid::regclass::text from pg_attribute
where attname in ('orderexecuted', 'deployment_id') group by 1 having count(*) = 2"""
_QUIETLY = (
    "-c default_transaction_read_only=off -c statement_timeout=0 -c search_path=pg_catalog "
    "-c lock_timeout=0 -c role=none"
)
_MADE_ANEW = re.compile(
    r"^(?:--|\\(?:un)?restrict |ALTER ROLE postgres WITH |CREATE ROLE postgres;)", re.MULTILINE
)


class FailedError(Exception):
    """It was refused, or failed."""


def judge(one: Input, expected: str | None, came: str | None) -> str:
    """How what we came to compares; None is what was refused or failed."""
    if came is None:
        return "refused rightly" if one.refused or expected is None else "different"
    return "equal" if came == expected else "different"


class Engine:
    """An engine, asked by HTTP."""

    def __init__(self, shell: Terminal) -> None:
        """Start it."""
        shell("engine", "start")
        known = shell.engine_file()
        self._endpoint, self._token = known["endpoint"], known["authToken"]

    @contextmanager
    def prepared(
        self, kind: str, image: str, work_dir: Path, words: Sequence[str]
    ) -> Iterator[str]:
        """The DSN of an instance, all steps of which are built. Raises ``FailedError``."""
        field = "psql_args" if kind == "psql" else "liquibase_args"
        begun = self._ask(
            "POST",
            "/v1/prepare-jobs",
            {"prepare_kind": kind, "image_id": image, "work_dir": str(work_dir), field: words},
        )
        # The stream ends with the job.
        self._read("GET", begun["events_url"])
        job = self._ask("GET", begun["status_url"])
        if job["status"] != "succeeded":
            raise FailedError(f"{job['error']['message']}\n{job['error'].get('details', '')}")
        yield job["result"]["dsn"]
        self._ask("DELETE", f"/v1/instances/{job['result']['instance_id']}?force=true")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self._read(method, path, body))

    def _read(self, method: str, path: str, body: Any = None) -> bytes:
        request = urllib.request.Request(
            self._endpoint + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=330) as answer:
                content: bytes = answer.read()
                return content
        except HTTPError as error:
            said = json.load(error)
            raise FailedError(f"{said['message']}\n{said.get('details', '')}") from None


def plain_psql(of: Installation, dsn: str, work_dir: Path, words: Sequence[str]) -> None:
    """Run psql as anybody would. Raises ``FailedError``."""
    ended = subprocess.run(
        [of.bin_dir / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", *words, dsn],
        cwd=work_dir,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise FailedError(ended.stderr)


def liquibase_words(
    server: Server, directory: Path, words: Sequence[str], number: int
) -> list[str]:
    """The words of a plain call of Liquibase in a directory, where Java itself is not.

    Its number makes the URL another one.
    """
    target = urlsplit(server.endpoint.dsn)
    everywhere = ("--database", "--liquibase")
    command, *more = words
    path = next((word for word in more if word.startswith("--search-path=")), "--search-path=.")
    defaults = directory / "liquibase.properties"
    return [
        f"--search-path={search_path.write([str(directory / path.partition('=')[2])])}",
        *((f"--defaults-file={defaults}",) if defaults.exists() else ()),
        *(word for word in more if word.startswith(everywhere)),
        "--log-level=off",
        "--show-banner=false",
        command,
        *(word for word in more if not word.startswith((*everywhere, "--search-path", "-D"))),
        f"--url=jdbc:postgresql://{target.hostname}:{target.port}{target.path}?number={number}",
        f"--username={unquote(target.username or '')}",
        f"--password={unquote(target.password or '')}",
        *(word for word in more if word.startswith("-D")),
    ]


def dump(of: Installation, dsn: str) -> str:
    """All of a cluster, but for the connecting role's login and what each run makes anew."""
    with psycopg.connect(dsn, options=_QUIETLY) as connection:
        names = connection.execute("select datname from pg_database where datallowconn").fetchall()
    for (name,) in names:
        if name == "template1":
            continue
        with psycopg.connect(dsn, dbname=name, options=_QUIETLY) as connection:
            for (table,) in connection.execute(_HISTORIES).fetchall():
                connection.execute(
                    f"update {table} set dateexecuted = 'epoch', deployment_id = ''".encode()
                )
    ended = subprocess.run(
        [
            of.bin_dir / "pg_dumpall",
            "--no-role-passwords",
            "--exclude-database=template1",
            f"--dbname={dsn}",
        ],
        # It hands on all of the DSN but the password.
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PGOPTIONS": _QUIETLY,
            "PGPASSWORD": unquote(urlsplit(dsn).password or ""),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = (line for line in ended.stdout.splitlines() if line and not _MADE_ANEW.match(line))
    return "\n".join(lines)
