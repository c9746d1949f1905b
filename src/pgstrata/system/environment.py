"""The environment variables that have a say, and the end of all others.

Libraries look into the environment as well: libpq obeys some forty variables, others decide how a
library is imported or how a program that we start behaves. An engine that was started with one of
them set would go on so for everybody. So what is not named here is forgotten before it is read.
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
    "PYTHON",  # it has been obeyed already, and the engine that a command starts is to run as we do
)


def forget_others() -> None:
    """Take every other variable from this process, its libraries and the programs it starts.

    For a process that is ours alone, before anything is imported that may look.
    """
    for name in list(os.environ):
        # The system cannot take away one without a name, and nobody can ask for it.
        if name and name not in NAMES and not name.startswith(PREFIXES):
            del os.environ[name]
