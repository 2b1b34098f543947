"""The questions that are asked of the store, one file a subject; their SQL is in ``sql``."""
