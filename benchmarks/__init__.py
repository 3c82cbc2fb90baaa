"""What the library costs in time and memory, against the alternatives."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch: its profiler reports each start
