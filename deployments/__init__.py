"""Ray Serve deployments: each file holds one class that owns a model or a store."""
