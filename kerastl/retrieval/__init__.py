"""An index of images that is asked for what is alike: its files, its making, what it measures."""
