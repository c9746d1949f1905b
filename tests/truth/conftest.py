"""Prints what the comparisons came to, by major."""

from collections import Counter

import pytest

_OUTCOMES = ("equal", "refused rightly", "different")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After all tests, wherever they ran."""
    found: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == "truth":
                    major, outcome = value
                    found.setdefault(major, Counter())[outcome] += 1
    if found:
        terminalreporter.section("against the plain tools")
    for major, counts in sorted(found.items()):
        words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _OUTCOMES)
        terminalreporter.line(f"PostgreSQL {major}: {words}")
