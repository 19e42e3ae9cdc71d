"""Pictures are well-formed, name themselves to those who cannot see them, and each is shown by a document."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.svg"))
_SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_has_a_title_fetches_nothing_and_is_shown(picture: Path) -> None:
    root = ElementTree.fromstring(picture.read_text())
    title = root.find(f"{_SVG}title")
    assert title is not None
    assert title.text
    assert root.get("aria-labelledby") == title.get("id")
    assert not [each.tag for each in root.iter() if each.tag in (f"{_SVG}image", f"{_SVG}script", f"{_SVG}style")]
    shown = [path for path in DOCS.rglob("*.md") if f"pictures/{picture.name})" in path.read_text()]
    assert shown
