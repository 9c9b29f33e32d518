"""The stores that come with the package."""
