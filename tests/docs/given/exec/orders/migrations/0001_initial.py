"""The first migration."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Item", [("id", models.AutoField(primary_key=True))]),
    ]
