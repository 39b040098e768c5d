"""Putting one face in the place of another: geometry, colour, occlusion, blending."""
