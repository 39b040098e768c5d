"""Random requests after the routes' own OpenAPI document: every answer fits it, none is a server error."""

import httpx
import schemathesis

from tests.benchmarks.serving import Server
from tests.conformance.client import new_key
from tests.conformance.openapi import check, operations

EXAMPLES = 15


def test_every_answer_fits_the_document(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi/compreface.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    headers = {"x-api-key": new_key(server, "recognition", "detection", "verification")}
    labels = operations(schema)
    assert len(labels) == 20
    for label in labels:
        check(schema, label, headers, EXAMPLES)
