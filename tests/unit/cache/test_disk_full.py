"""What is said to come of a full disk, and what is not."""

import errno
import os
from pathlib import Path

import pytest

from pgstrata.cache.disk_full import LEAST_BYTES, is_disk_full, map_full_disk
from pgstrata.errors import (
    DiskFullError,
    PgstrataError,
    ProgramError,
    ServerError,
    StateUnusableError,
    StepFailedError,
    StoreUnusableError,
)

PLENTY = 1 << 40
WORDS = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_kernels_own_word_is_believed(number: int) -> None:
    assert is_disk_full(OSError(number, "full"), PLENTY)


def test_other_errors_of_the_kernel_are_not_the_disks() -> None:
    assert not is_disk_full(OSError(errno.EACCES, "forbidden"), 0)


@pytest.mark.parametrize(
    "error",
    [
        StepFailedError(f"ERROR: could not extend file: {WORDS}"),
        StepFailedError('ERROR:  could not extend file "base/5/1": wrote only 4096 of 8192 bytes'),
        StepFailedError("psql:big.sql:3: ERROR:  53100"),
        ProgramError("`cp` ended with exit code 1", details=f"cp: error writing: {WORDS}"),
        ServerError("PostgreSQL does not start", details=f"FATAL: could not write: {WORDS}"),
    ],
)
def test_a_tool_that_says_so_is_believed(error: PgstrataError) -> None:
    assert is_disk_full(error, PLENTY)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ServerError("PostgreSQL does not start", details=""), True),
        (ProgramError("`cp` ended with exit code 1"), True),
        (StepFailedError("psql: error: connection to server was lost"), True),
        (StateUnusableError("the cluster was not shut down cleanly"), True),
        (StateUnusableError("tablespace 16384 is kept elsewhere"), False),
        (StepFailedError("ERROR: syntax error"), False),
        (StoreUnusableError("the database is damaged"), False),
    ],
)
def test_where_next_to_nothing_is_left_silence_is_taken_for_it_but_not_a_clear_word(
    error: PgstrataError, told: bool
) -> None:
    assert is_disk_full(error, LEAST_BYTES - 1) is told
    assert not is_disk_full(error, LEAST_BYTES)


def test_the_error_names_the_store_what_happened_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError) as raised, map_full_disk(tmp_path):
        raise StepFailedError(f"could not extend file: {WORDS}", details="the tool's words")
    assert raised.value.message == (
        f"the disk of the store {tmp_path} is full: could not extend file: {WORDS}"
    )
    assert raised.value.details == "the tool's words"
    assert "pgstrata rm" in (raised.value.remedy or "")


def test_what_has_other_causes_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="syntax error"), map_full_disk(tmp_path):
        raise StepFailedError("ERROR: syntax error")
