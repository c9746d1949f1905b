"""Sizes as people write them."""

import pytest

from pgstrata.config.sizes import parse


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
