"""What becomes of figures: tables, plots, and whether targets are reached."""
