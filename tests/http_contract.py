"""Checks a running engine against the OpenAPI document it serves."""

from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
import schemathesis.engine
from schemathesis.core.failures import Failure
from schemathesis.engine import events
from schemathesis.openapi.checks import UseAfterFree
from schemathesis.schemas import BaseSchema

DOCUMENT = "/openapi.json"

_COLLECTIONS = {
    "/v1/prepare-jobs": "job_id",
    "/v1/states": "state_id",
    "/v1/instances": "instance_id",
    "/v1/names": "name",
}
"""Where there is something to be found by its id, and what that is called."""

_ENDLESS = "POST /v1/instances/{id}/hold"
"""Its response ends when the client leaves, which no request of these does."""

_RANGES = ("events=0-0", "events=1-", "events=-1", "events=99999-", "events=2-1")


def check_contract(base_url: str, token: str, *, max_examples: int) -> None:
    """Ask the engine at ``base_url`` for everything its document promises, rightly and wrongly.

    It submits, cancels and deletes: not for an engine that anybody needs. What is there to begin
    with is found and asked for, so an engine with something in it is checked more closely.
    Raises ``AssertionError`` that names every promise it broke.
    """
    headers = {"Authorization": f"Bearer {token}"}
    config = _config(base_url, headers) | {
        "generation": {"max-examples": max_examples, "database": "none"}
    }
    schema = schemathesis.openapi.from_url(
        base_url + DOCUMENT, config=schemathesis.Config.from_dict(config)
    )
    tested = {f"GET {DOCUMENT}"}
    broken: set[str] = set()
    for event in schemathesis.engine.from_schema(schema).execute():
        broken.update(_broken_promises(event))
        if isinstance(event, events.ScenarioFinished):
            tested |= {case.value.operation.label for case in event.recorder.cases.values()}
    assert not broken, "\n\n".join(sorted(broken))
    assert tested == _operations(schema) - {_ENDLESS}


def _operations(schema: BaseSchema) -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, methods in schema.raw_schema["paths"].items()
        for method in methods
    }


def _config(base_url: str, headers: dict[str, str]) -> dict[str, Any]:
    known = {path: _known(base_url + path, headers, key) for path, key in _COLLECTIONS.items()}
    dictionaries = {path: {"values": ids} for path, ids in known.items() if ids}
    dictionaries |= {
        "kinds": {"values": ["psql", "lb", "exec"]},
        "ranges": {"values": list(_RANGES)},
    }
    return {
        "base-url": base_url,
        # Ten seconds otherwise, which a busy machine may need for one that waits for a job.
        "request-timeout": 300,
        "headers": headers,
        "dictionaries": dictionaries,
        "parameters": {
            "body.prepare_kind": {"dictionary": "kinds", "probability": 0.7},
            "header.Range": {"dictionary": "ranges", "probability": 0.7},
        },
        "operations": [
            *(
                {"include-path-regex": f"^{path}/", **_found_in(path)}
                for path, ids in known.items()
                if ids
            ),
            {"include-name": _ENDLESS, "enabled": False},
            *(
                {
                    "include-name": name,
                    # What is too short for the beginning of an id may be a name, and what cannot
                    # be a name is more than a schema says.
                    "checks": {
                        "positive_data_acceptance": {
                            "expected-statuses": ["2xx", 400, 401, 404, 409]
                        }
                    },
                }
                for name in (
                    "POST /v1/instances/{id}/start",
                    "POST /v1/instances/{id}/snapshot",
                    "POST /v1/diff",
                )
            ),
            {
                "include-name": "POST /v1/runs",
                # Nor are there tools that do what anybody says.
                "checks": {
                    "positive_data_acceptance": {"expected-statuses": ["2xx", 400, 401, 404]}
                },
            },
            *(
                {
                    "include-name": name,
                    # Whether a recipe makes sense, or a path is a setting's and a value one that
                    # it takes, is more than a schema can say.
                    "checks": {
                        "positive_data_acceptance": {"expected-statuses": ["2xx", 400, 401, 409]}
                    },
                }
                for name in (
                    "POST /v1/prepare-jobs",
                    "POST /v1/cache/explain/prepare",
                    "GET /v1/config",
                    "PATCH /v1/config",
                    "DELETE /v1/config",
                )
            ),
            {
                "include-name": "GET /v1/prepare-jobs/{id}/events",
                # So is where a job's events end.
                "checks": {
                    "positive_data_acceptance": {"expected-statuses": ["2xx", 401, 404, 416]}
                },
            },
        ],
    }


def _found_in(path: str) -> dict[str, Any]:
    binding = {"dictionary": path, "probability": 0.6}
    return {"parameters": {"path.id": binding, "path.name": binding}}


def _known(url: str, headers: dict[str, str], key: str) -> list[str]:
    listed = requests.get(url, headers=headers, timeout=300)
    listed.raise_for_status()
    return [entry[key] for entry in listed.json()]


def _broken_promises(event: events.EngineEvent) -> Iterator[str]:
    if isinstance(event, events.NonFatalError):
        yield f"{event.label}: {event.info.format()}"
    if isinstance(event, events.FatalError):
        raise event.exception
    if isinstance(event, events.ScenarioFinished):
        for checks in event.recorder.checks.values():
            for node in checks:
                if (info := node.failure_info) and not _was_only_tried(info.failure, event):
                    yield f"{event.recorder.label}: {info.failure}\n{info.code_sample}"


def _was_only_tried(failure: Failure, event: events.ScenarioFinished) -> bool:
    """Whether what should be gone was deleted with ``dry_run``, which a schema cannot explain."""
    if not isinstance(failure, UseAfterFree) or failure.deleted_case_id is None:
        return False
    deletion = event.recorder.cases[failure.deleted_case_id].value
    return "dry_run" in (deletion.query or {})
