SECRET_KEY = "not one"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DATABASES = {
    "default": {
        "ENGINE": "pgstrata.django",
        "NAME": "shop",
        "USER": "keeper",
        "HOST": "db.example.org",
    },
    "replica": {
        "ENGINE": "pgstrata.django",
        "NAME": "shop",
        "HOST": "replica.example.org",
        "TEST": {"MIRROR": "default"},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
