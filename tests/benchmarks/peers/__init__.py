"""Other projects' servers beside ours, on the same weights, pictures and cores. Their code is brought by the reader."""
