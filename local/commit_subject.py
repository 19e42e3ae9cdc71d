"""Check the subject of a commit message: `area: what changes`, in at most 72 characters. A commit-msg hook."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LONGEST = 72
_SUBJECT = re.compile(r"[a-z0-9][a-z0-9 ,./_-]*: \S.*")
_WRITTEN_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")


def problem_of(message: str) -> str | None:
    """Name the problem of a message's first line; `None` if there is none."""
    subject = message.splitlines()[0] if message else ""
    if subject.startswith(_WRITTEN_BY_GIT):
        return None
    if not _SUBJECT.fullmatch(subject):
        return f"The subject must be 'area: what changes', not {subject!r}."
    if len(subject) > LONGEST:
        return f"The subject has {len(subject)} characters; {LONGEST} are allowed."
    return None


def main() -> int:
    problem = problem_of(Path(sys.argv[1]).read_text())
    if problem is not None:
        print(problem, file=sys.stderr)
    return problem is not None


if __name__ == "__main__":
    sys.exit(main())
