"""A job's failure, told without what its tool's output has told already."""

from collections import deque
from typing import TYPE_CHECKING

from pgstrata.cli.command import Context
from pgstrata.cli.steps import Report
from pgstrata.cli.text import relative
from pgstrata.errors import CancelledJobError, JobFailedError, split_details

if TYPE_CHECKING:
    from pgstrata.domain.job import ErrorBody

_LAST_LINES = 200
"""How far back an error is looked for: its text is the end of what the tool said."""


class ToolOutput:
    """What has been shown of a job's tools."""

    def __init__(self, context: Context) -> None:
        self._work_dir = context.work_dir
        # A JSON document has the whole error, wherever else it is.
        self._is_shown = context.verbose and not context.json
        self._shown: deque[str] = deque(maxlen=_LAST_LINES)
        self._step = ""

    def line(self, line: str) -> None:
        """Note a line that is shown if the user asked for it."""
        if self._is_shown:
            self._shown.append(line.strip())

    def ended(self, report: Report) -> None:
        """Note the step that ended last."""
        self._step = report.title

    def failure(self, job_id: str, error: "ErrorBody | None") -> JobFailedError:
        """The error with which a job failed."""
        remedy = f"`pgstrata -v watch {job_id}` shows its output"
        if error is None:
            return JobFailedError(f"job {job_id} failed", remedy=remedy)
        if error.code == CancelledJobError.code:
            remedy = "the states it has built stay cached; prepare again to continue"
        own, output = split_details(error.details)
        message = error.message
        if self._has(message):
            message = f"`{self._step}` failed: see its output above"
            output = "\n".join(line for line in (output or "").splitlines() if not self._has(line))
        return JobFailedError(
            message, remedy=own or remedy, details=output or None, code=error.code
        )

    def _has(self, line: str) -> bool:
        return relative(line.strip(), self._work_dir) in self._shown
