"""Links between documents resolve, and the indexes under `docs/` are complete."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "adr"
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<([a-z]+:[^>\s]+)>")
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
_NOT_IN_AN_ANCHOR = re.compile(r"[^\w\- ]")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_INDEX_ROW = re.compile(r"^\| \[(\d+)\]\(([^)]+)\) \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)
_DECISION = re.compile(r"# (\d+)\. (.+)\n\n(\w+), (?:\w+ )?\d{4}\.")


def documents() -> list[Path]:
    """Every Markdown file that is tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in sorted(set(listed.splitlines())) if (ROOT / name).is_file()]


def links(document: Path) -> Iterator[str]:
    """Yield the targets of all links outside code."""
    text = _CODE.sub("``", _FENCED.sub("", document.read_text()))
    return (match[1] or match[2] for match in _LINK.finditer(text))


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings. It numbers repeated ones from 1."""
    seen: Counter[str] = Counter()
    found = set()
    for match in _HEADING.finditer(_FENCED.sub("", document.read_text())):
        anchor = _NOT_IN_AN_ANCHOR.sub("", match[1].lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def problem_of(document: Path, target: str, root: Path = ROOT) -> str | None:
    """Return the reason why a link is broken, or leaves the repository by anything but https."""
    if _SCHEME.match(target):
        return None if target.startswith("https://") else "is not an https address"
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    if not file.is_relative_to(root):
        return "leaves the repository"
    if not file.exists():
        return "names a file that does not exist"
    if anchor and anchor not in anchors(file):
        return "names a heading that does not exist"
    return None


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [f"{target} {problem}" for target in links(document) if (problem := problem_of(document, target))] == []


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[a](other.md)", None),
        ("[a](other.md#what-it-costs-a-request)", None),
        ("[a](other.md#again-1)", None),
        ("[a](#here)", None),
        ("[a](https://example.com/#any)", None),
        ("`[a](missing.md)`", None),
        ("[a](missing.md)", "names a file that does not exist"),
        ("[a](other.md#gone)", "names a heading that does not exist"),
        ("[a](#gone)", "names a heading that does not exist"),
        ("[a](../outside.md)", "leaves the repository"),
        ("[a](http://example.com)", "is not an https address"),
        ("<http://example.com>", "is not an https address"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, problem: str | None) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"# Here\n\nSee {link}.\n\n```sh\n# [b](no.md)\n```\n")
    (tmp_path / "other.md").write_text("# What it costs (a `request`)\n\n## Again\n\n## Again\n")
    found = [problem_of(document, target, tmp_path) for target in links(document)]
    assert found == ([] if link.startswith("`") else [problem])


def test_every_document_is_linked_from_an_index() -> None:
    indexes = (DOCS / "README.md", DECISIONS / "README.md")
    linked = {(index.parent / target.partition("#")[0]).resolve() for index in indexes for target in links(index)}
    assert [path for path in documents() if path.is_relative_to(DOCS) and path not in {*indexes, *linked}] == []


def test_the_index_of_decisions_tells_number_title_and_status_of_each() -> None:
    written = {}
    for path in DECISIONS.glob("[0-9]*.md"):
        heading = _DECISION.match(path.read_text())
        assert heading is not None, f"{path.name} does not begin with '# N. Title' and 'Status, month year.'"
        assert int(path.name[:4]) == int(heading[1]), path.name
        written[path.name] = (heading[1], heading[2], heading[3])
    rows = _INDEX_ROW.findall((DECISIONS / "README.md").read_text())
    assert {name: (number, title.strip(), status.strip()) for number, name, title, status in rows} == written
    assert [int(number) for number, *_ in rows] == sorted(int(number) for number, *_ in rows)


_SECRET_ARGUMENT = re.compile(
    r"(-H|--header) +[\"']?(\$|api-key|authorization|x-functions-key)|--value +\S", re.IGNORECASE
)


def test_no_command_has_a_secret_among_its_arguments() -> None:
    """Everybody on a machine sees the arguments of all its processes. Commands read secrets from files."""
    sources = [*documents(), ROOT / "local/ready.py", ROOT / "infra/hooks/seed.py"]
    found = [
        f"{each.relative_to(ROOT)}: {match[0]}"
        for each in sources
        for match in _SECRET_ARGUMENT.finditer(each.read_text())
    ]
    assert found == []
