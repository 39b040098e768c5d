"""The pipelines: detect, embed, match; latent, generate, encode; detect, swap; search. No word of an API."""
