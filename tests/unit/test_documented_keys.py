"""How the OpenAPI documents say that a key is given."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from prosopon.configs.settings import Settings
from prosopon.pipelines.apis.aifaceswap import routes as aifaceswap
from prosopon.pipelines.apis.checkface import routes as checkface
from prosopon.pipelines.apis.compreface import routes as compreface
from prosopon.pipelines.apis.facecheck import routes as facecheck
from prosopon.pipelines.apis.trueface import routes as trueface

NOTHING = SimpleNamespace()
SERVICES = SimpleNamespace(
    settings=Settings(),
    keys=None,
    recognition=None,
    galleries=None,
    records=None,
    swaps=None,
    enrollments=NOTHING,
    faces=SimpleNamespace(cards={"embedder": SimpleNamespace(dim=128)}),
)
BEARER = {"type": "http", "scheme": "bearer"}
HEADER = {"type": "apiKey", "in": "header", "name": "x-api-key"}
TOKEN = {"type": "apiKey", "in": "header", "name": "Authorization"}


@pytest.mark.parametrize(
    ("create_app", "scheme"),
    [
        (aifaceswap.create_app, BEARER),
        (compreface.create_app, HEADER),
        (facecheck.create_app, TOKEN),
        (trueface.create_app, HEADER),
    ],
)
def test_every_operation_takes_the_key_by_one_scheme_and_not_as_a_parameter(
    create_app: Callable[[Any], FastAPI], scheme: dict[str, str]
) -> None:
    document = create_app(SERVICES).openapi()
    ((name, declared),) = document["components"]["securitySchemes"].items()
    assert declared == scheme
    operations = {
        f"{method} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "{api_key}" not in path  # The key is part of the address.
    }
    assert operations
    for which, operation in operations.items():
        assert operation["security"] == [{name: []}], which
        assert all(parameter["in"] != "header" for parameter in operation.get("parameters", [])), which


def test_an_address_with_the_key_in_it_takes_no_other() -> None:
    paths = compreface.create_app(SERVICES).openapi()["paths"]  # type: ignore[arg-type]
    (operation,) = [methods["get"] for path, methods in paths.items() if "{api_key}" in path]
    assert "security" not in operation


@pytest.mark.parametrize(
    "create_app", [api.create_app for api in (aifaceswap, checkface, compreface, facecheck, trueface)]
)
def test_no_status_is_documented_that_is_never_answered(create_app: Callable[[Any], FastAPI]) -> None:
    document = create_app(SERVICES).openapi()
    answered = {
        status
        for methods in document["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    assert answered and "422" not in answered
    assert "HTTPValidationError" not in document.get("components", {}).get("schemas", {})


@pytest.mark.parametrize("api", [aifaceswap, checkface, compreface, facecheck, trueface])
def test_every_field_of_the_documents_schemas_is_described(api: Any) -> None:
    schemas = api.create_app(SERVICES).openapi()["components"]["schemas"]
    told = {
        f"{name}.{field}": described.get("description")
        for name, schema in schemas.items()
        for field, described in schema.get("properties", {}).items()
    }
    assert told and [field for field, text in told.items() if not text] == []
