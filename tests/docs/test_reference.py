"""Tables in the docs say all that there is, and nothing that there is not."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

import msgspec
import pytest

from pgstrata import errors
from pgstrata.api.configuration import ConfigValue
from pgstrata.api.jobs import JobAccepted, JobEntry, JobStatus
from pgstrata.cli import command_table
from pgstrata.domain.cache import CacheStatus, CheckOutcome
from pgstrata.domain.comparison import Comparison
from pgstrata.domain.deletion import BlockedBy, DeleteNode, DeleteOutcome, DeleteResult
from pgstrata.domain.job import EventType, Result, Status
from pgstrata.domain.listing import (
    EngineStatus,
    InstanceEntry,
    InstanceStatus,
    NameEntry,
    NameStatus,
)
from pgstrata.domain.plan import ReasonCode, StateExecuteTask, TaskSpec
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.run import RunEventType
from pgstrata.domain.state import State
from pgstrata.httpapi.app import OPERATIONS
from pgstrata.settings import OWN_SERVER_SETTINGS, THROW_AWAY_SETTINGS
from tests.docs.pages import PAGES, ROOT

Rows = list[list[str]]


def twice(names: Iterable[str]) -> list[str]:
    """Those that are there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


OWN_WORDS = {
    *("alias ls", "alias check", "alias create", "run", "cache verify", "config schema", "demo"),
    *("completion", "engine serve", "engine start", "engine stop", "engine status", "engine logs"),
    *("liquibase install", "postgres install", "postgres ls", "postgres rm"),
    *("store create", "store resize", "store rm"),
}
"""Commands that print JSON for which a look is enough, or none."""

CLIENTS_OWN = {"engine_unreachable", "timed_out", "job_failed"}


def tables(name: str) -> dict[tuple[str, str], Rows]:
    """The rows of a page's tables, by the heading they stand below and the first cell of theirs."""
    found: dict[tuple[str, str], Rows] = {}
    heading = ""
    rows: Rows | None = None
    for line in (ROOT / "docs" / name).read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            rows = None
            continue
        cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        if rows is None:
            rows = found.setdefault((heading, cells[0]), [])
        elif not set(line) <= set("|-"):
            rows.append(cells)
    return found


@pytest.mark.parametrize(
    ("heading", "column", "words"),
    [
        ("Jobs and tasks", "status", Status),
        ("Jobs and tasks", "task", [spec.__struct_config__.tag for spec in get_args(TaskSpec)]),
        ("Instances", "status", get_args(InstanceStatus)),
        ("Names", "status", get_args(NameStatus)),
        ("Why a step is cached or must be built", "reason", get_args(ReasonCode)),
        ("Events of a job", "type", get_args(EventType)),
        ("Events of a run", "type", get_args(RunEventType)),
        ("Removing", "outcome", get_args(DeleteOutcome) + get_args(CheckOutcome)),
        ("Removing", "blocked", get_args(BlockedBy)),
    ],
)
def test_every_status_event_and_reason_is_explained(heading: str, column: str, words: Any) -> None:
    explained = [row[0] for row in tables("statuses.md")[heading, column]]
    assert sorted(explained) == sorted(map(str, words))


def test_every_error_is_explained_with_its_status_and_exit_code() -> None:
    rows = tables("errors.md")["Error codes", "code"]
    assert twice(row[0] for row in rows) == []
    classes = {code: errors.error_class(code, 500) for code in errors.known_codes()}
    assert {row[0]: row[1:-1] for row in rows} == {
        code: [str(kind.exit_code)]
        if code in CLIENTS_OWN
        else [str(kind.http_status), str(kind.exit_code)]
        for code, kind in classes.items()
    }


def test_every_setting_that_servers_get_is_explained_with_its_value() -> None:
    rows = tables("instances.md")["The server's settings", "setting"]
    assert {row[0]: row[1].strip("`") for row in rows} == THROW_AWAY_SETTINGS


def test_every_setting_that_nobody_can_change_is_named() -> None:
    text = (ROOT / "docs" / "instances.md").read_text()
    assert [name for name in OWN_SERVER_SETTINGS if f"`{name}`" not in text] == []


def test_every_route_of_the_api_is_named() -> None:
    rows = tables("http.md")["Every route", "method"]
    assert sorted((row[0], row[1]) for row in rows) == sorted(
        (operation.method, operation.path) for operation in OPERATIONS
    )


def test_every_field_that_all_requests_have_is_explained() -> None:
    cells = [row[0] for row in tables("http.md")["Preparing", "field"]]
    named = {name for cell in cells for name in re.findall(r"[a-z_]+", cell)}
    assert named == set(PrepareRequest.__struct_encode_fields__) - {"fields"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_lead_only_to_pages_that_there_are(page: Any) -> None:
    text = page.read_text()
    links = {page.parent / link for link in re.findall(r"\]\(([^)#:]+\.md)\)", text)}
    named = {ROOT / name for name in re.findall(r"`(docs/[^` ]+\.md)`", text)}
    assert [str(path) for path in links | named if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_each_heading_once(page: Any) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert twice(line for line in prose.splitlines() if line.startswith("#")) == []


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if page.name not in readme] == ["README.md"]


JSON: dict[str, type[msgspec.Struct]] = {
    "Name": NameEntry,
    "Instance": InstanceEntry,
    "State": State,
    "Job in a list": JobEntry,
    "Job": JobStatus,
    "Step": StateExecuteTask,
    "Accepted job": JobAccepted,
    "Result": Result,
    "Removal": DeleteResult,
    "Node": DeleteNode,
    "Engine": EngineStatus,
    "Cache": CacheStatus,
    "Explanation": Explanation,
    "Comparison": Comparison,
    "Value": ConfigValue,
}


@pytest.mark.parametrize("heading", JSON)
def test_every_field_of_the_json_is_explained(heading: str) -> None:
    model = JSON[heading]
    tag = model.__struct_config__.tag_field
    fields = [field.encode_name for field in msgspec.structs.fields(model)]
    rows = tables("cli.md")[heading, "field"]
    assert sorted(row[0] for row in rows) == sorted([*fields, *([tag] if tag else [])])


def test_every_command_is_listed_with_what_it_does() -> None:
    rows = tables("cli.md")["Commands and what they print", "command"]
    assert {row[0]: row[1] for row in rows} == command_table.overview()


def test_every_command_that_prints_models_says_which() -> None:
    """Or that it is one whose fields nobody needs to know."""
    documents = tables("cli.md")["JSON", "command"]
    named = {name.strip("` …") for row in documents for name in row[0].split("`, `")}
    assert {name.split(":")[0] for name in command_table.overview()} - named == OWN_WORDS
