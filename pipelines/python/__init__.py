"""The pipelines from Python, without HTTP."""
