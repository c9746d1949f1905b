from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgstrata.domain.instance import Endpoint


@pytest.mark.parametrize(
    "name", ["shop", "größe", "a b", "a/b", "x?socketFactory=Evil&user=y", "50%", "#1", "@:", "'\""]
)
def test_a_role_and_a_database_may_have_any_name(name: str) -> None:
    endpoint = Endpoint(
        host="127.0.0.1", port=5432, socket_dir=Path("/s"), user=name, password=name, database=name
    )
    told = conninfo_to_dict(endpoint.dsn)
    assert (told["user"], told["password"], told["dbname"]) == (name, name, name)
    assert set(told) == {"user", "password", "host", "port", "dbname"}
    java = urlsplit(endpoint.jdbc_url.removeprefix("jdbc:"))
    assert (unquote(java.path), java.query, java.fragment) == (f"/{name}", "", "")
