"""How much memory the processes of a server hold together."""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from prosopon.configs.settings import ImageLimits
from tests.benchmarks.serving import Server

AT_ONCE = 16
_LOOK_SECONDS = 0.1


def held(server: Server) -> int:
    """Bytes of all processes of the server; what several share is counted once (the kernel's PSS)."""
    total = 0
    for pid in server.pids():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (OSError, ProcessLookupError):
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total * 1024


@dataclass
class Watch(threading.Thread):
    """The most that a server holds while the block runs."""

    server: Server
    peak: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.ended.wait(_LOOK_SECONDS):
            self.peak = max(self.peak, held(self.server))

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


def _encoded(pixels: np.ndarray, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def hostile(limits: ImageLimits) -> dict[str, bytes]:
    """Small files of as many pixels as are allowed, in the formats that take most memory to decode."""
    side = int(limits.max_pixels**0.5)
    grey = np.zeros((side, side), np.uint8)
    makers: dict[str, Callable[[], bytes]] = {
        "int32 TIFF": lambda: _encoded(grey.astype(np.int32), "TIFF", compression="tiff_adobe_deflate"),
        "RGBA webp": lambda: _encoded(
            np.zeros((side, min(side, 16383), 4), np.uint8), "WEBP", lossless=True, method=0
        ),
        "narrow png": lambda: _encoded(np.zeros((limits.max_pixels, 1, 4), np.uint8), "PNG"),
        "progressive jpeg": lambda: _encoded(grey, "JPEG", progressive=True, quality=20),
    }
    return {name: make() for name, make in makers.items()}


@dataclass(frozen=True)
class Peak:
    """Bytes before, and at most while the pictures were there; statuses of their answers. bound: what the settings
    allow, and half as much again as was held before."""

    idle: int
    peak: int
    bound: float
    statuses: dict[str, list[int]]


def hostile_pictures_at_once(server: Server, key: str, limits: ImageLimits) -> Peak:
    """So many hostile pictures to the detection route at the same time."""
    files = hostile(limits)
    sent = [(name, files[name]) for name in list(files) * (AT_ONCE // len(files))]
    time.sleep(2)
    idle = held(server)
    with Watch(server) as watch:
        statuses = asyncio.run(_detect(server, key, [data for _, data in sent]))
    bound = 1.5 * idle + limits.costly_decodes * limits.decode_bytes
    told: dict[str, list[int]] = {}
    for (name, _), status in zip(sent, statuses, strict=True):
        told.setdefault(name, []).append(status)
    return Peak(idle, watch.peak, bound, told)


async def _detect(server: Server, key: str, pictures: Sequence[bytes]) -> list[int]:
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=len(pictures))) as client:

        async def one(data: bytes) -> int:
            answer = await client.post(
                f"{server.url}/api/v1/detection/detect",
                files={"file": ("face.bin", data)},
                headers={"x-api-key": key},
            )
            return answer.status_code

        return await asyncio.gather(*map(one, pictures))
