"""Phases: a model and batches in, a trained model and its history out."""
