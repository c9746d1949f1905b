"""Liquibase's options: those a recipe may use, those without effect, and those refused, and why.

An option's key is its name without dashes in lower case, so that ``--changelog-file``,
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
    "defaultschemaname": "--default-schema-name",
    "liquibaseschemaname": "--liquibase-schema-name",
    "databasechangelogtablename": "--database-changelog-table-name",
    "databasechangeloglocktablename": "--database-changelog-lock-table-name",
}
"""Options of a recipe, with their names in its normal form."""

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
        *(
            "prolicensekey",
            "liquibaseprolicensekey",
            "hubmode",
            "hubapikey",
            "hubconnectionid",
            "hubprojectid",
        ),
        *("strict", "promptfornonlocaldatabase", "verbose", "monitorperformance"),
        *("uiservice", "filterlogmessages", "mirrorconsolemessagestolog", "logchannels"),
        *("sqlloglevel", "sqlshowsqlwarnings", "outputlineseparator", "outputfileencoding"),
        *("changeloglockwaittimeinminutes", "changeloglockpollrate", "ddllocktimeout"),
        *("analyticsenabled", "generatechangesetcreatedvalues", "diffcolumnorder"),
    }
)
"""Options that affect Liquibase's output, or what it refuses, but not what it does."""

DEFAULTS = {
    "outputdefaultschema": "true",
    "outputdefaultcatalog": "true",
    "preserveschemacase": "false",
    "fileencoding": "utf-8",
    "convertdatatypes": "true",
    "secureparsing": "true",
    "validatexmlchangelogfiles": "true",
    "allowduplicatedchangesetidentifiers": "false",
    "missingpropertymode": "preserve",
    "supportpropertyescaping": "false",
    "alwaysoverridestoredlogicschema": "false",
    "alwaysdropinsteadofreplace": "false",
    "duplicatefilemode": "error",
    "autoreorg": "true",
}
"""Options that are accepted only with Liquibase's own default, in lower case."""

FLAGS = frozenset({"showbanner", "headless", "reportenabled"})
"""Those of them that need no value."""

_CONNECTION = "pgstrata connects Liquibase to the server that the step runs on"
_CLASSES = "the engine decides about jars: add extensions to its liquibase.jars"

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
    "logfile": "Liquibase's output goes to the job's log",
    "outputfile": "Liquibase's output goes to the job's log",
}
"""Options that are refused whatever their value, with the reason."""

NOT_IN_FILES = frozenset(
    {
        *("url", "username", "password", "driver", "classpath", "logfile"),
        *("referenceurl", "referenceusername", "referencepassword", "referencedriver"),
        *("strict", "promptfornonlocaldatabase", "prolicensekey", "verbose"),
        *("difftypes", "diffcolumnorder", "snapshotformat", "format", "overwriteoutputfile"),
        *("includeobjects", "excludeobjects", "schemas", "outputschemas", "dataoutputdirectory"),
        *("includeschema", "includecatalog", "includetablespace", "changesetauthor"),
        *("rollbackcount", "rollbackdate", "rollbacktag", "rollbackscript"),
    }
)
"""Options for other ways of running a changelog, or for other commands than those that update; they
are ignored in a defaults file."""


def key(name: str) -> str:
    """An option's key for any spelling of its name."""
    return name.replace("-", "").replace("_", "").replace(".", "").lower()


def of_variable(name: str) -> str | None:
    """The key of the option that Liquibase reads from a variable, in any spelling it accepts.

    None for a variable that is not an option.
    """
    found = key(name)
    if not found.startswith("liquibase"):
        return None
    return found.removeprefix("liquibase").removeprefix("command")
