"""Models of faces: detectors, embedders, attributes, landmarks, pose."""
