"""Who calls: a key is looked up once and remembered for a moment."""

import asyncio
import time

from prosopon.deployments.state.keys import Key, KeyStore

_REMEMBERED_SECONDS = 2.0
_REMEMBERED_KEYS = 4096


def bearer_token(header: str | None) -> str | None:
    """What an Authorization header of the scheme Bearer holds (RFC 6750, section 2.1); None for any other."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


class Authenticator:
    """Keys by their text. A revoked key stops working within two seconds, a new one works at once."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._known: dict[str, tuple[float, Key]] = {}

    async def find(self, text: str) -> Key | None:
        """The key, or None where it is unknown or revoked."""
        now = time.monotonic()
        remembered = self._known.get(text)
        if remembered and now - remembered[0] < _REMEMBERED_SECONDS:
            return remembered[1]
        key = await asyncio.to_thread(self._keys.find, text)
        self._known.pop(text, None)
        if key is not None:
            if len(self._known) >= _REMEMBERED_KEYS:
                self._known.pop(next(iter(self._known)))
            self._known[text] = (now, key)
        return key
