from django.core.management import call_command
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from shop.models import Order


class TestRolledBack(TestCase):
    databases = ("default", "replica")

    @classmethod
    def setUpTestData(cls):
        cls.order = Order.objects.create(what="cocoa")

    def test_one(self):
        self.order.delete()
        self.assertEqual(Order.objects.count(), 1)

    def test_two(self):
        self.assertEqual(Order.objects.count(), 2)
        self.assertEqual(connection.settings_dict["USER"], "keeper")
        self.assertEqual(connection.settings_dict["NAME"], "test_shop")


class Committed:
    """What a migration made is there for each test, in whatever order they run."""

    databases = ("default", "replica")

    def commit(self):
        self.assertEqual([order.what for order in Order.objects.all()], ["tea"])
        with transaction.atomic():
            Order.objects.create(what="coffee")
        self.assertEqual(Order.objects.using("replica").count(), 2)


class TestCommitted(Committed, TransactionTestCase):
    def test_one(self):
        self.commit()
        with connection.cursor() as cursor:
            cursor.execute("create table left_by_a_test ()")

    def test_two(self):
        self.commit()
        self.assertNotIn("left_by_a_test", connection.introspection.table_names())

    def test_three(self):
        self.commit()
        call_command("flush", interactive=False)
        self.assertEqual(Order.objects.count(), 0)


class TestCommittedToo(Committed, TransactionTestCase):
    serialized_rollback = True

    def test_four(self):
        self.commit()

    def test_five(self):
        self.commit()
