"""Files that are no scripts: what becomes of them, and what to type instead."""

import asyncio
import bz2
import gzip
import io
import lzma
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.formats import BEGINNING, recognise
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.sources.local import LocalTree
from tests import needs

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SCRIPT = b"create table t (a int);\ninsert into t values (1);\n"


def tar(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def zipped(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.sql", content)
    return made.getvalue()


CONVERTED = {
    "compressed with gzip": gzip.compress(SCRIPT),
    "compressed with bzip2": bz2.compress(SCRIPT),
    "compressed with xz": lzma.compress(SCRIPT),
    "a tar archive": tar("a.sql", SCRIPT),
    "UTF-16": SCRIPT.decode().encode("utf-16"),
    "UTF-16LE": SCRIPT.decode().encode("utf-16-le"),
    "UTF-16BE": SCRIPT.decode().encode("utf-16-be"),
    "UTF-32": SCRIPT.decode().encode("utf-32"),
}
OTHERS = {
    "a dump in pg_dump's custom format": b"PGDMP\x01\x0e\x00\x04\x08\x01\x01\x01\x00",
    "a dump in pg_dump's tar format": tar("toc.dat", b"PGDMP"),
    "compressed with zstd": zstd.compress(SCRIPT),
    "compressed with lz4": b"\x04\x22\x4d\x18\x64\x40\xa7",
    "a zip archive": zipped(SCRIPT),
}


RUN = {what for what in CONVERTED | OTHERS if "dump" in what or "compressed" in what}
RUN -= {"compressed with lz4"}
"""What is run as it is if it is a step of its own."""


def refusal(path: Path) -> InvalidArgumentError:
    request = PrepareRequest(
        prepare_kind="psql", image_id="postgres", fields={"psql_args": ["-f", str(path)]}
    )
    with pytest.raises(InvalidArgumentError) as refused:
        asyncio.run(PsqlRecipe().steps(request, LocalTree()))
    return refused.value


def including(path: Path) -> Path:
    """A script that includes a file, which psql then reads by itself."""
    script = path.with_name("including.sql")
    script.write_text("\\i '" + str(path).replace("'", "''") + "'\n")
    return script


@pytest.mark.parametrize("what", [*CONVERTED, *OTHERS])
def test_a_file_of_another_format_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it's a script.sql"
    path.write_bytes((CONVERTED | OTHERS)[what])
    script = including(path)
    error = refusal(script)
    assert error.message == f"{script}:1: {path} is {what}, not a script"
    assert shlex.quote(str(path)) in (error.remedy or "")
    if what not in RUN:
        assert refusal(path).message == f"{path} is {what}, not a script"


@pytest.mark.parametrize("what", CONVERTED)
def test_what_is_to_be_typed_makes_the_script_of_it(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it's a script.sql"
    path.write_bytes(CONVERTED[what])
    command, pipe, rest = (refusal(including(path)).remedy or "").rpartition(" | ")
    assert (pipe, rest) == (" | ", "pgstrata prepare:psql -- -f -")
    if shutil.which(program := command.split()[0]) is None:
        needs.missing(f"there is no {program}")
    made = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
    assert made == SCRIPT


def test_a_directory_of_pg_dump_is_called_what_it_is(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    (dump / "no file").symlink_to("/dev/null")
    assert "it has no toc.dat" in refusal(dump).message
    (dump / "toc.dat").write_bytes(b"PGDMP")
    assert "pg_dump's directory format, not a script" in refusal(including(dump)).message


def test_a_dump_in_tar_format_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a dump"
    whole = tar("toc.dat", b"PGDMP" * 1000)
    for length in (512, 600, 512 + 5000, 512 + 5120, 512 + 5120 + 100):
        path.write_bytes(whole[:length])
        error = refusal(path)
        assert error.message == f"{path} is a tar archive that ends too early"
        assert error.remedy == "check that it was copied as a whole"
    path.write_bytes(whole[:124] + b"no number" + whole[133:])
    assert "ends too early" in refusal(path).message


def test_a_dump_of_which_only_the_first_letters_are_left_is_a_dump(tmp_path: Path) -> None:
    path = tmp_path / "a dump"
    path.write_bytes(b"PGDMP")
    assert "pg_dump's custom format, not a script" in refusal(including(path)).message


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress])
def test_a_dump_that_was_compressed_again_is_called_that(
    tmp_path: Path, packed: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a dump"
    path.write_bytes(packed(OTHERS["a dump in pg_dump's custom format"]))
    error = refusal(path)
    assert "is a dump in pg_dump's custom format, compressed with" in error.message
    assert f"c '{path}' >" in (error.remedy or "")


@pytest.mark.parametrize(
    "beginning",
    [b"", b"PGDMP is the mark", b"BZhello", b"PK", SCRIPT, "sélect 1".encode("latin-1")],
)
def test_a_script_is_none_of_these(beginning: bytes) -> None:
    assert recognise(beginning) is None
    assert recognise((b"\xef\xbb\xbf" + beginning + SCRIPT * 30)[:BEGINNING]) is None
