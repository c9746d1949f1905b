"""What may be said about how a cluster is made. The command line imports this, too."""

from typing import Literal

LocaleProvider = Literal["libc", "icu", "builtin"]
"""Whose locales are meant: the C library's, ICU's, or PostgreSQL's own."""

LOCALE_PATTERN = "^[A-Za-z0-9_.@:=;+-]{1,200}$(?!\n)"
ENCODING_PATTERN = "^[A-Za-z0-9_-]{1,60}$(?!\n)"

DEFAULT_LOCALE = "C.UTF-8"
DEFAULT_ENCODING = "UTF8"
