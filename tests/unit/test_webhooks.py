"""Signatures that others can verify, and pauses between attempts."""

import base64
from random import Random
from uuid import UUID

import pytest

from prosopon.configs.settings import WebhookSettings
from prosopon.deployments.web.webhooks import headers, pause_after, shown, signature

DELIVERY = UUID(int=7)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks reference libraries' tests."""
    secret, body = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert shown(secret) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = headers(secret, DELIVERY, 1614265330, body)
    assert sent["webhook-id"] == f"msg_{DELIVERY.hex}"
    assert sent["webhook-timestamp"] == "1614265330"
    assert sent["webhook-signature"] == signature(secret, sent["webhook-id"], 1614265330, body)


def test_the_signature_depends_on_secret_id_time_and_body() -> None:
    def signature(secret: bytes = b"s", number: int = 1, time: int = 5, body: bytes = b"{}") -> str:
        return headers(secret, UUID(int=number), time, body)["webhook-signature"]

    made = {
        signature(),
        signature(secret=b"t"),
        signature(number=2),
        signature(time=6),
        signature(body=b"[]"),
    }
    assert len(made) == 5


def test_pauses_double_up_to_the_longest_and_then_the_call_is_given_up() -> None:
    settings = WebhookSettings(max_attempts=6, first_pause_seconds=10, max_pause_seconds=60)
    for attempt, middle in enumerate((10, 20, 40, 60, 60), 1):
        pauses = [pause_after(attempt, settings, Random(seed)) for seed in range(50)]
        seconds = [pause.total_seconds() for pause in pauses if pause]
        assert len(seconds) == 50
        assert middle * 0.8 <= min(seconds) < middle < max(seconds) <= middle * 1.2
    assert pause_after(6, settings, Random(0)) is None


@pytest.mark.parametrize(("asked", "least"), [(30, 30), (100_000, 60), (0, 8)])
def test_a_server_may_ask_for_a_longer_pause(asked: float, least: float) -> None:
    settings = WebhookSettings(first_pause_seconds=10, max_pause_seconds=60)
    pause = pause_after(1, settings, Random(0), 429, asked)
    assert pause is not None
    assert pause.total_seconds() >= least
    assert pause.total_seconds() <= 72


def test_a_server_may_say_that_nobody_is_there_any_more() -> None:
    assert pause_after(1, WebhookSettings(), Random(0), 410) is None
