"""How `weights/liveness.onnx` was made: simulated attacks on openly licensed faces, and a small network."""
