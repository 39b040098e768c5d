"""Work that outlives the request in which it was begun."""

import contextvars

from ray.serve import context as serve_context


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
