"""How webhooks are signed, and when they are tried again.

Signatures follow the Standard Webhooks specification 1.0.0 (standardwebhooks.com), for which there are libraries in
many languages: HMAC-SHA256 with the key's secret over ``id.timestamp.body``, in base64. The id is the same in every
attempt, so that a receiver can tell a repetition; the timestamp is that of the attempt.
"""

import base64
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from standardwebhooks import Webhook

from prosopon.configs.settings import WebhookSettings

_PREFIX = "whsec_"
_JITTER = 0.2
_GONE = 410


def shown(secret: bytes) -> str:
    """The secret as people and libraries exchange it."""
    return _PREFIX + base64.b64encode(secret).decode()


def headers(secret: bytes, delivery: UUID, timestamp: int, body: bytes) -> dict[str, str]:
    """Headers of one attempt. timestamp: seconds since 1970."""
    name = f"msg_{delivery.hex}"
    return {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, name, timestamp, body),
    }


def signature(secret: bytes, name: str, timestamp: int, body: bytes) -> str:
    """Of a message with this id. body: UTF-8."""
    return Webhook(secret).sign(name, datetime.fromtimestamp(timestamp, UTC), body.decode())


def pause_after(
    attempt: int,
    settings: WebhookSettings,
    dice: Random,
    status: int | None = None,
    retry_after: float | None = None,
) -> timedelta | None:
    """How long to wait after a failed attempt (counted from 1); None where it was the last.

    Pauses double, give or take a fifth, so that what failed together does not come back together. A server may ask for
    a longer one, or with 410 for none at all.
    """
    if attempt >= settings.max_attempts or status == _GONE:
        return None
    seconds = min(settings.first_pause_seconds * 2.0 ** (attempt - 1), settings.max_pause_seconds)
    seconds *= 1 + dice.uniform(-_JITTER, _JITTER)
    if retry_after is not None:
        seconds = max(seconds, min(retry_after, settings.max_pause_seconds))
    return timedelta(seconds=seconds)
