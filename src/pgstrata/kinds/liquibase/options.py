"""Liquibase's options: which a recipe may use, which change nothing, which are refused and why.

An option is known by its name without dashes in lower case, so that ``--changelog-file``,
``changeLogFile`` and ``LIQUIBASE_COMMAND_CHANGELOG_FILE`` are the same.
"""

COMMANDS = {
    "update": "update",
    "updatecount": "update-count",
    "updatetotag": "update-to-tag",
}

MEANINGFUL = {
    "changelogfile": "--changelog-file",
    "contexts": "--contexts",
    "contextfilter": "--contexts",
    "labels": "--labels",
    "labelfilter": "--labels",
    "searchpath": "--search-path",
    "defaultsfile": "--defaults-file",
    "count": "--count",
    "tag": "--tag",
}
"""Options a recipe is made of, by what they are called in its normal form."""

INERT = frozenset(
    {
        "loglevel",
        "logformat",
        "showbanner",
        "showsummary",
        "showsummaryoutput",
        "headless",
        "reportenabled",
        "reportname",
        "reportpath",
        "reportsuppresssql",
        "licensekey",
        "hubmode",
        "monitorperformance",
    }
)
"""Options about what Liquibase says, not about what it does."""

FLAGS = frozenset({"showbanner", "headless", "reportenabled"})
"""Options of those that may stand without a value."""

_CONNECTION = "pgstrata connects Liquibase to the server that the step runs on"
_CLASSES = "jars are the engine's business: put extensions into its liquibase.jars"

REFUSED = {
    "url": _CONNECTION,
    "username": _CONNECTION,
    "password": _CONNECTION,
    "referenceurl": _CONNECTION,
    "referenceusername": _CONNECTION,
    "referencepassword": _CONNECTION,
    "defaultcatalogname": _CONNECTION,
    "changeexeclistenerclass": _CLASSES,
    "changeexeclistenerpropertiesfile": _CLASSES,
    "referencedriver": _CLASSES,
    "driver": _CLASSES,
    "driverpropertiesfile": _CLASSES,
    "databaseclass": _CLASSES,
    "propertyproviderclass": _CLASSES,
    "classpath": _CLASSES,
    "includesystemclasspath": _CLASSES,
    "logfile": "what Liquibase says arrives as the job's log",
    "outputfile": "what Liquibase says arrives as the job's log",
}
"""Options that are refused whatever their value, with the reason."""

NOT_IN_FILES = frozenset(
    {
        *("url", "username", "password", "driver", "classpath", "logfile"),
        *("referenceurl", "referenceusername", "referencepassword", "referencedriver"),
    }
)
"""Options for other ways of running a changelog, which a defaults file may have all the same."""


def key(name: str) -> str:
    """An option's name in the spelling that options are known by."""
    return name.replace("-", "").replace("_", "").replace(".", "").lower()


def of_variable(name: str) -> str | None:
    """The key of the option that Liquibase reads from a variable, in any spelling it knows.

    None for a variable that it takes no option from.
    """
    found = key(name)
    if not found.startswith("liquibase"):
        return None
    return found.removeprefix("liquibase").removeprefix("command")
