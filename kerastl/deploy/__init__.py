"""Models in, files that answer like the model out."""
