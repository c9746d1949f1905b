from pathlib import Path

from django.db import migrations, models


def fill(apps, schema_editor):
    with Path("migrated").open("a") as file:
        file.write("x")
    apps.get_model("shop", "Order").objects.create(what="tea")


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("what", models.CharField(max_length=100)),
            ],
        ),
        migrations.RunPython(fill),
    ]
