"""State without Ray: records (SQL), blobs (fsspec), vectors (Milvus) and what keeps them in agreement."""
