"""The parts of ``occlusion_benchmark.py``: what is compared, on what, how it is trained, scored."""
