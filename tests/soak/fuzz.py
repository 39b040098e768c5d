"""Strangers' requests to every route: after the OpenAPI documents, and bytes that are no proper requests."""

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case

from prosopon.configs.settings import Api
from prosopon.deployments.state.keys import Scope
from tests.benchmarks.serving import Server
from tests.conformance.client import new_key
from tests.conformance.openapi import operations, with_label

LONGEST_SECONDS = 30
_RAW_SHARE = 0.4
_UNFINISHED = ("of which the end is missing", "in chunks that are none")
_SLOW = ("gif", "mp4", "webp", "linkpreview", "recoverlatent", "/v1/train", "encode")
"""Parts of routes that work for seconds on an ordinary request: one of so many is enough."""
_SLOW_DIVISOR = 20
_SLOW_SECONDS = 300
"""A film of 200 frames of 1024 pixels is work, and so is a latent, which waits for idle cores: no hang."""

_SCOPES: dict[Api, tuple[Scope, ...]] = {
    "compreface": ("recognition", "detection", "verification"),
    "trueface": ("trueface",),
    "facecheck": ("facecheck",),
    "checkface": (),
    "aifaceswap": ("aifaceswap",),
}


@dataclass
class Fuzzed:
    """What came of the requests to one API. faults: what no request may be answered with. slowest: in seconds, of
    routes that are not slow by nature."""

    api: str
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.statuses.total()

    def fault(self, what: str) -> None:
        print(f"{self.api}: {what}", flush=True)
        self.faults.append(what)

    def saw(self, label: str, status: int, seconds: float, retry_after: str | None, what: str) -> None:
        self.statuses[str(status)] += 1
        if not _is_slow(label):
            self.slowest = max(self.slowest, seconds)
        if seconds > _longest(label):
            self.fault(f"{seconds:.0f} s: {what}")
        if status >= 500 and not (status == 503 and retry_after):
            self.fault(f"{status}: {what}")


def _is_slow(label: str) -> bool:
    return any(part in label for part in _SLOW)


def _longest(label: str) -> float:
    return _SLOW_SECONDS if _is_slow(label) else LONGEST_SECONDS


def headers_for(server: Server, api: Api) -> dict[str, str]:
    """With a new key that may use the API."""
    scopes = _SCOPES[api]
    if not scopes:
        return {}
    key = new_key(server, *scopes, tenant=f"fuzz-{api}")
    match api:
        case "facecheck":
            return {"Authorization": key}
        case "aifaceswap":
            return {"Authorization": f"Bearer {key}"}
    return {"x-api-key": key}


def fuzz(server: Server, count: int, seed: int = 0) -> list[Fuzzed]:
    """So many requests in all, spread over the operations of the five documents; of each four of ten are raw bytes."""
    dice = random.Random(seed)
    documents = {api: httpx.get(f"{server.url}/openapi/{api}.json", timeout=60).json() for api in _SCOPES}
    labels = [(api, label) for api, document in documents.items() for label in _operations(server, document)]
    found = {api: Fuzzed(api) for api in _SCOPES}
    headers = {api: headers_for(server, api) for api in _SCOPES}
    weights = [1 / _SLOW_DIVISOR if _is_slow(label) else 1.0 for _, label in labels]
    for (api, label), weight in zip(labels, weights, strict=True):
        share = max(2, round(count * weight / sum(weights)))
        known = found[api].count
        raw = round(share * _RAW_SHARE)
        _after_the_document(server, documents[api], label, headers[api], share - raw, found[api])
        # Where a route has few parameters there are fewer different requests than are asked for.
        while found[api].count < known + share:
            _raw(server, label, headers[api], dice, found[api])
    return list(found.values())


def _operations(server: Server, document: dict[str, object]) -> list[str]:
    return operations(schemathesis.openapi.from_dict(document))


def _after_the_document(
    server: Server,
    document: dict[str, object],
    label: str,
    headers: dict[str, str],
    count: int,
    found: Fuzzed,
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)

    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(case=with_label(schema, label).as_strategy())
    def ask(case: Case) -> None:
        began = time.monotonic()
        try:
            answer = case.call(headers=headers, timeout=_longest(label))
        except (requests.RequestException, TimeoutError) as error:
            found.statuses[type(error).__name__] += 1
            found.fault(f"{type(error).__name__}: {case.as_curl_command()[:300]}")
            return
        retry_after = next(iter(answer.headers.get("retry-after", [])), None)
        found.saw(
            label, answer.status_code, time.monotonic() - began, retry_after, case.as_curl_command()[:300]
        )

    ask()


def _raw(server: Server, label: str, headers: dict[str, str], dice: random.Random, found: Fuzzed) -> None:
    """One request of bytes that are wrong in one way. The connection is closed by whoever is done first."""
    kind, text = malformed(label, headers, dice)
    host, _, port = server.address.rpartition(":")
    began, answer = time.monotonic(), b""
    try:
        with socket.create_connection((host, int(port)), timeout=_longest(label)) as connection:
            connection.sendall(text)
            if kind.endswith(_UNFINISHED):
                connection.shutdown(socket.SHUT_WR)  # Or the server would rightly wait for the rest.
            while piece := connection.recv(65536):
                answer += piece
    except TimeoutError:
        found.statuses["no answer"] += 1
        found.fault(f"no answer in {_longest(label):.0f} s: {kind} {text[:200]!r}")
        return
    except (ConnectionResetError, BrokenPipeError):
        pass  # The server need not read to its end what it refuses.
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
    status = head.split(" ")[1] if head.startswith("http/") else ""
    retry_after = "x" if "\nretry-after:" in head else None
    if status.isdecimal():
        found.saw(label, int(status), time.monotonic() - began, retry_after, f"{kind} {text[:200]!r}")
    else:
        found.statuses["closed"] += 1


def malformed(label: str, headers: dict[str, str], dice: random.Random) -> tuple[str, bytes]:
    """(What is wrong, a request) to an operation."""
    method, _, path = label.partition(" ")
    while "{" in path:
        before, _, rest = path.partition("{")
        path = (
            before
            + dice.choice(["x", "%00", "%ff", "..", "a" * 3000, "0", "%2F%2F"])
            + rest.partition("}")[2]
        )
    kind, body, media = dice.choice(list(_bodies(dice)))
    lines = [f"{method} {path} HTTP/1.1", "Host: soak", "Connection: close", f"Content-Type: {media}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    length = len(body)
    match dice.randrange(8):
        case 0:
            kind, length = f"{kind}, of which the end is missing", length + dice.randrange(1, 1000)
        case 1:
            kind = f"{kind}, in chunks that are none"
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n" % dice.randrange(1, 1 << 40) + body
        case 2:
            kind, lines = (
                f"{kind}, with odd headers",
                [*lines, f"X-Request-ID: {'é' * 40}", "Range: bytes=9-,-"],
            )
        case 3:
            kind, lines = f"{kind}, said to be compressed", [*lines, "Content-Encoding: gzip"]
        case 4:
            kind, lines[0] = (
                f"{kind}, with an odd query",
                lines[0].replace(" HTTP", "?a=%ff&=&limit=9e999&b HTTP"),
            )
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        lines.append(f"Content-Length: {length}")
    return kind, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _bodies(dice: random.Random) -> Iterator[tuple[str, bytes, str]]:
    """(What it is, body, media type)."""
    form, json = "multipart/form-data; boundary=b", "application/json"
    field_ = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    yield "random bytes", dice.randbytes(dice.randrange(2000)), dice.choice([form, json, "image/jpeg", "x/y"])
    yield "a form without an end", field_ + dice.randbytes(500), form
    yield "a form of many parts", field_ * 300, form
    yield "a form without a boundary", field_ + b"x\r\n--b--\r\n", "multipart/form-data"
    yield (
        "a form with odd names",
        field_.replace(b"file", dice.randbytes(9).replace(b'"', b"")) + b"\r\n--b--",
        form,
    )
    yield "JSON that is nested", b"[" * 10_000 + b"]" * 10_000, json
    yield "JSON cut off", b'{"embeddings": [[1, 2', json
    yield (
        "JSON of odd numbers",
        b'{"embeddings": [[1e999, -0, 12345678901234567890123]], "latent": NaN}',
        json,
    )
    yield "JSON of surrogates", rb'{"subject": "\ud800", "name": "\u0000", "id_search": "\udfff"}', json
    yield "JSON that is no UTF-8", b'{"subject": "\xff\xfe"}', json
    yield (
        "a beginning of a picture",
        field_ + b"\xff\xd8\xff\xe0" + dice.randbytes(900) + b"\r\n--b--\r\n",
        form,
    )
    yield "base64 that is none", b'{"file": "%%%", "img0": "====", "img": "A"}', json
    yield (
        "an urlencoded mess",
        b"a=%zz&&&=&source_image=" + dice.randbytes(50),
        "application/x-www-form-urlencoded",
    )
    yield "nothing", b"", dice.choice([form, json])
