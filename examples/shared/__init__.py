"""Code that several examples share: inputs, training, files and pictures."""
