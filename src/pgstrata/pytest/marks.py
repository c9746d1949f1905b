"""The mark ``pgstrata``: which database a test asks for."""

from collections.abc import Mapping
from typing import Any

import pytest

SCOPED = {"class": "pg_class", "module": "pg_module", "session": "pg_session"}
"""The fixtures whose database several tests have."""
KEEPS = ("failed", "all", "never")


def asked(node: pytest.Item) -> dict[str, Any]:
    """What the marks of a test, or of what has tests, ask for; of each word the nearest counts."""
    found: dict[str, Any] = {}
    for mark in node.iter_markers("pgstrata"):
        found = {**mark.kwargs, **found}
    return found


def check(item: pytest.Item) -> None:
    """Fail in a line if the marks of a test ask for what there is not."""
    if any(mark.args for mark in item.iter_markers("pgstrata")):
        wrong: str | None = "each word has a name, such as state='empty'"
    else:
        wrong = _wrong(**asked(item))
    if wrong is not None:
        pytest.fail(f"@pytest.mark.pgstrata: {wrong}", pytrace=False)


def _wrong(
    state: object = None,
    scope: object = None,
    settings: object = None,
    keep: object = None,
    **unknown: object,
) -> str | None:
    if unknown:
        return f"there is no {', '.join(unknown)}: it takes state, scope, settings and keep"
    if state is not None and not isinstance(state, str):
        return f"state is the name of a fixture, and not {state!r}"
    if settings is not None and not isinstance(settings, Mapping):
        return f"settings are a dictionary, and not {settings!r}"
    if scope not in (None, "function", *SCOPED):
        return f"scope is function, class, module or session, and not {scope!r}"
    if scope in SCOPED and (state is not None or settings):
        return "scope goes with neither state nor settings, of which the fixture knows nothing"
    if keep not in (None, True, False, *KEEPS):
        return f"keep is True, False, 'failed', 'all' or 'never', and not {keep!r}"
    return None
