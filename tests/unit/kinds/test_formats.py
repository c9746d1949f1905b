"""Files that are no scripts, and what to type instead."""

import asyncio
import bz2
import gzip
import io
import lzma
import shlex
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.formats import BEGINNING, recognise
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.sources.local import LocalTree
from tests import needs

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
    "compressed with zstd": b"\x28\xb5\x2f\xfd\x04\x58\x01\x00\x00",
    "compressed with lz4": b"\x04\x22\x4d\x18\x64\x40\xa7",
    "a zip archive": zipped(SCRIPT),
}


def refusal(path: Path) -> InvalidArgumentError:
    request = PrepareRequest(
        prepare_kind="psql", image_id="postgres", fields={"psql_args": ["-f", str(path)]}
    )
    with pytest.raises(InvalidArgumentError) as refused:
        asyncio.run(PsqlRecipe().steps(request, LocalTree()))
    return refused.value


@pytest.mark.parametrize("what", [*CONVERTED, *OTHERS])
def test_a_file_of_another_format_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it's a script.sql"
    path.write_bytes((CONVERTED | OTHERS)[what])
    error = refusal(path)
    assert error.message == f"{path} is {what}, not a script"
    assert shlex.quote(str(path)) in (error.remedy or "")


@pytest.mark.parametrize("what", CONVERTED)
def test_what_is_to_be_typed_makes_the_script_of_it(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it's a script.sql"
    path.write_bytes(CONVERTED[what])
    command, pipe, rest = (refusal(path).remedy or "").rpartition(" | ")
    assert (pipe, rest) == (" | ", "pgstrata prepare:psql -- -f -")
    if shutil.which(program := command.split()[0]) is None:
        needs.missing(f"there is no {program}")
    made = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
    assert made == SCRIPT


def test_a_directory_of_pg_dump_is_called_what_it_is(tmp_path: Path) -> None:
    assert "not a regular file" in refusal(tmp_path).message
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")
    assert "pg_dump's directory format" in refusal(tmp_path).message


@pytest.mark.parametrize(
    "beginning",
    [b"", b"PGDMP", b"PGDMP is the mark", b"BZhello", b"PK", SCRIPT, "sélect 1".encode("latin-1")],
)
def test_a_script_is_none_of_these(beginning: bytes) -> None:
    assert recognise(beginning) is None
    assert recognise((b"\xef\xbb\xbf" + beginning + SCRIPT * 30)[:BEGINNING]) is None
