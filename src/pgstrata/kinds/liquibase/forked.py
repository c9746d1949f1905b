"""The user's own Liquibase, called for each step: slower, and only on request.

The changelog is still read through its jars, so that states have the same names. Its command line
cannot select a changeset: it runs the next one that has not run.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgstrata.domain.instance import Endpoint
from pgstrata.domain.plan import Step
from pgstrata.errors import InvalidArgumentError, StepFailedError, ToolMissingError
from pgstrata.kinds.liquibase.failures import step_failure
from pgstrata.kinds.liquibase.listing import Found
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.system import subprocesses

_FOR_ALL_COMMANDS = ("--search-path=", "--liquibase-schema-name=", "--database-changelog")
_HOME = re.compile(r"^Liquibase Home: (.+)$", re.MULTILINE)
_FAILURE = re.compile(r"(?:ERROR|FATAL): .*")
_CAUSE = re.compile(r"^Caused by: (.+)$", re.MULTILINE)
_FRAMES = re.compile(r"^\t(?:at |\.\.\. ).*\n?", re.MULTILINE)


def home_beside(program: Path) -> Path | None:
    """The directory of the Liquibase that a program belongs to, if its path shows that."""
    beside = program.resolve().parent
    return beside if (beside / "internal" / "lib").is_dir() else None


async def home_told(program: Path, env: Mapping[str, str]) -> Path:
    """The directory of the Liquibase that a program reports. Raises ``ToolMissingError``."""
    ended = await subprocesses.run([program, "--version"], env=env, check=False)
    found = _HOME.search(ended.stdout)
    if found is None:
        raise ToolMissingError(
            f"{program} does not say where its Liquibase is",
            remedy="name a liquibase whose --version shows its Liquibase Home",
            details=ended.stderr or None,
        )
    return Path(found[1].strip())


def check_can_be_told_apart(changesets: Sequence[Found]) -> None:
    """Raise ``InvalidArgumentError`` for a changeset that would run again with the next one."""
    for found in changesets[:-1]:
        if found.repeats:
            raise InvalidArgumentError(
                f"{found.key} would run again with each changeset after it, since a liquibase_exec "
                "cannot be told to leave it out (runAlways, failOnError or CONTINUE)",
                remedy="leave liquibase_exec out",
            )


def command(
    step: Step,
    recipe: Recipe,
    endpoint: Endpoint,
    env: Mapping[str, str],
    jars: Sequence[Path],
) -> ToolCommand:
    """The call that carries out a step, with these jars beside its own."""
    words = recipe.words()[1:]
    everywhere = tuple(word for word in words if word.startswith(_FOR_ALL_COMMANDS))
    parameters = tuple(word for word in words if word.startswith("-D"))
    return ToolCommand(
        tool=str(step.tool),
        trusted=True,
        args=(
            *everywhere,
            *((f"--classpath={os.pathsep.join(map(str, jars))}",) if jars else ()),
            "--log-level=info",
            "--show-banner=false",
            "update-count",
            f"--url={endpoint.jdbc_url}",
            *(word for word in words if word not in (*everywhere, *parameters)),
            *parameters,
        ),
        work_dir=step.work_dir,
        env={
            **env,
            "LIQUIBASE_COMMAND_USERNAME": endpoint.user,
            "LIQUIBASE_COMMAND_PASSWORD": endpoint.password,
        },
    )


def failure(step: Step, ended: ToolExit) -> StepFailedError:
    """The error to report if it ended with an exit code other than 0."""
    output = _FRAMES.sub("", ended.stderr_tail).strip("\n")
    reasons = _CAUSE.findall(output) or _FAILURE.findall(output)[:1]
    return step_failure(
        step.title,
        reasons or [f"liquibase ended with exit code {ended.exit_code}"],
        details=output,
    )
