"""Bytes to pixels of one size: the same in eager code, data sets, SavedModels and with Pillow."""
