"""The parts of ``train.py``: settings, hands, what each step trains, the loop, the run folder."""
