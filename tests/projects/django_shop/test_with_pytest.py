import pytest

from shop.models import Order


@pytest.mark.django_db
@pytest.mark.parametrize("time", [1, 2])
def test_rolled_back(time):
    Order.objects.create(what="cocoa")
    assert Order.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", [1, 2])
def test_committed(time):
    Order.objects.create(what="cocoa")
    assert Order.objects.count() == 2
