"""How `models/weights/mask.onnx` was made: rendered masks on openly licensed faces, and a small network."""
