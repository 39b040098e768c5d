"""How `models/weights/occlusion.onnx` was made: rendered things before openly licensed faces, and a small U-shaped network."""
