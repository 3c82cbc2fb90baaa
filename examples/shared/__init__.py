"""What several examples share: inputs and training, files that are whole, photos, pictures."""
