"""Extensions that a server lacks: found in a tool's error output, and where to get them. Pure."""

import re
from collections.abc import Mapping, Sequence

from pgstrata.domain.image import Installation
from pgstrata.runtime.images import ImageRef, candidates, install_command, version_key

_UNAVAILABLE = re.compile(
    # The message from PostgreSQL 13 on, and the older one.
    r'extension "([^"\n]+)" is not available'
    r'|could not open extension control file "[^"\n]*/([^"/\n]+)\.control": No such file'
)


def unavailable_in(said: str) -> str | None:
    """The extension whose files are missing, if a tool's error output names one."""
    found = _UNAVAILABLE.search(said)
    return (found[1] or found[2]) if found else None


def where_to_get(
    extension: str,
    used: Installation,
    installations: Sequence[Installation],
    packaged: Mapping[int, Sequence[str]],
) -> str:
    """What to do if a server of the installation ``used`` lacks an extension.

    ``packaged`` has the extensions of each major version that can be installed.
    """
    without = f"PostgreSQL {used.version} ({used.source}) has no {extension}"
    having = _providers(extension, installations)
    steps = [f"use --image postgres:{one.version} ({one.source})" for one in having]
    majors = [major for major, extensions in packaged.items() if extension in extensions]
    best = used.major if used.major in majors else max(majors, default=0)
    if best and all(one.major != best for one in having):
        steps.append(f"`{install_command(best)}` and --image postgres:{best}")
    if not steps:
        return f"{without}, nor has any other here; install the package that contains it"
    return f"{without}; to get it: {', or '.join(steps)}"


def _providers(extension: str, installations: Sequence[Installation]) -> list[Installation]:
    """Those that have it and that their version selects, newest first."""
    versions = {one.version for one in installations if one.problem is None}
    chosen = (candidates(ImageRef(version=version), installations)[0] for version in versions)
    having = [one for one in chosen if extension in one.extensions]
    return sorted(having, key=lambda one: version_key(one.version), reverse=True)
