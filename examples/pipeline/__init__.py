"""The parts of ``train.py``: settings, hands, training steps, the loop, the run folder."""
