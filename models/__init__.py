"""Models without Ray: weights, sessions, pre- and post-processing, network definitions, calibration."""
