"""Scaling by what is on record instead of by requests. Serve's controller imports this: it needs no model."""

import math
from typing import Any

from ray.serve.config import AutoscalingContext


def by_backlog(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaling policy for those who take their work from the records.

    Replicas report all open work as `backlog`; there are as many as it asks for at `target_ongoing_requests` each.
    """
    reported = (context.aggregated_metrics or {}).get("backlog", {})
    backlog = max(reported.values(), default=0.0)
    wanted = math.ceil(backlog / context.config.target_ongoing_requests)
    low, high = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(low, min(high, wanted)), {}
