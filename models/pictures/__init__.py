"""Pictures in and out: decoding within bounds, crops, letterbox, thumbnails, encodings."""
