"""``engine.json`` files as engines write them."""

import json
import os
from pathlib import Path
from typing import Any

from tests.unit.client.fake_engine import INSTANCE_ID, TOKEN, FakeEngine


def engine_file(engine: FakeEngine, **other: Any) -> dict[str, Any]:
    """What a scripted engine would write; ``other`` replaces fields."""
    return {
        "endpoint": engine.endpoint,
        "pid": os.getpid(),
        "startedAt": "2025-01-01T00:00:00Z",
        "authToken": TOKEN,
        "version": "0.1.0",
        "instanceId": INSTANCE_ID,
        **other,
    }


def write_engine_file(path: Path, fields: dict[str, Any]) -> Path:
    path.write_text(json.dumps(fields))
    return path
