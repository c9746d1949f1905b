"""``prepare:psql``, ``plan:psql`` and ``watch`` against a scripted engine."""

import io
import json
import sys
from pathlib import Path
from typing import Literal

import pytest

from pgstrata.cli import succession
from pgstrata.cli.for_eval import LINE
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.screen import Screen
from tests.unit.cli.script import (
    BEGINNING,
    CANCELLED,
    DSN,
    FAILED,
    INSTANCE,
    JOB,
    OTHER_STATE,
    PLANNED,
    STATE,
    SUCCESS,
    TASKS,
    script_job,
)
from tests.unit.client.fake_engine import JOB_ID, Cut, FakeEngine

PREPARE = ("prepare:psql", "--", "-f", "schema.sql", "-f", "seed.sql")


def test_the_dsn_stands_alone_on_stdout(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    ran = pgstrata(*PREPARE)
    assert (ran.exit_code, ran.out) == (0, f"DSN={DSN}\n")


def test_progress_tells_cached_steps_from_built_ones(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    lines = pgstrata(*PREPARE).err.splitlines()
    assert lines == [
        "[1/2] cached  -f schema.sql",
        "[2/2] built   -f seed.sql  0.8 s",
        f"instance {INSTANCE[:12]}",
    ]


def test_a_job_that_waits_for_its_turn_tells_its_place(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    fake.answers["POST", "/v1/prepare-jobs"].body["queue_place"] = 3
    assert pgstrata(*PREPARE).err.splitlines()[0] == "queued: position 3 in the queue"


def test_how_the_cluster_is_made_goes_with_the_request(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    locale = ("--locale-provider", "icu", "--locale=de-DE", "--no-data-checksums")
    pgstrata("plan:psql", *locale, "--encoding", "UTF8", "--", "-c", "select 1")
    assert fake.submitted["initdb"] == {
        "locale": "de-DE",
        "locale_provider": "icu",
        "encoding": "UTF8",
        "data_checksums": False,
    }
    refused = pgstrata("plan:psql", "--locale-provider", "glibc", "--", "-c", "select 1")
    assert refused.exit_code == 2
    assert "must be one of libc, icu, builtin" in refused.err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--locale", "en US", "a locale's name of letters, digits and _.@:=;+-"),
        ("--locale", "x" * 201, "a locale's name of letters, digits and _.@:=;+-"),
        ("--encoding", "LATIN1\n", "an encoding's name of letters, digits, _ and -"),
    ],
)
def test_what_cannot_be_a_locale_or_an_encoding_is_refused_in_words(
    pgstrata: Pgstrata, option: str, value: str, expected: str
) -> None:
    refused = pgstrata("plan:psql", option, value, "--", "-c", "select 1")
    assert refused.exit_code == 2
    assert f"{option}: image.initdb.{option[2:]} must be {expected}" in refused.err


def test_a_limit_on_the_job_s_time_goes_with_the_request(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    pgstrata("prepare:psql", "--stop-after", "2m", "--", "-f", "schema.sql")
    assert fake.submitted["timeout"] == 120


def test_verbose_shows_what_the_tool_says(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    assert "      INSERT 0 100\n" in pgstrata("-v", *PREPARE).err


def test_the_request_says_all_that_was_asked_for(
    fake: FakeEngine, pgstrata: Pgstrata, project: Path
) -> None:
    script_job(fake, SUCCESS)
    options = ("--image", "postgres:16", "--name", "shop", "--ttl=2h", "--uncacheable", "run")
    pgstrata("prepare:psql", *options, "-v", "tenant=acme", "-f", "a/schema.sql", "-f/b.sql")
    assert fake.submitted == {
        "prepare_kind": "psql",
        "image_id": "postgres:16",
        "work_dir": str(project),
        "psql_args": ["-v", "tenant=acme", "-f", f"{project}/a/schema.sql", "-f/b.sql"],
        "instance_name": "shop",
        "instance_ttl": 7200,
        "uncacheable": "run",
    }


def test_standard_input_travels_with_the_request(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_job(fake, SUCCESS)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("select 'ü'".encode())))
    pgstrata("prepare:psql", "--", "-f", "-")
    assert fake.submitted["stdin"] == "select 'ü'"


def test_of_standard_input_without_end_only_so_much_is_read_as_could_be_sent(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/zero").open() as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        ran = pgstrata("prepare:psql", "--", "-f", "-")
    assert ran.exit_code == 2
    assert ran.err.startswith("error: standard input is larger than 64 MiB\nhint: ")
    assert fake.requests("POST", "/v1/prepare-jobs") == []


def test_standard_input_that_is_not_utf8_is_refused(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    ran = pgstrata("prepare:psql", "--", "-f", "-")
    assert ran.exit_code == 2
    assert ran.err.startswith("error: standard input is not UTF-8: byte 2 is 0xff\nhint: ")
    assert fake.requests("POST", "/v1/prepare-jobs") == []


@pytest.mark.parametrize(
    "words",
    [
        ("prepare:psql",),
        ("prepare:psql", "--image"),
        ("prepare:psql", "--ttl", "soon", "--", "-f", "a.sql"),
        ("prepare:psql", "--ttl", "0", "--", "-f", "a.sql"),
        ("prepare:psql", "--name", "", "--", "-f", "a.sql"),
        ("prepare:psql", "--name", "a/b", "--", "-f", "a.sql"),
        ("prepare:psql", "--image", "", "--", "-f", "a.sql"),
        ("prepare:psql", "--from=", "--", "-f", "a.sql"),
        ("prepare:psql", "--uncacheable", "maybe", "--", "-f", "a.sql"),
        ("prepare:psql", "--", "--no-such-psql-option"),
        ("watch",),
        ("watch", JOB_ID, "--from", "x"),
    ],
)
def test_wrong_usage_is_told_in_two_lines(
    fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata(*words)
    first, second = ran.err.splitlines()
    assert (ran.exit_code, first[:7], second[:6]) == (2, "error: ", "hint: ")


def test_no_watch_prints_the_job_and_how_to_follow_it(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    ran = pgstrata("prepare:psql", "--no-watch", "--", "-f", "schema.sql")
    assert (ran.exit_code, ran.out) == (0, f"JOB={JOB_ID}\n")
    assert f"pgstrata watch {JOB_ID}" in ran.err
    assert fake.ranges == []


def test_a_failed_job_shows_the_tools_own_words(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, FAILED)
    ran = pgstrata(*PREPARE)
    assert (ran.exit_code, ran.out) == (1, f"{LINE}\n")
    assert ran.err.splitlines() == [
        "[1/2] cached  -f schema.sql",
        "[2/2] failed  -f seed.sql  0.8 s",
        "error: seed.sql failed",
        "hint: correct seed.sql, line 1",
        '  ERROR:  relation "nowhere" does not exist',
        "  LINE 1: select * from nowhere",
    ]


def test_a_tool_that_said_one_thing_is_not_quoted_twice(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    words = {"code": "step_failed", "message": "no such table", "details": "\nno such table\n"}
    error = {"type": "error", "ts": FAILED[-1]["ts"], "error": words}
    script_job(fake, [*FAILED[:-2], error, FAILED[-1]])
    assert pgstrata(*PREPARE).err.count("no such table") == 1


def test_a_tools_error_that_its_output_has_shown_is_not_told_again(
    fake: FakeEngine, pgstrata: Pgstrata, project: Path
) -> None:
    said = [f"psql:{project}/seed.sql:3: ERROR:  no such table", "LINE 1: select", "        ^"]
    log = [{**BEGINNING[6], "message": line} for line in said]
    details = "correct it\n\nLINE 1: select\n  ^\n"
    error = {"code": "step_failed", "message": said[0], "details": details}
    ended = [FAILED[-3], {**FAILED[-2], "error": error}, FAILED[-1]]
    script_job(fake, [*BEGINNING, *log, *ended])
    assert pgstrata("-v", *PREPARE).err.splitlines()[-6:] == [
        "      psql:seed.sql:3: ERROR:  no such table",
        "      LINE 1: select",
        "              ^",
        "[2/2] failed  -f seed.sql  0.8 s",
        "error: `-f seed.sql` failed: see its output above",
        "hint: correct it",
    ]
    assert said[0] in pgstrata(*PREPARE).err
    document = json.loads(pgstrata("-v", "--output", "json", *PREPARE).out)
    assert document["error"]["message"] == said[0]


def test_a_cancelled_job_is_told_as_such(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, CANCELLED)
    ran = pgstrata(*PREPARE)
    assert ran.exit_code == 1
    assert "[2/2] cancelled  -f seed.sql  0.8 s\nerror: it was cancelled\nhint: " in ran.err
    assert "failed" not in ran.err


def test_json_is_one_document_and_nothing_else(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    ran = pgstrata("--output", "json", *PREPARE)
    document = json.loads(ran.out)
    assert (document["job_id"], document["dsn"]) == (JOB_ID, DSN)


def test_a_failure_is_one_json_document_too(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, FAILED)
    ran = pgstrata("--output=json", *PREPARE)
    assert json.loads(ran.out)["error"]["code"] == "step_failed"
    assert "error: seed.sql failed" in ran.err


def test_a_plan_shows_each_step_and_whether_it_is_cached(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, PLANNED)
    ran = pgstrata("plan:psql", "-f", "schema.sql", "-f", "seed.sql")
    assert ran.out.splitlines() == [
        "STEP  WHAT           STATUS    STATE         REASON",
        f"1     -f schema.sql  cached    {STATE[:12]}",
        f"2     -f seed.sql    to build  {OTHER_STATE[:12]}",
    ]
    assert fake.submitted["plan_only"] is True


@pytest.mark.parametrize("elsewhere", ["", "/elsewhere/"])
def test_a_plan_says_why_a_step_is_to_be_built_and_names_files_as_seen_from_here(
    fake: FakeEngine, pgstrata: Pgstrata, project: Path, elsewhere: str
) -> None:
    seed = f"{elsewhere or f'{project}/'}seed.sql"
    reason = {"code": "input_changed", "text": f"{seed} differs", "input": seed}
    tasks = [
        task | ({"reason": reason} if task["task_id"] == "execute-1" else {}) for task in TASKS
    ]
    script_job(fake, PLANNED)
    fake.on("GET", f"/v1/prepare-jobs/{JOB_ID}", JOB | {"tasks": tasks})
    assert pgstrata("plan:psql", "-f", "seed.sql").out.splitlines() == [
        "STEP  WHAT           STATUS    STATE         REASON",
        f"1     -f schema.sql  cached    {STATE[:12]}",
        f"2     -f seed.sql    to build  {OTHER_STATE[:12]}  {elsewhere}seed.sql differs",
    ]
    document = json.loads(pgstrata("--output", "json", "plan:psql", "-f", "seed.sql").out)
    assert [task["reason"]["code"] for task in document["tasks"] if "reason" in task] == [
        "cached",
        "input_changed",
    ]
    assert document["tasks"][2]["reason"] == reason


def test_in_a_terminal_without_room_for_reasons_they_are_below_their_steps_and_whole(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "seed.sql differs (compared with state 3b1f0c77d2e8)"
    reason = {"code": "input_changed", "text": text, "input": "seed.sql"}
    summary = "-c 'insert into ledger select * from generate_series(1, 1000)'"
    script_job(fake, PLANNED)
    changed = {**TASKS[2], "reason": reason, "args_summary": summary}
    fake.on("GET", f"/v1/prepare-jobs/{JOB_ID}", JOB | {"tasks": [*TASKS[:2], changed]})
    with Screen(52) as screen:
        monkeypatch.setattr(sys, "stdout", screen.stream)
        pgstrata("plan:psql", "-f", "seed.sql")
        assert screen.rows() == [
            "STEP  WHAT                  STATUS    STATE",
            f"1     -f schema.sql         cached    {STATE[:12]}",
            f"2     -c 'insert into led…  to build  {OTHER_STATE[:12]}",
            "      seed.sql differs (compared with state",
            "      3b1f0c77d2e8)",
        ]


def test_a_plan_as_json_is_the_job_with_its_tasks(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, PLANNED)
    document = json.loads(pgstrata("--output", "json", "plan:psql", "-f", "schema.sql").out)
    assert [task["task_id"] for task in document["tasks"]][1:3] == ["execute-0", "execute-1"]


@pytest.mark.parametrize("size", [7, 1_000_000])
def test_events_may_come_in_chunks_of_any_size(
    fake: FakeEngine, pgstrata: Pgstrata, size: int
) -> None:
    script_job(fake, SUCCESS)
    fake.chunk_bytes = size
    ran = pgstrata("-v", *PREPARE)
    assert (ran.exit_code, ran.out) == (0, f"DSN={DSN}\n")
    assert ran.err.splitlines()[:3] == [
        "[1/2] cached  -f schema.sql",
        "      INSERT 0 100",
        "[2/2] built   -f seed.sql  0.8 s",
    ]


@pytest.mark.parametrize("how", ["broken", "torn", "ended"])
def test_a_stream_that_breaks_is_taken_up_where_it_broke(
    fake: FakeEngine, pgstrata: Pgstrata, how: Literal["broken", "torn", "ended"]
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(6, how), Cut(3, how)]
    ran = pgstrata(*PREPARE)
    assert (ran.exit_code, ran.out) == (0, f"DSN={DSN}\n")
    assert fake.ranges == [None, "events=6-", "events=9-"]
    assert ran.err.count("[1/2] cached") == 1


def test_a_range_the_engine_does_not_have_starts_anew_without_repeating_steps(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(9)]
    fake.unsatisfiable_from = 9
    ran = pgstrata(*PREPARE)
    assert (ran.exit_code, fake.ranges) == (0, [None, "events=9-", None])
    assert ran.err.count("[2/2] built") == 1


def test_another_engine_in_the_same_place_is_not_taken_for_the_one_that_was_lost(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(6), Cut(0, "stranger"), Cut(0, "stranger")]
    ran = pgstrata(*PREPARE)
    assert (ran.exit_code, ran.out) == (0, f"DSN={DSN}\n")
    assert fake.ranges == [None, *["events=6-"] * 3]


def test_an_engine_that_never_knew_the_token_is_not_asked_twice(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(0, "stranger")]
    assert pgstrata("watch", JOB_ID).exit_code == 3
    assert fake.ranges == [None]


def test_an_engine_lost_for_good_is_an_error_that_says_how_to_go_on(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_job(fake, SUCCESS)
    monkeypatch.setattr(succession, "_PATIENCE_SECONDS", 0.5)
    fake.cuts = [Cut(2), *[Cut(0)] * 20]
    ran = pgstrata(*PREPARE)
    assert (ran.exit_code, ran.out) == (3, f"{LINE}\n")
    assert f"hint: `pgstrata watch {JOB_ID}` follows it again" in ran.err


def test_waiting_ends_with_the_timeout_and_the_job_goes_on(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(2, "silent")]
    ran = pgstrata("--timeout", "3", *PREPARE)
    assert ran.exit_code == 3
    assert "is taking longer than --timeout" in ran.err
    assert fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel") == []


def test_watch_starts_at_the_event_asked_for(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    ran = pgstrata("watch", "--from", "8", JOB_ID.upper())
    assert (ran.exit_code, ran.out) == (0, f"DSN={DSN}\n")
    assert fake.ranges == ["events=8-"]


def test_a_job_watched_after_its_result_was_told_still_gives_it(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    job = {**JOB, "status": "succeeded", "result": SUCCESS[-2]["result"]}
    fake.on("GET", f"/v1/prepare-jobs/{JOB_ID}", job)
    assert pgstrata("watch", "--from", "12", JOB_ID).out == f"DSN={DSN}\n"


def test_a_finished_job_whose_instance_is_gone_gives_no_dsn(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, SUCCESS)
    del fake.answers["GET", f"/v1/instances/{INSTANCE}"]
    ran = pgstrata("watch", JOB_ID)
    assert (ran.exit_code, ran.out) == (1, f"{LINE}\n")
    assert "[2/2] built   -f seed.sql  0.8 s" in ran.err
    assert f"error: job {JOB_ID} succeeded, but its instance is gone\nhint: prepare" in ran.err


def test_an_unknown_job_cannot_be_watched(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    assert pgstrata("watch", JOB_ID).exit_code == 1


def test_text_from_elsewhere_cannot_move_the_cursor(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    error = {
        "type": "error",
        "ts": "2025-01-01T12:00:00Z",
        "error": {
            "code": "step_failed",
            "message": "bad\x1b[2J",
            "details": "worse\x1b]0;title\x07",
        },
    }
    script_job(fake, [*FAILED[:-2], error, FAILED[-1]])
    assert "\x1b" not in pgstrata(*PREPARE).err


PROJECT = """
runtime: {settings: {work_mem: 7MB, jit: off}}
instances: {defaultTtl: 1h, max: 40}
cache: {capacity: {minStateAge: 90}}
"""


def test_what_belongs_to_a_request_travels_with_it_and_the_rest_is_told_to_be_the_engines(
    fake: FakeEngine, pgstrata: Pgstrata, project: Path
) -> None:
    file = project / ".pgstrata" / "config.yaml"
    file.parent.mkdir()
    file.write_text(PROJECT)
    script_job(fake, SUCCESS)
    theirs = {"instances": {"max": 0}, "cache": {"capacity": {"minStateAge": "90s"}}}
    fake.on("GET", "/v1/config", theirs)
    words = PREPARE[1:]
    ran = pgstrata("prepare:psql", "--server-setting", "jit=on", *words)
    assert fake.submitted["settings"] == {"work_mem": "7MB", "jit": "on"}
    assert fake.submitted["instance_ttl"] == 3600
    [warning] = [line for line in ran.err.splitlines() if line.startswith("warning")]
    assert warning.startswith(
        f"warning: {file}: instances.max is 40, but the engine has its own, 0: "
        "`pgstrata config set instances.max 40`"
    )


def test_an_engine_of_another_version_is_told(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, SUCCESS)
    fake.answers["GET", "/v1/health"].body["version"] = "0.0.9"
    assert "warning: the engine is of version 0.0.9" in pgstrata(*PREPARE).err
