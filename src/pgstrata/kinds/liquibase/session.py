"""A changelog in a Java's memory: listed for a plan, then run, changeset by changeset."""

from collections.abc import Iterator, Set
from pathlib import Path, PurePath
from typing import NamedTuple

from pgstrata.kinds.liquibase.applying import Link, Target
from pgstrata.kinds.liquibase.changelog import Changelog, Key
from pgstrata.kinds.liquibase.identity import Context, digest_of, empty_digest, parts_of
from pgstrata.kinds.liquibase.jvm import Java, java_errors_ignored
from pgstrata.kinds.liquibase.listing import Found, Listing, list_changesets
from pgstrata.kinds.liquibase.session_state import left_in_session
from pgstrata.kinds.sources.base import Sources
from pgstrata.system import watching

_HISTORY = "databasechangelog"


class DriftError(Exception):
    """A changeset changed since it was planned, or reads files that were not known."""

    def __init__(self, message: str, remedy: str = "prepare again") -> None:
        super().__init__(message)
        self.remedy = remedy


class MovedError(Exception):
    """A path led elsewhere while Java read a changelog; the message names what moved."""


class Planned(NamedTuple):
    """A changeset with the digest of its step."""

    found: Found | None
    """None for the step of a recipe without changesets."""
    digest: str
    parts: dict[str, str]
    """See ``Step.parts``."""


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
        self.planned = tuple(self._planned())
        self._digests = {_key(one): one.digest for one in self.planned}
        self._followed: dict[Key | None, Found] = {
            found.key: found for found in self.listing.changesets[:-1]
        }
        self._rereading = frozenset(_after_own_writing(self.listing))
        self._link: Link | None = None

    def left_by(self, key: Key | None) -> str | None:
        """What a changeset sets only for its session, if others follow that would miss it."""
        found = self._followed.get(key)
        return None if found is None else left_in_session(found.sql)

    def is_as_planned(self, uncacheable: bool, key: Key | None, digest: str) -> bool:
        """Whether a changeset is the same as when its step got its digest."""
        return uncacheable or self._digests.get(key) == digest

    def run(
        self,
        key: Key | None,
        digest: str | None,
        reads: Set[PurePath] | None,
        target: Target,
        flush_query: str | None = None,
    ) -> str | None:
        """Run one changeset against a server; without a key, only create Liquibase's tables.

        ``digest`` is its step's and ``reads`` the files that it may read; None allows any. Returns
        the first value of the ``flush_query``, if there is one. Raises ``DriftError``.
        """
        if key not in self._digests or digest not in (None, self._digests[key]):
            raise DriftError(f"{key or self.context.recipe.changelog_file} changed")
        taken = self._changelog.recorder.taken
        taken.clear()
        link = self._linked(target)
        # A link is kept only if everything succeeded on it.
        self._link = None
        try:
            link.run(key, first=key == next(iter(self._digests)))
            flushed = None if flush_query is None else link.ask(flush_query)
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
        return flushed

    def close(self) -> None:
        """Disconnect from the server it ran on last."""
        if self._link is not None:
            self._drop(self._link)
            self._link = None

    def _linked(self, target: Target) -> Link:
        """The link to a server: the last changeset's if it is the same server, or a new one."""
        if self._link is not None and self._link.target == target:
            return self._link
        self.close()
        # Objects of the last link and its runs that Java still holds.
        self._java.forget()
        return Link(self._java, self._changelog, target)

    def _drop(self, link: Link) -> None:
        # Its server may be gone.
        with java_errors_ignored():
            link.close()

    def _planned(self) -> list[Planned]:
        header = "\n".join((self.listing.header, *self.listing.header_conditions))
        changesets = self.listing.changesets
        if not changesets:
            return [Planned(None, empty_digest(self.listing, self.context), {})]
        # The first step checks the preconditions of the changelog as a whole.
        first, *rest = changesets
        return [self._plan(first, header), *map(self._plan, rest)]

    def _plan(self, found: Found, header: str = "") -> Planned:
        of = (found, self.context, header)
        return Planned(found, digest_of(*of), parts_of(*of))


def _after_own_writing(listing: Listing) -> Iterator[Key]:
    """The changesets after which Liquibase must read its history again.

    They, or earlier ones, may write to the history themselves, which Liquibase would not notice;
    the next changeset must give the same result now as when it is built on the state later.
    """
    found = False
    for changeset in listing.changesets:
        found = found or _may_write_history(changeset)
        if found:
            yield changeset.key


def _may_write_history(found: Found) -> bool:
    texts = (found.attributes, *found.sql)
    return "customChange" in found.changes or any(_HISTORY in text.lower() for text in texts)


def _key(planned: Planned) -> Key | None:
    return None if planned.found is None else planned.found.key
