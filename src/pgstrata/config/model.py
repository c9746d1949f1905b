"""A command's configuration: its own settings and those given for the engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pgstrata.domain.durations import Seconds
from pgstrata.domain.locales import ENCODING_PATTERN, LOCALE_PATTERN, LocaleProvider
from pgstrata.domain.setting import Form, Setting


class InitdbSettings(NamedTuple):
    """How the cluster is made that recipes start from; ``domain.initdb`` says what is meant."""

    locale: Annotated[
        str | None,
        Setting(
            "the cluster's locale",
            default="`C.UTF-8`",
            option="--locale LOCALE",
            form=Form(
                "a locale's name",
                " of letters, digits and _.@:=;+-, such as de_DE.UTF-8",
                LOCALE_PATTERN,
            ),
        ),
    ] = None
    locale_provider: Annotated[
        LocaleProvider,
        Setting(
            "whose locale that is; icu from 15, builtin from 17", option="--locale-provider NAME"
        ),
    ] = "libc"
    encoding: Annotated[
        str | None,
        Setting(
            "the databases' encoding",
            default="`UTF8`",
            option="--encoding NAME",
            form=Form(
                "an encoding's name",
                " of letters, digits, _ and -, such as LATIN1",
                ENCODING_PATTERN,
            ),
        ),
    ] = None
    data_checksums: Annotated[
        bool | None,
        Setting(
            "whether pages have checksums; as options `--data-checksums`, `--no-data-checksums`",
            default="as PostgreSQL does: true from 18",
        ),
    ] = None


ENGINE_FILE = "engine.json"
LOG_FILE = "engine.log"
SERVER_SETTINGS = "runtime.settings."
DEFAULT_TTL = "instances.defaultTtl"


class Configuration(NamedTuple):
    """A command's own settings, and those given for the engine."""

    store: Annotated[
        Path,
        Setting(
            "the store's directory",
            default="`/var/lib/pgstrata` for root, otherwise `~/.local/share/pgstrata`",
            option="--store DIR",
        ),
    ]
    """Absolute."""
    endpoint: Annotated[
        str | None,
        Setting(
            "the address of an engine that runs elsewhere",
            default="the store's own engine",
            option="--endpoint URL",
        ),
    ] = None
    token: Annotated[
        str | None,
        Setting("the token for that engine", secret=True),
    ] = None
    image: Annotated[
        str,
        Setting(
            "which PostgreSQL: postgres for any, postgres:17 for that major",
            option="--image IMAGE",
        ),
    ] = "postgres"
    initdb: InitdbSettings = InitdbSettings()
    """Its keys are ``image.initdb.…``."""
    timeout: Annotated[
        Seconds | None,
        Setting("how long to wait for the engine", least=1, option="--timeout TIME"),
    ] = None
    engine: Mapping[str, Any] = {}
    """Settings given for the engine or for requests to it, by key; the engine decides all others.
    """
    origins: Mapping[str, str] = {}
    """The file, variable or option that each of them is from."""

    @property
    def server_settings(self) -> dict[str, str]:
        """The PostgreSQL settings that requests are made with."""
        own = SERVER_SETTINGS
        return {
            name.removeprefix(own): value
            for name, value in self.engine.items()
            if name.startswith(own)
        }

    @property
    def default_ttl(self) -> Seconds | None:
        """How long an instance lives if its request does not say."""
        return self.engine.get(DEFAULT_TTL)

    @property
    def of_engine(self) -> dict[str, Any]:
        """Those that no request has: the engine's own."""
        return {
            name: value
            for name, value in self.engine.items()
            if not (name.startswith(SERVER_SETTINGS) or name == DEFAULT_TTL)
        }

    @property
    def engine_json(self) -> Path:
        """The discovery file of the store's engine."""
        return self.store / ENGINE_FILE

    @property
    def engine_log(self) -> Path:
        """The output of an engine that runs in the background."""
        return self.store / LOG_FILE
