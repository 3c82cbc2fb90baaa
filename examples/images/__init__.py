"""What the example of the heatmap generator reads and draws."""
