"""Turns figures into tables and plots, and tells whether targets are reached."""
