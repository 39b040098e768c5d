"""A load generator that costs little itself: prepared requests over keep-alive connections."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True)
class Load:
    """What one run of closed-loop clients saw. latencies: seconds, of the answers with status 200 or 201."""

    clients: int
    seconds: float
    latencies: np.ndarray
    statuses: Counter[int]
    slowest_refusal: float

    @property
    def throughput(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, q: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.latencies, q)) * 1000 if len(self.latencies) else float("nan")


def multipart(field: str, filename: str, data: bytes) -> tuple[bytes, str]:
    """A body with one file and its Content-Type."""
    boundary = "prosopon-benchmark"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return (
        head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        f"multipart/form-data; boundary={boundary}",
    )


def post(url: str, body: bytes, content_type: str, headers: dict[str, str]) -> bytes:
    """A whole HTTP/1.1 request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Type: {content_type}"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Send one request, read one answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return status, body
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 : lower.find(b"\r\n", at)]) if at >= 0 else 0
    return status, await reader.readexactly(length)


async def closed_loop(requests: Sequence[bytes], address: str, clients: int, seconds: float) -> Load:
    """`clients` connections, each sending its next request as soon as it has its answer."""
    host, port = address.split(":")
    latencies: list[float] = []
    refusals: list[float] = [0.0]
    statuses: Counter[int] = Counter()
    started = time.perf_counter()
    deadline = started + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        turn = number
        while time.perf_counter() < deadline:
            sent = time.perf_counter()
            try:
                status, _ = await exchange(reader, writer, requests[turn % len(requests)])
            except (asyncio.IncompleteReadError, ConnectionError):
                # The connection was closed between two requests, as HTTP allows: any client opens another.
                reader, writer = await asyncio.open_connection(host, int(port))
                status, _ = await exchange(reader, writer, requests[turn % len(requests)])
            took = time.perf_counter() - sent
            statuses[status] += 1
            if status in (200, 201):
                latencies.append(took)
            else:
                refusals.append(took)
                await asyncio.sleep(0.1)
            turn += clients
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    took = time.perf_counter() - started
    return Load(clients, took, np.array(latencies), statuses, max(refusals))
