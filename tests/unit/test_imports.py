"""Who imports whom is as docs/architecture.md says, and no file imports itself by way of others."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from tests.paths import ROOT

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for floor in ("configs", "models", "deployments", "pipelines")
    for path in sorted((ROOT / floor).rglob("*.py"))
}
RULES = {
    wing: (re.findall(r"`([\w.]+)`", may), re.findall(r"`([\w.]+)`", never))
    for wing, may, never in re.findall(
        r"^\| `([\w.]+)` \| (.*?) ?\|(.*)\|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE
    )
}


def imports(name: str) -> Iterator[str]:
    """Modules of the project and packages that a file imports: at its top, in a function, for types alike."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("prosopon.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{name}: imports are absolute"
            module = node.module.removeprefix("prosopon.")
            parts = (f"{node.module}.{alias.name}".removeprefix("prosopon.") for alias in node.names)
            yield from (part if part in FILES else module for part in parts)


def inside(module: str, wing: str) -> bool:
    return f"{module}.".startswith(f"{wing}.")


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_what_its_wing_may(name: str) -> None:
    wing = max((wing for wing in RULES if inside(name, wing)), key=len, default="")
    assert wing or name in ("models", "pipelines"), "no wing of docs/architecture.md has this file"
    may, never = RULES.get(wing, ([], []))
    for other in imports(name):
        assert not any(inside(other, package) for package in never), other
        if other in FILES:
            assert any(inside(other, allowed) for allowed in (wing, *may)), other
            assert not inside(other, "models.training") or inside(name, "models.training"), other


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {name: {other for other in imports(name) if other in FILES and other != name} for name in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)
