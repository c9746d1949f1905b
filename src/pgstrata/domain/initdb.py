"""How a cluster is made: its locale, encoding and checksums, as a request may ask for them."""

import re
from typing import Annotated

import msgspec

from pgstrata.domain.locales import (
    DEFAULT_ENCODING,
    DEFAULT_LOCALE,
    ENCODING_PATTERN,
    LOCALE_PATTERN,
    LocaleProvider,
)
from pgstrata.domain.model import Model

INITDB_NAMES = ("locale", "locale provider", "encoding", "data checksums")
"""What ``Initdb.own`` calls what may differ."""


class Initdb(Model, frozen=True, kw_only=True):
    """What initdb is asked for; by default a cluster that is the same on every machine."""

    locale: Annotated[str, msgspec.Meta(pattern=LOCALE_PATTERN)] | None = None
    """The locale of its provider; None for C.UTF-8."""
    locale_provider: LocaleProvider | None = None
    """Whose locales are meant; None for the C library's."""
    encoding: Annotated[str, msgspec.Meta(pattern=ENCODING_PATTERN)] | None = None
    """The encoding of the databases; None for UTF8."""
    data_checksums: bool | None = None
    """Whether pages have checksums; None for what that PostgreSQL does."""

    @property
    def own(self) -> dict[str, str]:
        """What differs from the default, by name: part of what states are named by."""
        provider = None if self.locale_provider == "libc" else self.locale_provider
        encoding = _spelled(self.encoding)
        locale = self.locale
        if locale == DEFAULT_LOCALE and provider is None and encoding is None:
            locale = None
        checksums = None if self.data_checksums is None else str(self.data_checksums).lower()
        found = zip(INITDB_NAMES, (locale, provider, encoding, checksums), strict=True)
        return {name: value for name, value in found if value is not None}


AS_ALWAYS = Initdb()
"""The default. Only this very object is left out where a model is written."""


def _spelled(encoding: str | None) -> str | None:
    """An encoding as PostgreSQL compares names; None for the default."""
    plain = re.sub("[^A-Z0-9]", "", (encoding or "").upper())
    return None if plain in ("", DEFAULT_ENCODING, "UNICODE") else plain
