"""Aliases: what a file says is prepared and run like the command that it stands for."""

from tests.acceptance.conftest import Terminal


def test_an_alias_has_the_state_of_its_command_and_runs_in_its_directory(shared: Terminal) -> None:
    shared.write("aliased/t.sql", "create table t(a int);\n\\i more.sql\n")
    shared.write("aliased/more.sql", "insert into t values (42);\n")
    shared.write("aliased/count.sql", "\\i select.sql\n")
    shared.write("aliased/select.sql", "select a from t;\n")
    shared.write("aliased/t42.prep.pgstrata.yaml", "kind: psql\nargs: [-f, t.sql]\n")
    shared.write("aliased/count.run.s9s.yaml", "kind: psql\nargs: [-qAtX, -f, count.sql]\n")
    assert shared("prepare", "t42", "run", "count").stdout == "42\n"
    assert "  cached  " in shared("plan", "aliased/t42").stdout
    built = shared.json("prepare", "t42", "--name", "of-alias")
    assert shared("run", "count", "--instance", "of-alias").stdout == "42\n"
    (shared.work / "t.sql").write_text((shared.work / "aliased/t.sql").read_text())
    (shared.work / "more.sql").write_text((shared.work / "aliased/more.sql").read_text())
    direct = shared.json("prepare:psql", "--", "-f", "t.sql")
    assert direct["state_id"] == built["state_id"]
