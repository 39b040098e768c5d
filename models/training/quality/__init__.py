"""How `models/weights/quality.onnx` was made: what spoiling a picture does to the embedding of its face."""
