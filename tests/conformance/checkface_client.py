"""What tests of CheckFace look for in its answers."""

import time

import httpx


def error_of(answer: httpx.Response, status: int) -> str:
    """The message of a refusal in CheckFace's own form."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert set(document) == {"error"}
    message: str = document["error"]
    return message


def settled(api: httpx.Client, seconds: float = 15) -> bool:
    """Whether nothing is being computed any more, in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if api.get("/api/queue/").json()["queue"] == 0:
            return True
        time.sleep(0.2)
    return False
