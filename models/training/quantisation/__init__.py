"""What quantised networks are calibrated on."""
