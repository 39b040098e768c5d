"""Random requests after FaceCheck's original OpenAPI document, and our own document against it."""

import json
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from jsonschema import Draft4Validator

from tests.conformance.facecheck_client import FaceCheckClient
from tests.conformance.openapi import check, operations
from tests.paths import SHARED, require
from tests.support.in_process import OverHttp

EXAMPLES = 40


def original() -> dict[str, Any]:
    """The document inside the page that it was copied from."""
    text = require(SHARED / "apis" / "original" / "facecheck_openapi.txt").read_text()
    document, _ = json.JSONDecoder(strict=False).raw_decode(text[text.index("{") :])
    assert isinstance(document, dict)
    return document


def test_every_answer_fits_the_original_document(client: FaceCheckClient, facecheck_server: OverHttp) -> None:
    schema = schemathesis.openapi.from_dict(original())
    schema.config.update(base_url=facecheck_server.url)
    labels = operations(schema)
    assert len(labels) == 4
    for label in labels:
        check(schema, label, {"Authorization": client.token}, EXAMPLES)


def strict(node: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: what is nullable may be null."""
    if isinstance(node, list):
        return [strict(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    schema = {name: strict(entry) for name, entry in node.items()}
    if node.get("nullable") is True:
        schema["type"] = [node["type"], "null"]
    return schema


def test_every_answer_to_a_whole_search_fits_the_original_document(
    client: FaceCheckClient, london: list[Path]
) -> None:
    components = strict(original()["components"])
    reference = {"$ref": "#/components/schemas/BrowserJsonResponse", "components": components}
    validator = Draft4Validator(reference)
    uploaded = client.upload(*london[:3])
    search = uploaded["id_search"]
    answers = [uploaded, client.search(search, status_only=True), client.search(search, with_progress=True)]
    while not answers[-1].get("output"):
        answers.append(client.search(search, with_progress=True))
    assert answers[-1]["output"]["items"]
    answers += [client.delete(search, uploaded["input"][0]["id_pic"]), client.search(search, demo=True)]
    answers += [client.search("unknown"), client.upload(*london[:4]), client.delete(search, "unknown")]
    for document in answers:
        validator.validate(document)


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema says of each property, whichever version of OpenAPI it is written in."""
    properties = {}
    for name, given in schema["properties"].items():
        options = [option for option in given.get("anyOf", [given]) if option.get("type") != "null"]
        assert len(options) == 1
        option = options[0]
        properties[name] = (
            option.get("type"),
            option.get("format"),
            option.get("$ref", option.get("items", {}).get("$ref", "")).rpartition("/")[2],
            bool(given.get("nullable") or len(given.get("anyOf", [])) > 1),
        )
    return {"properties": properties, "additionalProperties": schema["additionalProperties"]}


def undescribed(node: Any) -> Any:
    """Without what ours says in words, where the original is silent."""
    if isinstance(node, list):
        return [undescribed(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    return {
        name: undescribed(entry) for name, entry in node.items() if name not in ("description", "examples")
    }


def test_our_own_document_says_the_same(facecheck_server: OverHttp) -> None:
    ours, theirs = httpx.get(f"{facecheck_server.url}/openapi/facecheck.json").json(), original()
    assert set(ours["paths"]) == set(theirs["paths"])
    for path, operation in theirs["paths"].items():
        mine = ours["paths"][path]["post"]
        assert set(mine["responses"]) == set(operation["post"]["responses"]) == {"200"}
        answers = [
            document["responses"]["200"]["content"]["application/json"]["schema"]
            for document in (mine, operation["post"])
        ]
        assert answers[0] == answers[1]
        bodies = [document.get("requestBody", {}).get("content") for document in (mine, operation["post"])]
        assert undescribed(bodies[0]) == bodies[1]
        names = [
            [(given["name"], given["in"]) for given in document.get("parameters", [])]
            for document in (mine, operation["post"])
        ]
        assert names[0] == names[1]
    schemas = [document["components"]["schemas"] for document in (ours, theirs)]
    assert set(schemas[0]) == set(schemas[1])
    for name in schemas[1]:
        assert plain(schemas[0][name]) == plain(schemas[1][name]), name
    assert ours["components"]["securitySchemes"]["Bearer"]["in"] == "header"


def test_the_documentation_is_served(facecheck_server: OverHttp) -> None:
    assert httpx.get(f"{facecheck_server.url}/docs/facecheck").status_code == 200
