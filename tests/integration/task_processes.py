"""A worker and a courier as processes of their own, to be killed: the records' side of both, without models or Ray.

python -m tests.integration.task_processes worker|courier HOME
"""

import asyncio
import random
import sys
import time
from datetime import timedelta
from pathlib import Path

from prosopon.configs.settings import FetchSettings, StateSettings, SwapSettings, WebhookSettings
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.deliveries import Delivery, DeliveryStore
from prosopon.deployments.state.jobs.task_types import TaskResult
from prosopon.deployments.state.jobs.tasks import TaskStore
from prosopon.deployments.web.client import WebClient, WebError
from prosopon.deployments.web.webhooks import headers
from prosopon.pipelines.apis.aifaceswap.wire import notification

SWAP = SwapSettings(lease_seconds=1, max_attempts=1000)
WEBHOOKS = WebhookSettings(seconds=0.2, concurrency=4)


def work(tasks: TaskStore) -> None:
    """Every third picture fails; a result names the attempt that made it."""
    while True:
        task = tasks.claim()
        if task is None:
            time.sleep(0.02)
            continue
        time.sleep(random.uniform(0, 0.1))
        picture = tasks.read(task.inputs[0])
        if int(picture) % 3 == 0:
            tasks.fail(task, "no face is found")
        else:
            tasks.succeed(task, TaskResult(Blob(picture + b" by %d" % task.attempt), ".png"))


async def deliver(store: DeliveryStore) -> None:
    async with WebClient(FetchSettings(allow=("127.0.0.1",))) as client:

        async def attempt(delivery: Delivery) -> None:
            signed = headers(store.secret(delivery.key), delivery.id, int(time.time()), delivery.body)
            try:
                reply = await client.post(delivery.url, delivery.body, signed)
            except WebError as error:
                store.failed(delivery, None, str(error), timedelta(seconds=0.1))
                return
            await asyncio.sleep(random.uniform(0, 0.1))  # It may be killed before it writes down what it did.
            if reply.accepted:
                store.delivered(delivery, reply.status)
            else:
                store.failed(delivery, reply.status, "refused", timedelta(seconds=0.1))

        while True:
            await asyncio.gather(*map(attempt, store.claim({}, {})))
            await asyncio.sleep(0.02)


def main() -> None:
    role, home = sys.argv[1], Path(sys.argv[2])
    state = StateSettings(home=home)
    records = Records(state.database)
    if role == "worker":
        work(TaskStore(records, BlobStore(records, state.blobs), SWAP, notice=notification))
    else:
        asyncio.run(deliver(DeliveryStore(records, WEBHOOKS)))


if __name__ == "__main__":
    main()
