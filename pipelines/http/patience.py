"""Time for headers where no HAProxy gives it: in Ray Serve's own proxy, which waits for them for ever."""

import asyncio
import json

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_BODY = json.dumps({"message": "the request did not come in time"}).encode()
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's. A connection whose first headers, or whose next ones once they have begun, do not come in time is
    answered 408 and closed; between two requests uvicorn's own time for idle connections counts."""

    header_seconds = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self._give_up)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()


def expect_headers_within(seconds: float) -> None:
    """In every server that uvicorn starts in this process from here on, unless it names a protocol."""
    PatientProtocol.header_seconds = seconds
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"
