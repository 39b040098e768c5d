"""Property-based requests after an OpenAPI document, against a running server."""

from collections.abc import Callable, Iterable

import schemathesis

# Loaded here, while nothing else runs: pytest rewrites it as it loads, and in Python 3.11 `ast.parse` fails where
# threads or a garbage collection come between (python/cpython#106905).
import schemathesis.specs.openapi.schemas
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CONFORMANCE: tuple[CheckFunction, ...] = (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


def operations(schema: schemathesis.BaseSchema) -> list[str]:
    """``METHOD /path`` of every operation of the document."""
    return [operation.label for operation in _all(schema)]


def with_label(schema: schemathesis.BaseSchema, label: str) -> schemathesis.APIOperation:
    """The operation of that ``METHOD /path``."""
    return next(operation for operation in _all(schema) if operation.label == label)


def _all(schema: schemathesis.BaseSchema) -> Iterable[schemathesis.APIOperation]:
    for result in schema.get_all_operations():
        yield result.ok()


def check(
    schema: schemathesis.BaseSchema,
    label: str,
    headers: dict[str, str],
    examples: int,
    checks: tuple[CheckFunction, ...] = CONFORMANCE,
) -> None:
    """Random requests to one operation: no server error, and every answer fits the document."""
    operation = with_label(schema, label)

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def run(case: Case) -> None:
        answer = case.call(headers=headers)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        case.validate_response(answer, checks=list(checks))

    test: Callable[[], None] = run
    test()
