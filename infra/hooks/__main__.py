"""`python -m infra.hooks NAME`: run one hook of azure.yaml."""

from __future__ import annotations

import sys

OLDEST = (3, 11)


def main() -> int:
    if sys.version_info < OLDEST:
        print(f"The hooks need Python {OLDEST[0]}.{OLDEST[1]} or later, not {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    from infra.hooks.failures import HookFailed
    from infra.hooks.steps import STEPS

    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        print(f"Name one of {', '.join(STEPS)}.", file=sys.stderr)
        return 2
    try:
        for step in STEPS[sys.argv[1]]:
            step()
    except HookFailed as failure:
        print(f"{sys.argv[1]}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
