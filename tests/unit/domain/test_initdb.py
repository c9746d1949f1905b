"""What of the way a cluster is made differs from the default."""

from typing import Any

import msgspec
import pytest

from pgstrata.domain.initdb import Initdb


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"encoding": "utf-8"},
        {"encoding": "Unicode", "locale_provider": "libc"},
        {"locale": "C.UTF-8"},
    ],
)
def test_who_asks_for_the_default_asks_for_nothing(asked: dict[str, Any]) -> None:
    assert Initdb(**asked).own == {}


def test_each_difference_counts_and_its_spelling_does_not() -> None:
    asked = [
        Initdb(locale="de_DE.UTF-8"),
        Initdb(locale="C.UTF-8", locale_provider="builtin"),
        Initdb(locale="de-DE", locale_provider="icu"),
        Initdb(encoding="latin1"),
        Initdb(data_checksums=True),
        Initdb(data_checksums=False),
    ]
    assert len({tuple(one.own.items()) for one in asked}) == len(asked)
    assert Initdb(encoding="LATIN-1").own == Initdb(encoding="latin1").own


@pytest.mark.parametrize("locale", ["", "a b", "de_DE\n", "x'y", "a/../b"])
def test_what_can_be_no_locale_is_no_request(locale: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"locale": locale}, Initdb)
