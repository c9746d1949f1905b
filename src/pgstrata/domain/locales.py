"""What may be said about how a cluster is made. The command line imports this, too."""

from typing import Literal

LocaleProvider = Literal["libc", "icu", "builtin"]
"""Whose locales are meant: the C library's, ICU's, or PostgreSQL's own."""

DEFAULT_LOCALE = "C.UTF-8"
DEFAULT_ENCODING = "UTF8"
