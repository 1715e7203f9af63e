"""What a classifier looks at: layer by layer, and in the images that it answers."""
