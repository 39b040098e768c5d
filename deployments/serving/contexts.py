"""What belongs to a request while it is served, and work that outlives it."""

import contextvars
from collections.abc import Callable

from ray.serve import context as serve_context

looked_at: contextvars.ContextVar[Callable[[], None]] = contextvars.ContextVar(
    "looked_at", default=lambda: None
)
"""To be called for each picture that a request brings; the ingress counts them for the request's key."""


def context_apart() -> contextvars.Context:
    """A context for a task of its own: Serve cancels the calls of a request whose client has gone.

    It shares nothing with the request's but its id, which the logs of every replica name.
    """
    request = serve_context._get_serve_request_context()
    context = contextvars.Context()
    context.run(
        serve_context._serve_request_context.set,
        serve_context._RequestContext(request_id=request.request_id),
    )
    return context
