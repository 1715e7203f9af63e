"""Images and labels: sources, decoding, splits, augmentation, batches. Never a model."""
