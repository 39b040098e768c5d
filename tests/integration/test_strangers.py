"""A part of `make soak`'s requests: whatever strangers send, no server error and nothing that hangs."""

import pytest

from tests.benchmarks.serving import Server
from tests.soak.fuzz import LONGEST_SECONDS, fuzz

REQUESTS = 300


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_is_answered_with_a_server_error_or_not_at_all(server: Server) -> None:
    for found in fuzz(server, REQUESTS):
        print(f"{found.api}: {dict(found.statuses)}, the slowest {found.slowest:.1f} s")
        assert found.count >= 20
        assert found.faults == []
        assert found.slowest <= LONGEST_SECONDS
