"""The store of weights on this machine: what is there, what is verified, which file serves which role."""

import contextlib
import fcntl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from prosopon.configs.settings import ModelSettings, Role
from prosopon.models.weights.catalogue import (
    CATALOGUE,
    PACKS,
    Artifact,
    File,
    by_digest,
    choices,
)
from prosopon.models.weights.checksums import ChecksumError, checksum, is_content, sha256_of, verify
from prosopon.models.weights.fetch import Fetcher, FetchError, find_in_mirror

FileProgress = Callable[[File, int, int], None]
"""Called with a file, the bytes that are there and the bytes that will be."""


class ModelUnavailable(RuntimeError):
    """A role has no weights on this machine. The message names the command that brings them."""


class UnknownModel(ValueError):
    """A name that is neither in the catalogue nor a file."""


class State(StrEnum):
    MISSING = "missing"
    READY = "ready"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class Weights:
    """The verified files of one model. paths: in the catalogue's order.

    artifact: None for a file of the operator's own.
    """

    name: str
    role: Role
    paths: tuple[Path, ...]
    artifact: Artifact | None

    @property
    def path(self) -> Path:
        """The only, or the first, file."""
        return self.paths[0]


class Registry:
    """A folder with one sub-folder per artifact, or per several of the same files.

    Any number of processes may pull into it at once.
    """

    def __init__(self, directory: Path, mirror: Path | None = None) -> None:
        self.directory = directory
        self._mirror = mirror

    @classmethod
    def of(cls, settings: ModelSettings) -> "Registry":
        return cls(settings.directory, settings.mirror)

    def path(self, artifact: Artifact, file: File) -> Path:
        """Where a file lies, or will lie: in the store, or beside this module where it is ours."""
        if file.ours:
            return Path(__file__).with_name(file.name)
        return self.directory / (artifact.same_files or artifact.name) / file.name

    def state(self, artifact: Artifact, fresh: bool = False) -> State:
        """Whether the files of one release are there and are the right ones. fresh: read them all again."""
        if not all(self.path(artifact, file).exists() for file in artifact.files):
            return State.MISSING
        return State.READY if self._release(artifact, fresh) else State.CORRUPT

    def _release(self, artifact: Artifact, fresh: bool = False) -> tuple[File, ...] | None:
        """The release whose files are there, whole and unchanged."""

        def here(file: File) -> bool:
            path = self.path(artifact, file)
            there = path.exists() and path.stat().st_size == file.size
            return there and is_content(path, file.digest, fresh)

        return next((release for release in artifact.releases if all(map(here, release))), None)

    def weights(self, artifact: Artifact) -> Weights:
        """The verified files of an artifact.

        Raises `ModelUnavailable` where one is missing, `models.weights.checksums.ChecksumError` where one has other
        content.
        """
        paths = tuple(self.path(artifact, file) for file in artifact.files)
        if not all(path.exists() for path in paths):
            raise ModelUnavailable(
                f"the weights of '{artifact.name}' ({artifact.role}) are not on this machine: "
                f"run `prosopon models pull {artifact.name}`"
            )
        if self._release(artifact) is None:
            for path, file in zip(paths, artifact.files, strict=True):
                verify(path, file.digest)
        return Weights(artifact.name, artifact.role, paths, artifact)

    def pull(self, artifacts: Iterable[Artifact], progress: FileProgress = lambda *_: None) -> int:
        """Fetch what is missing or corrupt; the bytes downloaded. Raises `models.weights.fetch.FetchError`."""
        with Fetcher(self._mirror) as fetcher:
            for artifact in artifacts:
                self._pull_one(fetcher, artifact, progress)
            return fetcher.received

    def _pull_one(self, fetcher: Fetcher, artifact: Artifact, progress: FileProgress) -> None:
        """The release that is here, the one that the mirror holds, or the first that its sources give."""
        failures = []
        here = self._release(artifact)
        if here and all(file.ours for file in here):
            return
        for release in [here] if here else sorted(artifact.releases, key=self._is_distant):
            try:
                for file in release:
                    self._pull_file(fetcher, artifact, file, progress)
                return
            except FetchError as error:
                failures.append(str(error))
        raise FetchError("\n".join(failures))

    def _is_distant(self, release: tuple[File, ...]) -> bool:
        mirror = self._mirror
        return mirror is None or not all(find_in_mirror(mirror, file) for file in release)

    def _pull_file(self, fetcher: Fetcher, artifact: Artifact, file: File, progress: FileProgress) -> None:
        path = self.path(artifact, file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            locked = path.with_name(f".{file.name}.lock").open("w")
        except OSError as error:  # An image's folder, for one, which nobody may write to.
            raise FetchError(f"{file.name} has no place: {error}") from None
        with _locked(locked):
            # Another process may have brought it while this one waited.
            with contextlib.suppress(OSError, ChecksumError):
                verify(path, file.digest)
                progress(file, file.size, file.size)
                return
            partial = path.with_name(f".{file.name}.{file.digest[:8]}.partial")
            fetcher.fetch(file, partial, lambda done, total: progress(file, done, total))
            partial.replace(path)
            verify(path, file.digest)


def artifacts_for(settings: ModelSettings, role: Role) -> tuple[Artifact, ...]:
    """The artifacts that may serve a role under these settings, the preferred first; none where they name a file, or
    nothing.

    Raises `UnknownModel` where the pack is not in the catalogue (those of insightface are not).
    """
    if override := settings.overrides.get(role):
        return (CATALOGUE[override],) if override in CATALOGUE else ()
    if settings.pack.startswith("insightface/"):
        return ()
    if settings.pack not in PACKS:
        raise UnknownModel(
            f"'{settings.pack}' is not a pack: there are {', '.join(PACKS)} and insightface/NAME"
        )
    return choices(PACKS[settings.pack], role)


def artifact_for(settings: ModelSettings, role: Role) -> Artifact | None:
    """The preferred of `artifacts_for` whose weights are on this machine; the first where none is, None without any.

    Raises `UnknownModel`.
    """
    artifacts, registry = artifacts_for(settings, role), Registry.of(settings)
    if len(artifacts) < 2:
        return artifacts[0] if artifacts else None
    ready = (artifact for artifact in artifacts if registry.state(artifact) is State.READY)
    return next(ready, artifacts[0])


def resolve(settings: ModelSettings, role: Role) -> Weights:
    """The verified weights that serve a role under these settings.

    Raises `ModelUnavailable` where the pack has no model for the role or its files are not on this machine,
    `UnknownModel` where an override names nothing, `models.weights.checksums.ChecksumError` on wrong content.
    """
    if artifact := artifact_for(settings, role):
        if not artifact.serves(role):
            raise UnknownModel(f"'{artifact.name}' is for the role '{artifact.role}', not for '{role}'")
        return Registry.of(settings).weights(artifact)
    if override := settings.overrides.get(role):
        return _own_file(role, Path(override).expanduser())
    names = [artifact.name for artifact in CATALOGUE.values() if artifact.serves(role)]
    hint = f": run `prosopon models pull {names[0]}` and set the override {role}: {names[0]}" if names else ""
    raise ModelUnavailable(f"pack '{settings.pack}' has no model for the role '{role}'{hint}")


def _own_file(role: Role, path: Path) -> Weights:
    if not path.exists():
        raise UnknownModel(
            f"the override '{path}' for role '{role}' is neither an artifact (`prosopon models list`) "
            "nor a file"
        )
    if path.is_dir():
        return Weights(path.name, role, (path,), None)
    known = by_digest({sha256_of(path), checksum(path, "sha384")})
    if known is not None and len(known.files) == 1:
        return Weights(known.name, role, (path,), known)
    # An OpenVINO graph keeps its tensors in a file of the same name.
    tensors = path.with_suffix(".bin")
    paths = (path, tensors) if path.suffix == ".xml" and tensors.exists() else (path,)
    return Weights(known.name if known else path.stem, role, paths, known)


@contextlib.contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
