"""Running a tool with the files of a git revision, in a private copy for as long as it runs."""

import os
from pathlib import PurePath
from signal import SIGINT, default_int_handler

from pgstrata.cli.command import Context
from pgstrata.cli.ending import ended_by_signals
from pgstrata.cli.running import Tool
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import local_path
from pgstrata.kinds.sources.git import GitTree
from pgstrata.system.signals import ENDING, handling, ignore


def with_files_of(context: Context, ref: str, tool: Tool) -> Tool:
    """The tool, to be run in the same directory of a revision.

    The copy is there until the command ends. Raises ``InvalidArgumentError`` if there is no such
    revision, or an argument names a file in a way that leads to the work tree.
    """
    work_dir = tool.directory or context.work_dir
    tree = GitTree(work_dir, ref)
    for word in tool.words:
        if f"{tree.top}/" in word:
            raise InvalidArgumentError(
                f"{word} names a file of the work tree, and --ref {ref} none of it",
                remedy=f"write its path from {work_dir}",
            )
        if "\0" not in word:
            # One that git-lfs keeps, for instance, is not there.
            tree.check(PurePath(os.path.normpath(work_dir / word)))
    resources = context.resources
    resources.enter_context(ended_by_signals())
    resources.enter_context(handling((SIGINT,), default_int_handler))
    copy = resources.enter_context(tree.extracted())
    # It is removed whatever comes meanwhile.
    resources.callback(ignore, (*ENDING, SIGINT))
    return tool._replace(directory=local_path(copy.local_root, work_dir), stays=False)
