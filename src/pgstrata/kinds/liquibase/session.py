"""A changelog in a Java's memory: listed for a plan, then run, changeset by changeset."""

from collections.abc import Iterator, Sequence, Set
from itertools import chain
from pathlib import Path, PurePath
from typing import NamedTuple

from pgstrata.kinds.liquibase.applying import LeftBehindError, Link, Target
from pgstrata.kinds.liquibase.changelog import Changelog, Key
from pgstrata.kinds.liquibase.identity import (
    Context,
    digest_of,
    digest_together,
    empty_digest,
    parts_of,
)
from pgstrata.kinds.liquibase.jvm import Java, java_errors_ignored
from pgstrata.kinds.liquibase.listing import Found, Listing, list_changesets
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.liquibase.resources import on_class_path
from pgstrata.kinds.liquibase.session_state import left_by, mentions, repeated, together
from pgstrata.kinds.sources.base import Sources
from pgstrata.system import watching

_HISTORY = "databasechangelog"
_SETS_SEQUENCE = ("setval", "restart")


class DriftError(Exception):
    """A changeset changed since it was planned, or reads files that were not known."""

    def __init__(self, message: str, remedy: str = "prepare again") -> None:
        super().__init__(message)
        self.remedy = remedy


class MovedError(Exception):
    """A path led elsewhere while Java read a changelog; the message names what moved."""


class Planned(NamedTuple):
    """Changesets that run in one session, with the digest of their step."""

    found: tuple[Found, ...]
    """In most steps one; none for the step of a recipe without changesets."""
    digest: str
    parts: dict[str, str]
    """See ``Step.parts``."""

    @property
    def key(self) -> Key | None:
        """What the step is known by: its last changeset."""
        return self.found[-1].key if self.found else None


class Session:
    """One recipe's changelog. Only for Java's own thread."""

    def __init__(self, java: Java, context: Context, sources: Sources, local_root: Path) -> None:
        """Parse and list it. Java finds the files of ``sources`` below ``local_root``.

        Raises ``MovedError``, ``InvalidChangelogError`` and Java's own exceptions.
        """
        self.context = context
        self.local_root = local_root
        self._java = java
        with watching.watch() as watch:
            self._changelog = Changelog(java, context.recipe, sources, watch, local_root)
            self.listing: Listing = list_changesets(java, self._changelog)
            if (name := watch.disturbed()) is not None:
                raise MovedError(f"{name} was replaced, moved or removed, if only for a moment")
        self._numbers = {found.key: at for at, found in enumerate(self.listing.changesets)}
        self._lefts = [left_by(found.sql) for found in self.listing.changesets]
        self._texts = [(*found.sql, found.attributes) for found in self.listing.changesets]
        self._caching = mentions("cache", chain(*self._texts))
        self._planned = self._plan_all(own_tool=False)
        self._steps = {one.key: one for one in self._planned}
        self._rereading = frozenset(_after_own_writing(self.listing, context.recipe))
        self._link: Link | None = None

    def planned(self, *, own_tool: bool = False) -> tuple[Planned, ...]:
        """The steps. ``own_tool``: whether the user's own Liquibase carries them out."""
        return self._plan_all(own_tool=True) if own_tool else self._planned

    def _plan_all(self, *, own_tool: bool) -> tuple[Planned, ...]:
        header = "\n".join((self.listing.header, *self.listing.header_conditions))
        changesets = self.listing.changesets
        if not changesets:
            return (Planned((), empty_digest(self.listing, self.context), {}),)
        groups = together(self._lefts, self._texts, own_tool=own_tool)
        # The first step checks the preconditions of the changelog as a whole.
        return tuple(
            self._plan([changesets[at] for at in group], "" if number else header)
            for number, group in enumerate(groups)
        )

    def is_first(self, key: Key | None) -> bool:
        """Whether a step is the first."""
        return key == next(iter(self._steps))

    def is_linked(self, target: Target) -> bool:
        """Whether it is connected to a server."""
        return self._link is not None and self._link.target == target

    def connect(self, key: Key | None, target: Target) -> None:
        """Connect to a server, for a step."""
        self.close()
        # Objects of the last link and its runs that Java still holds.
        self._java.forget()
        self._link = Link(self._java, self._changelog, target, again=not self.is_first(key))

    def is_as_planned(self, uncacheable: bool, key: Key | None, digest: str) -> bool:
        """Whether a changeset is the same as when its step got its digest."""
        return key in self._steps and (uncacheable or self._steps[key].digest == digest)

    def run(self, key: Key | None, digest: str | None, reads: Set[PurePath] | None) -> None:
        """Run a step's changesets against a server that it is connected to.

        Without a key, only create Liquibase's tables. ``digest`` is the step's and ``reads`` the
        files that it may read; None allows any. Raises ``DriftError`` and ``LeftBehindError``.
        """
        step = self._steps.get(key)
        if step is None or digest not in (None, step.digest):
            raise DriftError(f"{key or self.context.recipe.changelog_file} changed")
        taken = self._changelog.recorder.taken
        taken.clear()
        link = self._link
        assert link is not None
        # A link is kept only if everything succeeded on it.
        self._link = None
        try:
            self._run_on(link, step)
        except BaseException:
            self._drop(link)
            raise
        if key in self._rereading:
            self._drop(link)
        else:
            self._link = link
        if reads is not None and (unknown := taken.keys() - reads):
            names = ", ".join(sorted(map(str, unknown)))
            raise DriftError(
                f"{key} reads {names} only as it runs",
                "name the file in the changeset, as an attribute or parameter ending in File or "
                "Path, so that its content counts",
            )

    def close(self) -> None:
        """Disconnect from the server it ran on last."""
        if self._link is not None:
            self._drop(self._link)
            self._link = None

    def _run_on(self, link: Link, step: Planned) -> None:
        keys = [found.key for found in step.found]
        end = self._numbers[keys[-1]] + 1 if keys else 0

        def repeat(ran: Sequence[Key]) -> tuple[str, ...]:
            known = set(ran)
            earlier = zip(self.listing.changesets[:end], self._lefts, strict=False)
            return repeated(left for found, left in earlier if _stored(found.key) in known)

        texts = self._texts[end - len(keys) : end]
        left = link.run(
            keys,
            first=self.is_first(step.key),
            # The whole history is read for it.
            repeat=repeat if any(one.settings for one in self._lefts[:end]) else None,
            followed=end < len(self.listing.changesets),
            caching=self._caching
            and not any(mentions(word, chain(*texts)) for word in _SETS_SEQUENCE),
        )
        others = [*self._texts[: end - len(keys)], *self._texts[end:]]
        # Those that the texts tell of are why the step has these changesets.
        known = frozenset(chain(*(one.names for one in self._lefts[end - len(keys) : end])))
        for name in left - known:
            if mentions(name, chain(*others)):
                raise LeftBehindError(f"makes the temporary table {name}, which others mention")

    def _drop(self, link: Link) -> None:
        # Its server may be gone.
        with java_errors_ignored():
            link.close()

    def _plan(self, found: Sequence[Found], header: str) -> Planned:
        headers = (header, *[""] * (len(found) - 1))
        digests = [
            digest_of(one, self.context, first) for one, first in zip(found, headers, strict=True)
        ]
        parts: dict[str, str] = {}
        for one, first in zip(found, headers, strict=True):
            parts |= parts_of(one, self.context, first)
        return Planned(tuple(found), digest_together(digests), parts)


def _stored(key: Key) -> Key:
    """A key as the history has it."""
    return key._replace(path=on_class_path(key.path))


def _after_own_writing(listing: Listing, recipe: Recipe) -> Iterator[Key]:
    """The changesets after which Liquibase must read its history again.

    They, or earlier ones, may write to the history themselves, which Liquibase would not notice;
    the next changeset must give the same result now as when it is built on the state later.
    """
    tables = (_HISTORY, *map(str.lower, recipe.history_tables))
    found = False
    for changeset in listing.changesets:
        found = found or _may_write_history(changeset, tables)
        if found:
            yield changeset.key


def _may_write_history(found: Found, tables: Sequence[str]) -> bool:
    texts = [text.lower() for text in (found.attributes, *found.sql)]
    return "customChange" in found.changes or any(
        table in text for table in tables for text in texts
    )
