"""What all deployments share: batching, calls, messages, scaling."""
