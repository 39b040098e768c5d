"""What outlives its request keeps the request's id and nothing else."""

import contextvars

from ray.serve import context as serve_context

from prosopon.deployments.serving.contexts import context_apart

SEEN = contextvars.ContextVar("SEEN", default="nothing")


def test_work_apart_is_logged_with_the_request_and_not_cancelled_with_it() -> None:
    def inside_a_request() -> contextvars.Context:
        SEEN.set("the request's")
        request = serve_context._RequestContext(request_id="abc", _internal_request_id="def")
        serve_context._serve_request_context.set(request)
        return context_apart()

    apart = contextvars.Context().run(inside_a_request)
    found = apart.run(serve_context._get_serve_request_context)
    assert (found.request_id, found._internal_request_id) == ("abc", "")
    assert apart.run(SEEN.get) == "nothing"


def test_work_apart_can_be_begun_outside_of_requests() -> None:
    apart = contextvars.Context().run(context_apart)
    assert apart.run(serve_context._get_serve_request_context).request_id == ""
