"""Measuring models: sets of pictures with labels, what they look like degraded, and rates of errors."""
