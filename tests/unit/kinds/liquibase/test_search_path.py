from hypothesis import given
from hypothesis import strategies as st

from pgstrata.kinds.liquibase import search_path

CHARACTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
NAMES = st.text(CHARACTERS, min_size=1).filter(lambda name: name != ".")
PATHS = st.lists(NAMES, min_size=1).map(lambda names: "/" + "/".join(names))


@given(st.lists(PATHS))
def test_any_paths_survive_being_written(paths: list[str]) -> None:
    assert search_path.read(search_path.write(paths)) == tuple(paths)


def test_paths_are_written_as_they_are_where_that_is_how_liquibase_reads_them() -> None:
    paths = "/srv/app", "/home/me/größer #1: a;b?", "/lib/x.jar"
    assert search_path.write(paths) == ",".join(paths)


def test_urls_are_read_in_the_forms_that_liquibase_knows() -> None:
    text = " file:///a%2Cb , file:/a%20b%2Bc+d,, file:a%25b, /plain%2Cpath+ ,"
    assert search_path.read(text) == ("/a,b", "/a b+c+d", "a%b", "/plain%2Cpath+")
