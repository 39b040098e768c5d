"""From a photograph to a latent."""
