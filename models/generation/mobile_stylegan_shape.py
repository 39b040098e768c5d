"""What MobileStyleGAN's synthesis network takes and makes (Belousov 2021, arXiv:2104.04767)."""

W_DIM = 512
LEVELS = 7
STYLES = 3 * LEVELS + 2
"""Styles of one picture, coarse to fine: the first convolution, three for each level, and that to colours."""
RESOLUTION = 1024
LAYER_RESOLUTIONS = (4, *(8 << level for level in range(LEVELS) for _ in range(3)), RESOLUTION)
"""For each style, the side of the feature map that it shapes, in pixels."""
