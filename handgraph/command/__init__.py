"""What ``python -m handgraph`` does."""
