"""``prepare:lb``: a database made by a Liquibase changelog."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import WATCH_OPTIONS, prepare
from pgstrata.cli.recipe import (
    INSTANCE_OPTIONS,
    LIQUIBASE_OPTIONS,
    PLAN_OPTIONS,
    liquibase_request,
)

ABOUT = """
Makes a database with Liquibase and prints DSN=… once it accepts connections. Each changeset that
would run is a step, and the result of every step is kept: adding one changeset builds one more
step. Arguments after `--`, or from the first that is not an option here, are passed to Liquibase:
update, update-count or update-to-tag with --changelog-file, --contexts, --labels, --search-path,
--defaults-file and -Dname=value. Liquibase itself comes with `pgstrata liquibase install`.
"""


def run(context: Context, given: Given) -> int:
    """Prepare the changelog."""
    return prepare(context, given, liquibase_request(context, given))


COMMAND = Command(
    usage="prepare:lb [OPTIONS] [--] LIQUIBASE-ARGS",
    about=ABOUT,
    options=(*PLAN_OPTIONS, *LIQUIBASE_OPTIONS, *INSTANCE_OPTIONS, *WATCH_OPTIONS),
    examples=(
        "pgstrata prepare:lb -- update --changelog-file=db/changelog.xml",
        "pgstrata prepare:lb --name shop -- update --changelog-file=master.xml --contexts=test",
        "pgstrata prepare:lb -- update-to-tag --tag=v2 --changelog-file=changelog.sql",
        "pgstrata prepare:lb -- update --search-path=src/main/resources "
        "--changelog-file=config/liquibase/master.xml",
    ),
    run=run,
    passes_on=True,
)
