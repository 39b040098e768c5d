"""The Courier: makes the webhook calls that are owed, and deletes the pictures of tasks whose time has come."""

import asyncio
import logging
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from ray import serve
from ray.util.metrics import Counter as CounterMetric

from prosopon.configs.settings import FetchSettings, StateSettings, SwapSettings, WebhookSettings
from prosopon.deployments.serving.nudges import Wakeable
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.deliveries import Delivery, DeliveryStore
from prosopon.deployments.state.jobs.task_expiry import TaskExpiry
from prosopon.deployments.web.client import WebClient, WebError
from prosopon.deployments.web.webhooks import headers, pause_after

logger = logging.getLogger("ray.serve")

_LOOK_SECONDS = 1.0
_EXPIRE_SECONDS = 60.0
_DRAIN_SECONDS = 7.0
"""Within what Serve gives a replica to stop."""


@serve.deployment
class Courier:
    """Any number of replicas share the calls. A server that hangs holds its own share of them and nothing else."""

    async def __init__(  # type: ignore[misc]  # Serve awaits an asynchronous constructor
        self,
        fetch: FetchSettings,
        webhooks: WebhookSettings,
        swap: SwapSettings,
        state: StateSettings,
    ) -> None:
        self._settings = webhooks
        records = await asyncio.to_thread(Records, state.database)
        self._deliveries = DeliveryStore(records, webhooks)
        self._expiry = TaskExpiry(records, BlobStore(records, state.blobs), swap)
        self._client = WebClient(fetch.model_copy(update={"seconds": webhooks.seconds}))
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="deliveries")
        self._wakeable = Wakeable(_LOOK_SECONDS)
        self._under_way: dict[asyncio.Task[None], Delivery] = {}
        self._calls = CounterMetric(
            "prosopon_webhook_calls", "Webhook calls by their outcome.", tag_keys=("outcome",)
        )
        self._loops = [asyncio.create_task(self._deliver()), asyncio.create_task(self._expire())]

    async def poke(self) -> None:
        """There may be calls to make."""
        self._wakeable.wake()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `deployments.serving.scaling.by_backlog` goes by."""
        loop = asyncio.get_running_loop()
        return {"backlog": await loop.run_in_executor(self._threads, self._deliveries.count_open)}

    def check_health(self) -> None:
        """Raises RuntimeError where this replica makes no more calls."""
        if any(loop.done() for loop in self._loops):
            raise RuntimeError("the courier has stopped")

    async def __del__(self) -> None:
        """Serve awaits this before it stops the replica: calls under way are finished."""
        for loop in self._loops:
            loop.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_DRAIN_SECONDS)

    async def _deliver(self) -> None:
        """For ever. What goes wrong with the records is logged and tried again: what is owed stays owed."""
        loop = asyncio.get_running_loop()
        while True:
            self._wakeable.listen()
            claimed: list[Delivery] = []
            try:
                hosts = Counter(delivery.host for delivery in self._under_way.values())
                keys = Counter(delivery.key for delivery in self._under_way.values())
                claimed = await loop.run_in_executor(self._threads, self._deliveries.claim, hosts, keys)
            except Exception:
                logger.exception("webhook calls that are owed cannot be read")
            for delivery in claimed:
                task = asyncio.create_task(self._attempt(delivery))
                self._under_way[task] = delivery
                task.add_done_callback(self._attempted)
            if not claimed:
                await self._wakeable.wait()

    def _attempted(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._wakeable.wake()
        if not task.cancelled() and (error := task.exception()):
            logger.error("the outcome of a webhook call is not on record: %s", error)

    async def _attempt(self, delivery: Delivery) -> None:
        loop, reply = asyncio.get_running_loop(), None
        try:
            secret = await loop.run_in_executor(self._threads, self._deliveries.secret, delivery.key)
            signed = headers(secret, delivery.id, int(time.time()), delivery.body)
            reply = await self._client.post(delivery.url, delivery.body, signed)
            problem = f"it answered {reply.status}"
        except WebError as error:
            problem = str(error)
        except Exception as error:  # It counts as any other, or the call would be made for ever.
            logger.exception("a webhook of task %s cannot be called", delivery.task.hex)
            problem = f"it cannot be called: {error!r}"
        if reply and reply.accepted:
            self._calls.inc(tags={"outcome": "delivered"})
            await loop.run_in_executor(self._threads, self._deliveries.delivered, delivery, reply.status)
            return
        status, retry_after = (reply.status, reply.retry_after) if reply else (None, None)
        pause = pause_after(delivery.attempt, self._settings, random.Random(), status, retry_after)
        self._calls.inc(tags={"outcome": "failed" if pause else "given up"})
        if pause is None:
            logger.warning(
                "webhook of task %s given up after %d attempts: %s",
                delivery.task.hex,
                delivery.attempt,
                problem,
            )
        await loop.run_in_executor(self._threads, self._deliveries.failed, delivery, status, problem, pause)

    async def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                if expired := await loop.run_in_executor(self._threads, self._expiry.expire):
                    logger.info("pictures of %d tasks deleted", expired)
            except Exception:
                logger.exception("pictures of tasks cannot be deleted")
            await asyncio.sleep(_EXPIRE_SECONDS * random.uniform(0.8, 1.2))
