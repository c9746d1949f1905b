"""Engines that listen where others are."""

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path

import pytest

from pgstrata.engine.connections import Bounds
from pgstrata.engine.exposure import certificate
from pgstrata.settings import EngineSettings
from tests.acceptance.conftest import Terminal
from tests.hostile import certificates
from tests.hostile.endpoint import Door, Visitor, answering
from tests.hostile.engines import serving
from tests.unit.httpapi.engine import MemoryEngine

ELSEWHERE = ("0.0.0.0:0", "[::]:0")
UNKNOWABLE = ("--uncacheable=run", "--", "-c", r"\! true")


@pytest.mark.parametrize("address", ELSEWHERE)
def test_an_engine_does_not_listen_where_others_are_without_tls(
    pgstrata: Terminal, address: str
) -> None:
    refused = pgstrata("engine", "serve", "--listen", address, exit_code=4)
    assert "token is a shell" in refused.stderr
    assert "--tls-cert" in refused.stderr
    assert "--insecure-listen" in refused.stderr
    assert not (pgstrata.store / "engine.json").exists()


@pytest.mark.parametrize("given", ["cert", "key"])
def test_a_certificate_without_its_key_is_refused(
    pgstrata: Terminal, tmp_path: Path, given: str
) -> None:
    files = certificates.new(tmp_path / "tls")
    file = files.certificate if given == "cert" else files.key
    refused = pgstrata("engine", "serve", f"--tls-{given}", file, exit_code=2)
    assert "both --tls-cert and --tls-key" in refused.stderr


def test_files_that_are_no_certificate_and_key_are_refused_by_name(
    pgstrata: Terminal, tmp_path: Path
) -> None:
    one, other = certificates.new(tmp_path / "one"), certificates.new(tmp_path / "other")
    for cert, key in (
        (one.certificate, other.key),
        (one.key, one.key),
        (tmp_path / "none.pem", one.key),
        (one.certificate, tmp_path),
    ):
        refused = pgstrata("engine", "serve", "--tls-cert", cert, "--tls-key", key, exit_code=2)
        assert str(cert) in refused.stderr
        assert str(key) in refused.stderr


def test_with_tls_commands_work_as_without(tmp_path: Path) -> None:
    files = certificates.new(tmp_path / "tls")
    tls = (f"--tls-cert={files.certificate}", f"--tls-key={files.key}")
    with serving("--listen=0.0.0.0:0", *tls) as (_, terminal):
        file = terminal.engine_file()
        assert file["endpoint"].startswith("https://0.0.0.0:")
        assert terminal.prepare("-c", "select 1").startswith("postgresql://")

        # The same engine from afar: its certificate must be trusted.
        port = file["endpoint"].rpartition(":")[2]
        remote = {"PGSTRATA_TOKEN": file["authToken"]}
        asked = ("--endpoint", f"https://127.0.0.1:{port}", "ls")
        refused = terminal(*asked, environment=remote, exit_code=3)
        assert "cannot trust" in refused.stderr
        assert "SSL_CERT_FILE" in refused.stderr
        trusting = {**remote, "SSL_CERT_FILE": str(files.certificate)}
        assert terminal(*asked, environment=trusting).stdout

        # An engine.json leads to the engine with the certificate in it and to no other.
        other = certificates.new(tmp_path / "other").certificate.read_text()
        said = json.dumps({**file, "certificate": other})
        (terminal.store / "engine.json").write_text(said)
        terminal("engine", "status", exit_code=3)
        (terminal.store / "engine.json").write_text(json.dumps(file))


def test_where_others_are_no_program_is_run_for_them() -> None:
    with serving("--listen=0.0.0.0:0", "--insecure-listen") as (_, terminal):
        assert terminal.prepare("-c", "select 1").startswith("postgresql://")
        for words in (
            ("prepare:psql", *UNKNOWABLE),
            ("prepare:psql", "--uncacheable=run", "--", "-c", "select 1", "-c", r"\set x `true`"),
            ("prepare:psql", "--uncacheable=run", "--", "-c", r"\o /tmp/x"),
            ("plan:lb", "--liquibase-exec=/bin/true", "--", "update", "--changelog-file=x"),
            ("plan:lb", "--env=LD_PRELOAD=/tmp/x", "--", "update", "--changelog-file=x"),
            ("plan:exec", "--input=/usr/bin/true", "--", "true"),
        ):
            refused = terminal(*words, exit_code=4)
            assert "does not allow" in refused.stderr
            assert "engine.allowPrograms" in refused.stderr
        body = {"prepare_kind": "lb", "image_id": "postgres", "liquibase_exec": "/bin/true"}
        assert refusal(terminal, body) == (403, "programs_not_allowed")


def refusal(terminal: Terminal, body: dict[str, str]) -> tuple[int, str]:
    """What an engine answers to a request that it refuses."""
    file = terminal.engine_file()
    port = int(file["endpoint"].rpartition(":")[2])
    head = (
        f"POST /v1/prepare-jobs HTTP/1.1\r\nAuthorization: Bearer {file['authToken']}\r\n"
        f"Content-Length: {len(json.dumps(body))}\r\nConnection: close\r\n\r\n"
    )
    with closing(socket.create_connection(("127.0.0.1", port), timeout=300)) as one:
        one.sendall(head.encode() + json.dumps(body).encode())
        with closing(one.makefile("rb")) as answer:
            status, _, said = answer.read().partition(b"\r\n\r\n")
    return int(status.split()[1]), json.loads(said)["code"]


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        pytest.param((), True, marks=pytest.mark.slow),
        (("--set=engine.allowPrograms=false",), False),
        (("--listen=0.0.0.0:0", "--insecure-listen", "--set=engine.allowPrograms=true"), True),
        pytest.param(
            ("--listen=127.0.0.1:0", "--set=engine.allowPrograms=true"),
            True,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_whether_programs_are_run_can_be_set(options: tuple[str, ...], allowed: bool) -> None:
    with serving(*options) as (_, terminal):
        assert terminal("plan:psql", *UNKNOWABLE, exit_code=0 if allowed else 4)


def test_a_flood_that_never_agrees_on_tls_ends_like_any_other(tmp_path: Path) -> None:
    files = certificates.new(tmp_path / "tls")
    served = certificate(EngineSettings(tls_cert=files.certificate, tls_key=files.key))

    async def scenario() -> None:
        bounds = Bounds(strangers=2, request_seconds=600)
        async with answering(MemoryEngine(), bounds, certificate=served) as door:
            await push_each_other_out(door)
        hurry = Bounds(request_seconds=0.2)
        async with answering(MemoryEngine(), hurry, certificate=served) as door:
            for said in ("", "\x16\x03\x01"):
                visitor = await door.visitor()
                visitor.say(said)
                assert await visitor.to_the_end() == ""

    async def push_each_other_out(door: Door) -> None:
        # Those that break off, or say what is not TLS, must not be counted for ever.
        for said in ("", "GET / HTTP/1.1\r\n\r\n", "nonsense"):
            broken = await door.visitor()
            broken.say(said)
            await broken.leave()
        visitors: list[Visitor] = [await door.visitor() for _ in range(5)]
        for visitor in visitors[:3]:
            assert await visitor.to_the_end() == ""
        for visitor in visitors[3:]:
            assert not await visitor.over()

    asyncio.run(scenario())
