from pathlib import Path

import pytest

import shop
from pgstrata.pytest.compat import factories

HERE = Path(__file__).parent

postgresql_proc = factories.postgresql_proc(
    user="keeper",
    dbname="shop",
    options="-c application_name=keeping",
    postgres_options="-c work_mem=3MB",
    load=[HERE / "schema.sql", "shop.load"],
)
postgresql = factories.postgresql("postgresql_proc")
postgresql_async = factories.postgresql_async("postgresql_proc")

fuller = factories.postgresql_noproc(
    depends_on="postgresql_proc",
    load=[shop.load, shop.load_by_itself],
    load_autocommit=True,
)
fuller_postgresql = factories.postgresql("fuller", dbname="fuller")


@pytest.fixture
def anyio_backend():
    return "asyncio"


own_proc = factories.postgresql_proc(user="owner", password="own/ed", load=[HERE / "schema.sql"])
owned = factories.postgresql("own_proc")
