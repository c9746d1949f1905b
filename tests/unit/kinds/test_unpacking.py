"""Compressed scripts: the same as what they are unpacked to, in little memory."""

import asyncio
import bz2
import gzip
import lzma
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError, UncacheableError
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.unpacking import packing_of, unpacked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Pack = Callable[[bytes], bytes]

PACKS: dict[str, Pack] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}
SCRIPT = b"create table t (a int);\ncopy t from stdin;\n1\n\\.\n\\i data.sql\nselect 'x;y';\n"


@pytest.fixture(params=PACKS)
def pack(request: pytest.FixtureRequest) -> Pack:
    return PACKS[request.param]


def step_of(path: Path) -> Step:
    request = PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        work_dir=str(path.parent),
        fields={"psql_args": ["-f", str(path)]},
    )
    [step] = asyncio.run(PsqlRecipe().steps(request, LocalTree()))
    return step


def refusal(path: Path) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as refused:
        step_of(path)
    return refused.value


def content_of(path: Path) -> bytes:
    with path.open("rb") as file:
        packing = packing_of(file)
        assert packing is not None
        with unpacked(file, packing) as plain:
            return plain.read()


def test_a_script_has_the_same_name_however_it_is_compressed(tmp_path: Path, pack: Pack) -> None:
    (tmp_path / "data.sql").write_text("select 1;\n")
    (tmp_path / "a.sql").write_bytes(SCRIPT)
    (tmp_path / "packed").write_bytes(pack(SCRIPT))
    (tmp_path / "other").write_bytes(pack(SCRIPT + b"select 2;"))
    plain, packed, other = (step_of(tmp_path / name) for name in ("a.sql", "packed", "other"))
    assert packed.digest == plain.digest != other.digest
    assert [Path(one.name).name for one in packed.inputs] == ["packed", "data.sql"]


def test_what_is_wrong_in_a_compressed_script_is_told_with_its_line(
    tmp_path: Path, pack: Pack
) -> None:
    path = tmp_path / "a.sql"
    path.write_bytes(pack(b"select 1;\n\\! date\n"))
    error = refusal(path)
    assert isinstance(error, UncacheableError)
    assert error.message.startswith(f"{path}:2: ")
    path.write_bytes(pack(b"\\ir data.sql\n"))
    assert f"{path}:1: \\ir starts at" in refusal(path).message


def test_streams_in_a_row_are_one_script(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "a.sql"
    half = len(SCRIPT) // 2
    path.write_bytes(pack(SCRIPT[:half]) + pack(SCRIPT[half:]))
    assert content_of(path) == SCRIPT


def test_a_damaged_file_is_named(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "a.sql"
    whole = pack(SCRIPT * 100)
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    for content in (whole[:-5], bytes(broken), whole + b"no more of it"):
        path.write_bytes(content)
        assert refusal(path).message.startswith(f"{path} cannot be unpacked with ")


def test_what_becomes_large_takes_little_memory(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "a.sql"
    path.write_bytes(pack(b" " * (48 << 20)))
    tracemalloc.start()
    try:
        with path.open("rb") as file, unpacked(file, packing_of(file) or "gzip") as plain:
            assert plain.seek(0, 2) == 48 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


_FILL = """
import sys
from pgstrata.errors import DiskFullError
from pgstrata.kinds.unpacking import packing_of, unpacked

with open(sys.argv[1], "rb") as file:
    try:
        with unpacked(file, packing_of(file)):
            print("it fits")
    except DiskFullError as error:
        print(error.message, "|", error.remedy)
"""


def test_what_becomes_too_large_for_the_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_bytes(gzip.compress(b" " * (2 << 20)))
    said = subprocess.run(
        [sys.executable, "-c", _FILL, path],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    ).stdout
    assert "does not fit into" in said
    assert "TMPDIR" in said
