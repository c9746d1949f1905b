"""Clusters with a locale, an encoding and checksums of one's own, by real initdbs."""

import asyncio
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from pgstrata.domain.initdb import Initdb
from pgstrata.errors import InvalidArgumentError
from pgstrata.runtime.base import ToolCommand, run_by_lines
from tests.clusters import NativeRig, exactly, fetched, no_server_left

_SORTED = "select string_agg(w, ' ' order by w) from unnest(array['z', 'ä', 'A', 'b']) w"


Rigs = Callable[[str], NativeRig]
"""Makes the servers of a major, once."""


@pytest.fixture(scope="module")
def rigs(reachable_dir: Path) -> Iterator[Rigs]:
    directory = reachable_dir / "locales"
    directory.mkdir()

    @cache
    def rig(major: str) -> NativeRig:
        (directory / major).mkdir()
        return NativeRig(directory / major, exactly(fetched(major)))

    with no_server_left(directory):
        yield rig


def _ask(rig: NativeRig, options: Initdb, *queries: str) -> list[str]:
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    async def ask() -> list[str]:
        data_dir = rig.empty()
        await rig.runtime.initialise(rig.image, data_dir, options)
        async with rig.serving(data_dir) as server:
            words = tuple(word for query in queries for word in ("-c", query))
            command = ToolCommand(tool="psql", args=("-qAt", *words), work_dir=Path("/"))
            ended = await run_by_lines(rig.runtime, server, command, keep)
            assert ended.exit_code == 0, ended.stderr_tail
        return lines

    return asyncio.run(ask())


def _refusal(rig: NativeRig, options: Initdb) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as refused:
        asyncio.run(rig.runtime.initialise(rig.image, rig.empty(), options))
    return refused.value


@pytest.mark.parametrize("major", ["15", "18"])
def test_a_cluster_sorts_as_its_icu_locale_says(rigs: Rigs, major: str) -> None:
    german = Initdb(locale="de-DE", locale_provider="icu", data_checksums=major == "15")
    sorted_words, checksums, messages = _ask(
        rigs(major), german, _SORTED, "show data_checksums", "show lc_messages"
    )
    assert sorted_words == "A ä b z"
    assert checksums == ("on" if major == "15" else "off")
    assert messages.startswith("C")


def test_a_database_in_another_encoding_keeps_what_it_is_given_in_utf8(rigs: Rigs) -> None:
    told = _ask(
        rigs("15"),
        Initdb(encoding="latin1"),
        "show server_encoding",
        "show lc_collate",
        "set client_encoding = 'UTF8'",
        "select ascii('ä')",
    )
    assert told == ["LATIN1", "C", "228"]


def test_postgresql_s_own_locale_needs_no_library(rigs: Rigs) -> None:
    own = Initdb(locale="PG_UNICODE_FAST", locale_provider="builtin")
    assert _ask(rigs("18"), own, "select upper('ß')") == ["SS"]


@pytest.mark.parametrize(
    ("major", "options", "message", "remedy"),
    [
        ("15", Initdb(locale="tlh_QO.UTF-8"), "no locale tlh_QO.UTF-8", "locale -a"),
        ("18", Initdb(locale="tlh_QO.UTF-8"), "no locale tlh_QO.UTF-8", "locale-provider icu"),
        ("13", Initdb(locale="tlh_QO.UTF-8"), "no locale tlh_QO.UTF-8", "`locale -a` lists"),
        ("18", Initdb(locale="de-DE", locale_provider="builtin"), "builtin", "PG_UNICODE_FAST"),
        ("13", Initdb(locale="de-DE", locale_provider="icu"), "of icu", "postgres:15"),
        ("15", Initdb(locale="C", locale_provider="builtin"), "of builtin", "postgres:17"),
        ("18", Initdb(locale_provider="icu"), "needs a locale", "--locale"),
        ("18", Initdb(encoding="EBCDIC"), "encoding EBCDIC", "LATIN1"),
        ("18", Initdb(encoding="LATIN1", locale="C.UTF-8"), "LATIN1", "that has that encoding"),
    ],
)
def test_what_initdb_cannot_fulfil_is_told_with_what_to_ask_for(
    rigs: Rigs, major: str, options: Initdb, message: str, remedy: str
) -> None:
    error = _refusal(rigs(major), options)
    assert message in error.message
    assert remedy in (error.remedy or "")
    assert int(major) >= 15 or "provider icu" not in (error.remedy or "")
