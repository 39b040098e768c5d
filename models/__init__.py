"""Models without Ray: weights, sessions, pre- and post-processing, network definitions, calibration."""

import os

# ONNX Runtime's builds tell their maker of the machine, the process and each model, from the moment of the import on.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
