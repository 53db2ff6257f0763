"""Heads: what turns features into answers."""
