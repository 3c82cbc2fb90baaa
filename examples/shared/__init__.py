"""Code that several examples share: inputs, training, files, photos and pictures."""
