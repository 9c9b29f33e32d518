"""Tells an operator of events, of health, and of faults in a deployment."""
