"""What all deployments share: batching, calls, messages, scaling."""

from prosopon.deployments.serving.inside import keep_inside

keep_inside()  # Every replica imports this before it opens a port.
