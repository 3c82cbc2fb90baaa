"""Benchmarks of time and memory against other implementations."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch: its profiler logs each start
