"""Predictions in, numbers and pictures out."""
