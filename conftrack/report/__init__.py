"""The monthly summary: figures that can be signed, kept as they were signed, and put on paper."""
