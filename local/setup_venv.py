"""Make a virtual environment from a hash-pinned lock file. Runs on a bare Python and says what it does.

A lock file names everything that is to be installed. pip is told to take that and nothing else: where a package asks
for another one's extra, pip 23.2 would look for its newest release, and refuse that for want of a hash.
"""

import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)
STAMP = ".installed"


def main() -> int:
    folder, lock = Path(sys.argv[1]), Path(sys.argv[2])
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        versions = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        print(
            f"Python {versions} is needed, this is {sys.version.split()[0]}. Name another with PYTHON=.",
            file=sys.stderr,
        )
        return 2
    try:
        if not (folder / "bin" / "python").exists():
            print(f"Creating the virtual environment {folder} with Python {sys.version.split()[0]} ...", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        print(f"Installing {lock} into {folder}; a first time takes a minute or two ...", flush=True)
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        options = ["--progress-bar", "off", "--require-hashes", "--no-deps"]
        subprocess.run([*pip, "install", *options, "-r", lock], check=True)
        subprocess.run([*pip, "check"], check=True, stdout=subprocess.DEVNULL)
    except OSError as error:
        print(f"The virtual environment {folder} cannot be made: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"Setting up {folder} failed with exit status {error.returncode}; see above.", file=sys.stderr)
        return 2
    (folder / STAMP).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
