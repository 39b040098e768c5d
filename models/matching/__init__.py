"""From embeddings to decisions: similarity, scores, identification."""
