"""Plain `keras.Model` objects: backbones, borders, frozen parts, classifiers. Never a data set."""
