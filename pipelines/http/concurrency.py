"""How much this process may have under way of what must not pile up."""

import math

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.serving.calls import Overloaded


class Bound:
    """At most so many at once: ``with bound:`` raises `Overloaded` where one is too many. Of one event loop."""

    def __init__(self, most: float, what: str, retry_after: int = Overloaded.retry_after) -> None:
        """what: after their number, why one more is refused. retry_after: seconds after which there may be room."""
        self._most, self._what, self._retry_after = most, what, retry_after
        self._count = 0

    @classmethod
    def of(cls, resources: DeploymentSettings, what: str, retry_after: int) -> "Bound":
        """As many requests as a deployment takes; where any number may wait for it (-1), any number."""
        if resources.max_queued_requests < 0:
            return cls(math.inf, what, retry_after)
        most = resources.max_replicas * resources.max_ongoing_requests + resources.max_queued_requests
        return cls(most, what, retry_after)

    def __enter__(self) -> None:
        if self._count >= self._most:
            error = Overloaded(f"{self._count} {self._what}")
            error.retry_after = self._retry_after
            raise error
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
