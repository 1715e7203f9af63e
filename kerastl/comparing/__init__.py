"""Backbones compared on one's own images: candidates, measurement, verdict, page."""
