"""How many warm servers are wanted follows from who had to wait, and who never came."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pgstrata.domain.instance import Endpoint, Server
from pgstrata.instances.demand import Make, Stock, Warm, least_wanted, next_to_start

IDLE = 300.0
SERVER = Server(
    endpoint=Endpoint(
        host="127.0.0.1",
        port=5432,
        socket_dir=Path("/s"),
        user="postgres",
        password="secret",
        database="postgres",
    ),
    runtime_id="1",
    title="a server",
    log="/log",
    handle="1",
)


def stock(name: str = "a", *, said: int = 0, asked_at: float | None = None) -> Stock:
    return Stock(Make(name, "postgres"), said=said, asked_at=asked_at)


def fill(one: Stock, now: float, number: int = 1) -> None:
    one.waiting += [Warm(f"{now}-{place}", SERVER, now) for place in range(number)]


def test_what_is_asked_for_once_is_not_worth_a_server() -> None:
    one = stock()
    one.ask(0, IDLE)
    assert one.wanted == 0


def test_whoever_waits_within_the_time_makes_it_worth_one_more() -> None:
    one = stock()
    for moment in (0, 10, 20):
        one.ask(moment, IDLE)
    assert one.wanted == 2


def test_whoever_comes_too_late_makes_no_difference() -> None:
    one = stock()
    one.ask(0, IDLE)
    one.ask(IDLE + 1, IDLE)
    assert one.wanted == 0


def test_whoever_is_served_at_once_makes_no_difference() -> None:
    one = stock()
    one.ask(0, IDLE)
    one.ask(1, IDLE)
    fill(one, 2)
    one.ask(3, IDLE)
    assert one.wanted == 1


def test_a_server_that_waits_for_too_long_is_given_up_and_not_replaced() -> None:
    one = stock()
    for moment in (0, 1, 2):
        one.ask(moment, IDLE)
    fill(one, 3)
    fill(one, 3 + IDLE)
    assert [warm.since for warm in one.give_up(4 + IDLE, IDLE)] == [3]
    assert (one.wanted, len(one.waiting)) == (1, 1)


def test_what_somebody_asked_to_have_waits_forever() -> None:
    one = stock(said=2)
    fill(one, 0, 2)
    assert one.give_up(100 * IDLE, IDLE) == []
    one.said = 1
    assert len(one.give_up(100 * IDLE, IDLE)) == 1


def test_what_was_asked_for_last_is_started_first_and_what_was_said_before_that() -> None:
    old, new, said = stock("old", asked_at=1), stock("new", asked_at=2), stock("said", said=1)
    old.learned = new.learned = 1
    assert next_to_start([old, new, said], 3) is said
    assert next_to_start([old, new], 3) is new
    new.rests_until = 10
    assert next_to_start([old, new], 3) is old
    fill(old, 3)
    assert next_to_start([old, new], 3) is None


def test_only_what_is_wanted_less_gives_way() -> None:
    old, new, said = stock("old", asked_at=1), stock("new", asked_at=2), stock("said", said=1)
    for one in (old, new, said):
        fill(one, 0)
    assert least_wanted([old, new, said], new) is old
    assert least_wanted([new, said], old) is None


def test_settings_that_the_engine_has_anyhow_make_no_difference() -> None:
    engine = {"work_mem": "8MB"}
    assert Make.of("a", "p", {"work_mem": "8MB"}, engine) == Make.of("a", "p", {}, engine)
    assert Make.of("a", "p", {"work_mem": "9MB"}, engine) != Make.of("a", "p", {}, engine)


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "fill", "time", "give up"]), st.integers(1, 200)))
)
def test_never_are_more_wanted_than_ever_waited_at_once(moves: list[tuple[str, int]]) -> None:
    one, now, asked = stock(), 0.0, 0
    for move, number in moves:
        match move:
            case "ask":
                one.ask(now, IDLE)
                asked += 1
                one.waiting[-1:] = []
            case "fill":
                fill(one, now, max(0, min(number, one.wanted - one.number)))
            case "time":
                now += number
            case "give up":
                for warm in one.give_up(now, IDLE):
                    assert warm not in one.waiting
        assert 0 <= one.wanted < max(1, asked)
        assert one.number <= max(one.wanted, 0) or move == "time"
