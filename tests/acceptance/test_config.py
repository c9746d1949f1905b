"""Settings of projects and of the engine that they share."""

import psycopg

from tests.acceptance.conftest import Terminal


def shown(dsn: str, name: str) -> object:
    with psycopg.connect(dsn) as connection:
        [value] = connection.execute(f"show {name}").fetchone() or ()
    return value


def test_two_projects_have_their_own_settings_on_one_engine(shared: Terminal) -> None:
    recipe = ("-c", "create table t as select current_setting('work_mem') as a")
    plain = shared.prepare(*recipe)
    shared.write(
        ".pgstrata/config.yaml", "runtime: {settings: {work_mem: 7MB}}\ninstances: {max: 40}\n"
    )
    own = shared("prepare:psql", "--", *recipe)
    dsn = own.stdout.strip().removeprefix("DSN=")
    assert (shown(dsn, "work_mem"), shown(plain, "work_mem")) == ("7MB", "4MB")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select a from t").fetchall() == [("7MB",)]
    assert "config.yaml: instances.max is 40, but the engine has its own, 0" in own.stderr

    assert shared("config", "set", "instances.max", "40").stdout == "instances.max is 40\n"
    (shared.work / ".pgstrata" / "config.yaml").unlink()
    assert "cached" in shared("plan:psql", "--", *recipe).stdout
    assert shared("config", "get", "instances.max").stdout == "40\n"
    shared("config", "rm", "instances")
    assert shared.json("config", "get") == {}
