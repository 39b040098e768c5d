"""What the project imports it declares, and what it declares it imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.paths import ROOT

# Module -> the declared package that brings it, where the module's own package shares it with other builds.
BROUGHT = {"cv2": "insightface", "onnxruntime": "insightface"}
# Module -> its package, where that does not say so itself.
UNTOLD = {"dlib": "dlib-bin"}
# Declared, and imported by another package at our wish.
FOR_OTHERS = {"onnxscript": "torch.onnx.export"}


def imported() -> set[str]:
    """Packages, as the index spells them, that the project's modules import."""
    packages = packages_distributions()
    names = set()
    for floor in ("configs", "models", "deployments", "pipelines"):
        # What trains is not installed.
        for path in (path for path in (ROOT / floor).rglob("*.py") if "training" not in path.parts):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    # A namespace, google, has packages of several.
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
    modules = (
        {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"prosopon", "google"}
    )
    if any(name.startswith("google.protobuf") for name in names):
        packages["google.protobuf"] = ["protobuf"]
        modules.add("google.protobuf")
    told = {module: BROUGHT.get(module) or UNTOLD.get(module) for module in modules}
    # An extra may not be installed.
    return {_spelled(told[module] or packages.get(module, [module])[0]) for module in modules}


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [one for extra in extras for one in project["optional-dependencies"][extra]]
    named = [re.match(r"[\w.-]+", one) for one in (*project["dependencies"], *optional)]
    return {_spelled(found.group()) for found in named if found}


def _spelled(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_what_is_imported_is_declared() -> None:
    # Some is needed by what somebody chose: the extras say so.
    assert imported() - declared("dlib", "notebooks") == set()


def test_what_is_declared_is_imported() -> None:
    assert declared() - imported() - set(FOR_OTHERS) == set()
