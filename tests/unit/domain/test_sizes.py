"""Sizes, read as people write them and written for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.domain.sizes import LARGEST, parse, rounded, write


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5000000", 5_000_000),
        ("10GB", 10 * 10**9),
        ("10 gb", 10 * 10**9),
        ("500MB", 500 * 10**6),
        ("1.5TB", 1_500_000_000_000),
        ("512MiB", 512 << 20),
        ("7B", 7),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "10 XB", "-1", "1e9", "10G", "true", "1.5.2MB", "\u0661"]
)
def test_what_is_no_size_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as"):
        parse(text)


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (0, "0"),
        (1001, "1001"),
        (10 * 10**9, "10GB"),
        (128 << 20, "128MiB"),
        (1_500_000_000_000, "1500GB"),
    ],
)
def test_a_size_is_written_in_the_largest_unit_that_fits(size: int, written: str) -> None:
    assert write(size) == written


@pytest.mark.parametrize("text", [f"{LARGEST + 1}", f"{LARGEST}kB", "9" * 400 + ".5TB"])
def test_more_than_any_disk_has_is_refused(text: str) -> None:
    assert parse(str(LARGEST)) == LARGEST
    with pytest.raises(ValueError, match="too large"):
        parse(text)


@given(st.integers(0, 10**6), st.sampled_from([1, 1000, 1 << 10, 10**9, 1 << 40]))
def test_what_is_written_is_read_as_exactly_the_same(number: int, factor: int) -> None:
    assert parse(write(number * factor)) == number * factor


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (48_300_000, "48.3 MB"),
        (999_949_999, "1.0 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes_have_a_unit(count: int | None, written: str) -> None:
    assert rounded(count) == written
