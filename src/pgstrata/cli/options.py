"""Parses the arguments of a command.

This is a parser of our own because ``prepare:…`` passes on, unchanged, everything from the first
word that is not one of its options, and because argparse and click are slow to import.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pgstrata.cli.near import option_hint
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.config.keys import Key

T = TypeVar("T")


def setting_option(key: "Key") -> Option:
    """Make the option of a setting, which must have one."""
    assert key.setting.option is not None
    flag, metavar = key.setting.option.split()
    about = key.setting.about
    return Option((flag,), f"{about}; may be repeated" if key.is_map else about, metavar)


HELP = Option(("-h", "--help"), "show this help")


def help_before(words: Sequence[str]) -> Option:
    """The option for help before arguments of another program, to which ``-h`` means a host."""
    return HELP if list(words) == ["-h"] else Option(("--help",), HELP.about)


def one_of(*choices: T) -> Callable[[str], T]:
    """What reads one of these words. It raises ``ValueError`` for any other."""
    *others, last = choices

    def read(text: str) -> T:
        for choice in choices:
            if text == choice:
                return choice
        raise ValueError(f'"{text}" is neither {", ".join(map(str, others))} nor {last}')

    return read


class Given(NamedTuple):
    """The arguments given: options in their order, and other words."""

    options: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    separated: bool = False
    """Whether ``--`` stood before the other words, or among them."""

    def part(self, options: "Iterable[Option]") -> tuple["Given", "Given"]:
        """Divide into what was given for these options, and all else."""
        names = {option.name for option in options}
        chosen = tuple(pair for pair in self.options if pair[0] in names)
        others = tuple(pair for pair in self.options if pair[0] not in names)
        return Given(chosen, ()), self._replace(options=others)

    def has(self, name: str) -> bool:
        """Return whether the switch was given."""
        return any(given == name for given, _ in self.options)

    def last(self, name: str) -> str | None:
        """Return the value given last, or None."""
        return next((value for given, value in reversed(self.options) if given == name), None)

    def which(self, *names: str) -> str | None:
        """Return which of these switches was given last, or None."""
        return next((given for given, _ in reversed(self.options) if given in names), None)

    def read(self, name: str, convert: Callable[[str], T]) -> T | None:
        """Convert the last value. ``InvalidArgumentError`` if ``convert`` raises ``ValueError``."""
        value = self.last(name)
        return None if value is None else _convert(name, value, convert)

    def read_every(self, name: str, convert: Callable[[str], T]) -> list[T]:
        """Convert all values. ``InvalidArgumentError`` if ``convert`` raises ``ValueError``."""
        values = [value for given, value in self.options if given == name]
        return [_convert(name, value, convert) for value in values]


def _convert(name: str, value: str, convert: Callable[[str], T]) -> T:
    try:
        return convert(value)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{name}: {error}", remedy=f"correct the value of {name}"
        ) from error


def whole_number(text: str) -> int:
    """Read a whole number, 0 or more. Raises ``ValueError`` with a message for people."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'"{text}" is not a whole number')
    return int(text)


def parse(
    words: Sequence[str], options: Iterable[Option], *, pass_on: bool = False, own_words: int = 0
) -> Given:
    """Parse options and other words. Raises ``InvalidArgumentError``.

    With ``pass_on``, parsing stops at the first word that is not one of the options, after
    ``own_words`` that are not; it and the words after it are left as they are. A ``--`` before them
    is removed.
    """
    known = {flag: option for option in options for flag in option.flags}
    given: list[tuple[str, str]] = []
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return Given(tuple(given), (*others, *rest), separated=True)
        if _is_option(word, known, pass_on):
            given.extend(_take_option(word, rest, known))
        elif pass_on and len(others) == own_words:
            return Given(tuple(given), (*others, word, *rest))
        else:
            others.append(word)
    return Given(tuple(given), tuple(others))


def _is_option(word: str, known: dict[str, Option], pass_on: bool) -> bool:
    if pass_on:
        return word.partition("=")[0] in known if word.startswith("--") else word in known
    return word.startswith("-") and word != "-"


def _take_option(word: str, rest: list[str], known: dict[str, Option]) -> list[tuple[str, str]]:
    flag, joined, value = word.partition("=") if word.startswith("--") else (word, "", "")
    if flag not in known and not flag.startswith("--"):
        return _split_switches(word, known)
    option = known.get(flag)
    if option is None:
        raise _unknown(flag, known)
    if option.metavar is None:
        if joined:
            raise InvalidArgumentError(
                f"{flag} takes no value", remedy=f"write {flag} without a value"
            )
        return [(option.name, "")]
    if not joined and not rest:
        raise InvalidArgumentError(f"{flag} needs a value", remedy=f"write {flag} {option.metavar}")
    value = value if joined else rest.pop(0)
    if not value:
        # A variable that was not set, perhaps: what holds without the option is not meant.
        raise InvalidArgumentError(
            f"{flag} is empty", remedy=f"give it a value, {option.metavar}, or omit it"
        )
    return [(option.name, value)]


def _split_switches(word: str, known: dict[str, Option]) -> list[tuple[str, str]]:
    """Split short switches written together: ``-is``."""
    found = []
    for letter in word[1:]:
        option = known.get(f"-{letter}")
        if option is None or option.metavar is not None:
            raise _unknown(word, known)
        found.append((option.name, ""))
    return found


def _unknown(flag: str, known: dict[str, Option]) -> InvalidArgumentError:
    return InvalidArgumentError(f"unknown option {flag}", remedy=option_hint(flag, known.values()))
