"""The ways of other packages, followed where an application uses them."""
