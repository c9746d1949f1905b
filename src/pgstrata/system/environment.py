"""The environment variables that are used, and the removal of all others.

Libraries read the environment, too: libpq obeys some forty variables, and others determine how a
library is imported or how a program that we start behaves. An engine started with one of them set
would apply it for all its clients. So variables not named here are removed before they are read.
"""

import os
from typing import Final

NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
        *("TMPDIR", "TEMP", "TMP"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),  # a Python may need it to start at all
        "JAVA_HOME",
        *("COLUMNS", "TERM", "NO_COLOR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)

PREFIXES: Final = (
    "PGSTRATA_",
    *("NPM_CONFIG_", "npm_config_"),
    "PYTHON",  # already obeyed, and the engine that a command starts should run as we do
)


_forgotten: dict[str, str] = {}


def given(name: str) -> str | None:
    """The value of a variable that this process was started with, used or not; None if unset."""
    return os.environ.get(name, _forgotten.get(name))


def all_given() -> dict[str, str]:
    """All variables that this process was started with, for a program that is the caller's."""
    return {**_forgotten, **os.environ}


def forget_others() -> None:
    """Remove all other variables for this process, its libraries and the programs it starts.

    For a process that runs only pgstrata, before it imports anything that may read them.
    """
    for name in list(os.environ):
        # The system cannot remove a variable with an empty name, and nothing can read it.
        if name and name not in NAMES and not name.startswith(PREFIXES):
            _forgotten[name] = os.environ.pop(name)
