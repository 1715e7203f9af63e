"""Labels in words instead of training: networks with a tower for images and one for texts."""
