"""The OpenAPI document of the swaps."""

from types import SimpleNamespace
from typing import Any, cast

from configs.settings import Settings
from pipelines.aifaceswap import create_app


def test_every_documented_operation_takes_the_key_as_a_bearer_token() -> None:
    services = cast(Any, SimpleNamespace(swaps=None, keys=None, settings=Settings()))
    document = create_app(services).openapi()
    schemes = document["components"]["securitySchemes"]
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert operations and all([*schemes] == [*operation["security"][0]] for operation in operations)
