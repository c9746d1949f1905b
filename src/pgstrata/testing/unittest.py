"""Mixins for unittest: a database for each test of a class, or one for all of them."""

from typing import TYPE_CHECKING, ClassVar

from pgstrata.client.recipes import Recipe
from pgstrata.testing.process import recipe, session

if TYPE_CHECKING:
    from unittest import TestCase

    from pgstrata.testing.pg import Pg
else:
    TestCase = object


class PgMixin(TestCase):
    """A database of each test's own, ``self.pg``. Goes before ``TestCase``."""

    pgstrata_recipe: ClassVar[Recipe | str]
    """How it is made: ``psql("schema.sql")``, or the same in the words of the command line."""
    pg: "Pg"

    def setUp(self) -> None:
        lending = session()
        state_id = lending.build(recipe(self.pgstrata_recipe))
        self.pg = lending.lend(state_id)
        lending.get_ready(state_id)
        self.addCleanup(lending.take_back, self.pg)
        super().setUp()


class PgClassMixin(TestCase):
    """A database for all tests of a class, ``cls.pg``. Goes before ``TestCase``."""

    pgstrata_recipe: ClassVar[Recipe | str]
    """How it is made: ``psql("schema.sql")``, or the same in the words of the command line."""
    pg: "ClassVar[Pg]"

    @classmethod
    def setUpClass(cls) -> None:
        lending = session()
        cls.pg = lending.lend(lending.build(recipe(cls.pgstrata_recipe)))
        cls.addClassCleanup(lending.take_back, cls.pg)
        super().setUpClass()
