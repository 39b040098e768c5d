"""Webhook calls end, whatever goes wrong with them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from prosopon.configs.settings import FetchSettings, StateSettings, SwapSettings, WebhookSettings
from prosopon.deployments import courier
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.deliveries import DeliveryRecord
from prosopon.deployments.web.client import Reply, Unreachable, WebClient
from tests.unit.test_tasks import HOOK, state_over

WEBHOOKS = WebhookSettings(max_attempts=3, first_pause_seconds=0.01, max_pause_seconds=0.01)


@pytest.mark.parametrize(
    ("problem", "recorded"),
    [
        (Unreachable("nobody is there"), "nobody is there"),
        (RuntimeError("a surprise"), "it cannot be called: RuntimeError('a surprise')"),
    ],
    ids=["expected", "unexpected"],
)
def test_a_call_that_always_fails_is_given_up_after_the_last_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, recorded: str
) -> None:
    state, called = state_over(Records(f"sqlite:///{tmp_path / 'records.db'}"), tmp_path), []
    task = state.tasks.accept(state.new())
    state.tasks.fail(state.claim(), "no face is found")

    async def post(self: WebClient, url: str, body: bytes, headers: dict[str, str]) -> Reply:
        called.append(url)
        raise problem

    async def given_up() -> DeliveryRecord:
        deployment: Any = courier.Courier
        running = deployment.func_or_class.__new__(deployment.func_or_class)
        await running.__init__(FetchSettings(), WEBHOOKS, SwapSettings(), StateSettings(home=tmp_path))
        try:
            while True:
                (call,) = state.deliveries.of_task(task)
                if call.due is None:
                    return call
                await asyncio.sleep(0.01)
        finally:
            await running.__del__()

    monkeypatch.setattr(WebClient, "post", post)
    monkeypatch.setattr(courier, "_LOOK_SECONDS", 0.01)
    call = asyncio.run(asyncio.wait_for(given_up(), 20))
    assert called == [HOOK] * 3
    assert (call.attempts, call.status, call.error, call.delivered) == (3, None, recorded, None)
