"""Where tests find what is not part of the project."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("PROSOPON_SHARED", ROOT.parent / "shared"))
DATA = SHARED / "data"
MIRROR = SHARED / "models"


def smiling(neutral: Path) -> Path:
    """The smiling picture of the person on a neutral portrait of `data/london`."""
    return neutral.with_name(neutral.name.replace("neutral", "smiling"))


def require(path: Path) -> Path:
    """The path, or a skipped test that says what is missing."""
    if not path.exists():
        pytest.skip(f"{path.name} is not there: evaluation data is not part of the project")
    return path
