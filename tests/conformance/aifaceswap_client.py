"""An aifaceswap client as thin as can be, and the state of the key that it uses."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from prosopon.configs.settings import StateSettings, WebhookSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.deliveries import DeliveryStore
from prosopon.deployments.state.keys import KeyStore
from tests.conformance.client import keys_of
from tests.support.in_process import Listening

BASE = "/api/aifaceswap/v1"


@dataclass
class Swapper:
    """Speaks with one key. secret: that signs its webhooks."""

    http: httpx.Client
    home: Path
    key: str
    key_id: int
    secret: bytes

    def post(self, route: str, **options: Any) -> httpx.Response:
        return self.http.post(f"{BASE}/{route}", **options)

    def task(self, task_id: str) -> dict[str, Any]:
        answer = self.http.get(f"{BASE}/task/{task_id}")
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def wait(self, task_id: str, seconds: float = 120) -> dict[str, Any]:
        """The task once it has ended."""
        deadline = time.monotonic() + seconds
        while (task := self.task(task_id))["success"] is None:
            assert time.monotonic() < deadline, task
            time.sleep(0.05)
        return task

    def accepted(self, route: str, **options: Any) -> str:
        """The id of a task that is accepted."""
        answer = self.post(route, **options)
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["data"]["task_id"]
        return task_id

    def points(self) -> int | None:
        with keys_of(self.home) as keys:
            return keys.balance(self.key_id)


def new_swapper(server: Listening, points: int | None = None) -> Swapper:
    with closing(Records(StateSettings(home=server.home).database)) as records:
        key, secret = KeyStore(records).create("test", ["aifaceswap"], credits=points)
        signing = DeliveryStore(records, WebhookSettings()).secret(key.id)
    http = httpx.Client(base_url=server.url, timeout=60, headers={"Authorization": f"Bearer {secret}"})
    return Swapper(http, server.home, secret, key.id, signing)
