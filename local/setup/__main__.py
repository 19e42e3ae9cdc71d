"""Install the named needs, where they are missing or older than their lock files.

Runs on a bare Python: only the standard library is imported here, and nothing newer than Python 3.8 is written here.
"""

from __future__ import annotations

import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> int:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        have = sys.version.split()[0]
        print(f"Python {wanted} is needed, this is {have}. Name another with PYTHON=.", file=sys.stderr)
        return 2
    from local.setup.needs import NEEDS, satisfy
    from local.setup.steps import StepFailed

    unknown = sorted(set(sys.argv[1:]) - NEEDS.keys())
    if unknown or not sys.argv[1:]:
        print(f"Name one or more of {', '.join(NEEDS)}, not {unknown}.", file=sys.stderr)
        return 2
    try:
        satisfy(sys.argv[1:])
    except StepFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
