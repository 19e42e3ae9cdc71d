"""`make verify`: run `tallygate verify` with the settings of the running `make run`."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path


def main() -> int:
    path = Path(os.environ.get("TALLYGATE_DATA", ".local")) / "run.json"
    try:
        os.environ.update(json.loads(path.read_text())["gateway_env"])
    except OSError:
        print(f"{path} is not there: start 'make run' first.", file=sys.stderr)
        return 2
    from shared.cli.__main__ import run

    return run(["verify", *(sys.argv[1:] or ["--period", f"{datetime.now(UTC):%Y-%m}"])])


if __name__ == "__main__":
    sys.exit(main())
