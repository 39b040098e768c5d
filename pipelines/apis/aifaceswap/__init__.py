"""The aifaceswap API (base ``/api/aifaceswap/v1``)."""
