"""Finds what a changeset leaves in its session, where one ``update`` would have the next find it.

What a session has set is set again for each later step, as long as the text of the statements says
what that is. Whatever else is left, such as a temporary table, only the session itself has: the
changesets that use it must be one step with the one that made it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pgstrata.kinds.sql.comments import without_comments
from pgstrata.kinds.sql.lexer import Lexer
from pgstrata.kinds.sql.reader import BEHIND, WINDOW, Reader

_NAME = rb'(?:"(?:[^"]|"")+"|[a-z_\x80-\xff][\w$\x80-\xff]*)'
_LITERAL = rb"'(?:[^'\\]|'')*'"
_TEMP = rb"(?:(?:local|global)\s+)?temp(?:orary)?"


def _pattern(text: bytes) -> "re.Pattern[bytes]":
    filled = (
        text.replace(b"<name>", _NAME).replace(b"<literal>", _LITERAL).replace(b"<temp>", _TEMP)
    )
    return re.compile(filled, re.VERBOSE | re.IGNORECASE | re.DOTALL)


_WORTH_A_LOOK = _pattern(
    rb"""\b(?: set | reset | set_config | setseed | discard | load | prepare | hold | system
             | temp | temporary | pg_temp )\b"""
)
_LOOKED_AT = 1 << 16
"""How much of a statement is looked at; none that sets something is longer."""

_NOTHING = _pattern(rb"set \s+ (?: local | constraints | transaction )\b")
_WHO = {
    "session authorization": _pattern(rb"(?:set|reset) \s+ session \s+ authorization\b"),
    "session characteristics": _pattern(rb"set \s+ session \s+ characteristics\b"),
    "role": _pattern(rb"(?: set \s+ (?:session\s+)? | reset \s+ ) role\b"),
    "timezone": _pattern(rb"(?: set \s+ (?:session\s+)? | reset \s+ ) time \s+ zone\b"),
    "search_path": _pattern(rb"set \s+ (?:session\s+)? schema\b"),
    "client_encoding": _pattern(rb"set \s+ (?:session\s+)? names\b"),
    "xmloption": _pattern(rb"set \s+ (?:session\s+)? xml \s+ option\b"),
}
"""Settings that have words of their own."""
_SET = _pattern(rb"set \s+ (?:session\s+)? (<name>(?:\.<name>)*) \s* (?: = | \bto\b)")
_RESET = _pattern(rb"reset \s+ (<name>(?:\.<name>)*) \s* \Z")
_SET_CONFIG = _pattern(
    rb"""select \s+ (?:pg_catalog\s*\.\s*)? set_config \s* \( \s* (<literal>) \s* , \s* <literal>
         \s* , \s* (?:false|'f'|'false') \s* \) \s* \Z"""
)
_LOAD = _pattern(rb"load \s+ <literal> \s* \Z")
_DISCARD = _pattern(rb"discard \s+ all\b")

_LOCALLY = _pattern(rb"\bset_config \s* \( [^()]* , \s* true \s* \)")
_UNKNOWN = _pattern(
    rb"""\b set_config \s* \(
       | \A do\b .* (?: ; | ' | \b(?:begin|then|else|loop) ) \s*
         (?: set \s+ (?!local\b|constraints\b|transaction\b) | reset\b )"""
)
_ROUTINE = _pattern(rb"create \s+ (?:or \s+ replace \s+)? (?:function|procedure)\b")
_SYSTEM = _pattern(rb"alter \s+ system\b")
_NOT_IN_ALL = ("session authorization", "role")
"""What RESET ALL leaves."""
_FOR_NEW_SESSIONS = _pattern(rb"alter \s+ (?:database|role|user)\b .* \b(?:set|reset)\b")

_MADE = (
    _pattern(
        rb"""create \s+ (?:or \s+ replace \s+)? <temp> \s+ (?:unlogged\s+)? (?:recursive\s+)?
             (?:table|view|sequence) \s+ (?:if \s+ not \s+ exists \s+)?
             (?:pg_temp\s*\.\s*)? (<name>)"""
    ),
    _pattern(rb"create\b .*? \bpg_temp \s* \. \s* (<name>)"),
    _pattern(rb"(?:select|with)\b .*? \binto \s+ <temp> \s+ (?:table\s+)? (<name>)"),
    _pattern(rb"prepare \s+ (?!transaction\b) (<name>)"),
    _pattern(rb"declare \s+ (<name>) .*? \bwith \s+ hold\b"),
)
_FIRST_DROPPED = _pattern(rb"\bon \s+ commit \s+ drop\b")
_SEED = _pattern(rb"\bsetseed \s* \(")
_DROPPED = _pattern(rb"(?: drop \s+ (?:table|view|sequence) | deallocate | close | discard )\b")
_ALL_DROPPED = _pattern(rb"(?:deallocate (?:\s+prepare)? | close | discard) \s+ (?:all|temp\w*)\b")
_NAMES = _pattern(rb"<name>")
_WORDS = re.compile(r"[\w$]+")


class Left(NamedTuple):
    """What a changeset leaves in its session."""

    settings: Mapping[str, str]
    """The statements that set something, in their order, by the name of the setting."""
    forgets: bool
    """Whether it takes back all that was set before."""
    names: frozenset[str]
    """What it made that is gone with the session, by name: temporary tables and the like."""
    unknown: bool
    """Whether it sets something that its text does not tell, or for the whole server."""
    later: bool
    """Whether it sets something for new sessions."""

    @property
    def anything(self) -> bool:
        """Whether another session would differ from this one."""
        return bool(self.settings or self.names or self.forgets or self.unknown or self.later)


NOTHING = Left({}, forgets=False, names=frozenset(), unknown=False, later=False)


def left_by(texts: Iterable[str]) -> Left:
    """What these statements leave in their session; a text may have several."""
    settings: dict[str, str] = {}
    names: set[str] = set()
    forgets = unknown = later = False
    for statement in _statements(texts):
        if (setting := _setting(statement)) is not None:
            settings = _with(settings, setting, statement.decode("utf-8", "surrogatepass"))
        elif _DISCARD.match(statement):
            settings = {"all": "reset all", "session authorization": "reset session authorization"}
            forgets = True
            names.clear()
        elif not _ROUTINE.match(statement):
            unknown |= bool(_SYSTEM.match(statement))
            unknown |= _UNKNOWN.search(_LOCALLY.sub(b"", statement)) is not None
        later |= _FOR_NEW_SESSIONS.match(statement) is not None
        names |= _made(statement)
        names -= _dropped(statement, names)
    return Left(settings, forgets, frozenset(names), unknown, later)


def repeated(earlier: Iterable[Left]) -> tuple[str, ...]:
    """The statements that set again what was set by one after the other."""
    settings: dict[str, str] = {}
    for left in earlier:
        if left.forgets:
            settings = {}
        for name, statement in left.settings.items():
            settings = _with(settings, name, statement)
    return tuple(settings.values())


def together(
    lefts: Sequence[Left], texts: Sequence[Sequence[str]], *, own_tool: bool = False
) -> list[range]:
    """Which changesets must run in one session: in order, without gaps.

    ``texts`` are what each of them says. ``own_tool``: whether what is set cannot be set again.
    """
    last = len(lefts) - 1
    said = _Said(texts) if any(left.names for left in lefts) else None
    groups: list[range] = []
    for number, left in enumerate(lefts):
        end = number
        if left.unknown or (own_tool and left.anything):
            end = last
        for name in left.names if end < last else ():
            assert said is not None
            end = max(end, said.last_mention(name, number))
        if groups and number < groups[-1].stop:
            groups[-1] = range(groups[-1].start, max(groups[-1].stop, end + 1))
        else:
            groups.append(range(number, end + 1))
    return groups


def mentions(name: str, texts: Iterable[str]) -> bool:
    """Whether a name occurs in any of these texts."""
    word = re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])", re.IGNORECASE)
    return any(word.search(text) for text in texts)


class _Said:
    """Where names occur in the texts of changesets: each text is taken apart once."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._texts = texts
        self._places: dict[str, list[tuple[int, str]]] = defaultdict(list)
        """Each text with a word, and its changeset's number, in their order."""
        for number, some in enumerate(texts):
            for text in some:
                for word in set(_WORDS.findall(text.lower())):
                    self._places[word].append((number, text))

    def last_mention(self, name: str, made: int) -> int:
        """The last changeset that may use what one made."""
        places = self._places_of(name)
        bodies = (text for number, text in places if number < made)
        if any(_ROUTINE.search(text.encode("utf-8", "surrogatepass")) for text in bodies):
            # It may be called at any time.
            return len(self._texts) - 1
        return max((number for number, _ in places), default=made)

    def _places_of(self, name: str) -> list[tuple[int, str]]:
        if _WORDS.fullmatch(name):
            return self._places[name.lower()]
        return [
            (number, text)
            for number, some in enumerate(self._texts)
            for text in some
            if mentions(name, [text])
        ]


def _with(settings: Mapping[str, str], name: str, statement: str) -> dict[str, str]:
    """The settings after one more statement."""
    kept = {
        other: text
        for other, text in settings.items()
        if other != name and (name != "all" or other in _NOT_IN_ALL)
    }
    return kept | {name: statement}


def _statements(texts: Iterable[str]) -> Iterator[bytes]:
    """Those that may leave something, without comments and semicolons."""
    for text in texts:
        whole = text.encode("utf-8", "surrogatepass")
        if not any(
            _WORTH_A_LOOK.search(whole, start, start + WINDOW + BEHIND)
            for start in range(0, len(whole), WINDOW)
        ):
            continue
        for statement in _split(whole):
            bare = without_comments(statement[:_LOOKED_AT]).strip()
            if _WORTH_A_LOOK.search(bare) or _DROPPED.match(bare):
                yield bare


def _split(text: bytes) -> Iterator[bytes]:
    lexer = Lexer(Reader(text, 0, len(text)))
    start = position = 0
    while (token := lexer.skim(position)) is not None:
        position = token.end
        if token.text == b";":
            yield text[start : token.start]
            start = position
    yield text[start:]


def _setting(statement: bytes) -> str | None:
    """What a statement sets or resets, if that is all it does."""
    if _NOTHING.match(statement):
        return None
    for name, pattern in _WHO.items():
        if pattern.match(statement):
            return name
    if found := _SET.match(statement) or _RESET.match(statement):
        return _plain(found[1])
    if found := _SET_CONFIG.match(statement):
        return found[1][1:-1].decode("utf-8", "surrogatepass").lower()
    if _LOAD.match(statement):
        return statement.decode("utf-8", "surrogatepass")
    return None


def _made(statement: bytes) -> set[str]:
    names = {_plain(found[1]) for pattern in _MADE if (found := pattern.match(statement))}
    if _FIRST_DROPPED.search(statement):
        names.clear()
    if _SEED.search(statement) and not _ROUTINE.match(statement):
        names.add("random")
    return names


def _dropped(statement: bytes, names: set[str]) -> set[str]:
    if not _DROPPED.match(statement):
        return set()
    if _ALL_DROPPED.match(statement):
        return names - {"random"}
    return {_plain(found) for found in _NAMES.findall(statement)}


def _plain(name: bytes) -> str:
    text = name.decode("utf-8", "surrogatepass")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
