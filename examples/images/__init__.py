"""What the examples that start from images read and draw."""
