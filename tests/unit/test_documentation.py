"""What the documentation says of settings, commands and files is so."""

import re
from pathlib import Path

import pytest

from prosopon.pipelines.cli import app
from tests.paths import ROOT

_FILE = r"`((?:configs|docs|notebooks|models|pipelines|deployments|tests)/[\w./]+\.\w+)`"


def test_the_page_of_settings_is_up_to_date() -> None:
    from prosopon.configs.tables import markdown
    from prosopon.models.faces.attributes.table import ATTRIBUTES

    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == markdown(ATTRIBUTES.resources), "run `prosopon settings > docs/configuration.md`"


def test_every_setting_says_what_it_is() -> None:
    rows = re.findall(
        r"^\| `([\w.*]+)` \| .* \|(.*)\|$", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 100
    assert [name for name, told in rows if not told.strip()] == [], (
        "a text below the setting in configs/settings.py"
    )


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"^prosopon (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    commands = {command.name for command in app.registered_commands}
    groups = {group.name for group in app.registered_groups}
    assert named and named <= commands | groups
    assert commands | groups <= named


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    links = [
        page.parent / link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")
    ]
    links += [ROOT / name for name in re.findall(_FILE, text)]
    assert [str(link) for link in links if not link.exists()] == []


def test_every_test_that_the_page_of_security_names_exists() -> None:
    named = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) > 40
    texts = {file: (ROOT / "tests" / file).read_text() for file, _ in named}
    assert [(file, name) for file, name in named if f"def {name}" not in texts[file]] == []
