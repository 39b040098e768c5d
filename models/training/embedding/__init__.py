"""How `models/weights/face_embedding.onnx` is made: a small network that learns what two larger ones agree on."""
