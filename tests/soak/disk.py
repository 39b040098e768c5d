"""A disk that fills up under a running server, is emptied again, and what was acknowledged meanwhile."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.benchmarks.serving import Server, serving_at
from tests.conformance.client import new_key

_SIZE = "200m"
_READINESS_SECONDS = 20.0


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A small file system over the folder; False where none can be mounted."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)], capture_output=True
    )
    try:
        yield not made.returncode
    finally:
        if not made.returncode:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_and_empty(folder: Path, pictures: list[bytes]) -> dict[str, object]:
    """What routes answer before, while and after the disk is full, and whether all that was acknowledged is there.

    folder: of a small disk. pictures: of six people at least.
    """
    told: dict[str, object] = {}
    acknowledged = set()
    home, filler = folder / "home", folder / "filler"
    with serving_at(home, {"apis": ["compreface"]}) as server:
        keys = {scope: {"x-api-key": new_key(server, scope)} for scope in ("recognition", "detection")}

        def post(path: str, number: int, scope: str) -> httpx.Response:
            files = {"file": ("face.jpg", pictures[number])}
            return httpx.post(f"{server.url}/api/v1/{path}", files=files, headers=keys[scope], timeout=60)

        def enrol(number: int) -> int:
            status = post(f"recognition/faces?subject={number}", number, "recognition").status_code
            if status == 201:
                acknowledged.add(str(number))
            return status

        told["enrolled before"] = [enrol(number) for number in (0, 1)]
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        told["ready while full"] = _becomes(server, 507)
        told["enrolled while full"] = [enrol(number) for number in (2, 3)]
        told["detected while full"] = post("detection/detect", 0, "detection").status_code
        told["recognised while full"] = post("recognition/recognize", 1, "recognition").status_code
        filler.unlink()
        told["ready again"] = _becomes(server, 200)
        told["enrolled again"] = [enrol(number) for number in (4, 5)]
    with serving_at(home, {"apis": ["compreface"]}) as server:
        listed = httpx.get(
            f"{server.url}/api/v1/recognition/subjects", headers=keys["recognition"], timeout=60
        )
        told["as acknowledged after a restart"] = set(listed.json()["subjects"]) == acknowledged
    return told


EXPECTED: dict[str, object] = {
    "enrolled before": [201, 201],
    "ready while full": 507,
    "enrolled while full": [507, 507],
    "detected while full": 200,
    "recognised while full": 200,
    "ready again": 200,
    "enrolled again": [201, 201],
    "as acknowledged after a restart": True,
}


def _becomes(server: Server, status: int) -> int:
    """What `/readyz` says, as soon as it is `status`, or in the end."""
    until = time.monotonic() + _READINESS_SECONDS
    while (said := httpx.get(f"{server.url}/readyz").status_code) != status and time.monotonic() < until:
        time.sleep(0.5)
    return said
