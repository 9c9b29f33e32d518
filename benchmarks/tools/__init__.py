"""Comparisons with other trees, and other ways to count."""
