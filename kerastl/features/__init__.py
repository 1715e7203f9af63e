"""The frozen part run once: features out of images, and the probe fitted on them."""
