"""The parts of ``occlusion_benchmark.py``: methods, inputs, settings, training and results."""
