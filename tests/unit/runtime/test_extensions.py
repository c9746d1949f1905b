"""Extensions that a server lacks: noticed, and told where to get them."""

from pathlib import Path

import pytest
from msgspec import structs

from pgstrata.domain.image import Installation
from pgstrata.runtime.extensions import unavailable_in, where_to_get
from pgstrata.runtime.images import version_key

PACKAGED = {15: ("hstore",), 17: ("hstore", "pg_walinspect"), 18: ("hstore", "pg_walinspect")}


def installed(version: str, *extensions: str, problem: str | None = None) -> Installation:
    return Installation(
        version=version,
        major=version_key(version)[0],
        bin_dir=Path("/pg") / version,
        source="a test",
        problem=problem,
        extensions=extensions,
    )


@pytest.mark.parametrize(
    ("said", "extension"),
    [
        ('psql:a.sql:3: ERROR:  extension "uuid-ossp" is not available', "uuid-ossp"),
        (
            'ERROR:  could not open extension control file "/usr/share/postgresql/12/extension/'
            'pg_trgm.control": No such file or directory',
            "pg_trgm",
        ),
        (
            "liquibase.exception.DatabaseException: ERROR: could not open extension control file "
            '"/a b/c,d/extension/postgis.control": No such file or directory [Failed SQL: …]',
            "postgis",
        ),
        ('ERROR:  relation "t" does not exist', None),
        ('ERROR:  extension "hstore" already exists', None),
        ('could not open extension control file "/x/hstore.control": Permission denied', None),
        ("", None),
    ],
)
def test_the_extension_that_is_wanting_is_heard_from_what_the_tool_says(
    said: str, extension: str | None
) -> None:
    assert unavailable_in(said) == extension


def test_those_that_have_it_are_named_newest_first() -> None:
    used = installed("18.1")
    there = [used, installed("15.3", "hstore"), installed("16.2", "hstore"), installed("17.1")]
    told = where_to_get("hstore", used, there, {})
    assert told.startswith("PostgreSQL 18.1 (a test) has no hstore; to get it: ")
    assert told.endswith(
        "use --image postgres:16.2 (a test), or use --image postgres:15.3 (a test)"
    )


def test_the_command_that_brings_it_is_named_for_the_same_major() -> None:
    told = where_to_get("hstore", installed("15.3"), [installed("15.3")], PACKAGED)
    assert told.endswith("to get it: `pgstrata postgres install 15` and --image postgres:15")


def test_a_major_that_has_it_is_named_where_the_same_has_not() -> None:
    told = where_to_get("pg_walinspect", installed("15.3"), [], PACKAGED)
    assert told.endswith("to get it: `pgstrata postgres install 18` and --image postgres:18")


def test_what_is_there_already_is_not_to_be_fetched() -> None:
    used, other = installed("18.1"), installed("18.4", "hstore")
    told = where_to_get("hstore", used, [used, other], PACKAGED)
    assert told.endswith("to get it: use --image postgres:18.4 (a test)")


def test_one_that_its_version_does_not_stand_for_is_not_named() -> None:
    bare = structs.replace(installed("18.4", "vector"), lacks=("hstore",))
    complete = installed("18.4", "hstore")
    told = where_to_get("vector", complete, [bare, complete], {})
    assert told.endswith("nor has any other here; install the package that contains it")
    assert "postgres:18.4" in where_to_get("hstore", bare, [bare, complete], {})


def test_one_that_cannot_be_used_is_not_named() -> None:
    used, other = installed("18.1"), installed("9.6", "hstore", problem="too old")
    told = where_to_get("hstore", used, [used, other], {})
    assert told.endswith("nor has any other here; install the package that contains it")
