"""How `models/weights/occlusion.onnx` was made: things rendered before openly licensed faces, and a small U-Net."""
