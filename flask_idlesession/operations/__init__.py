"""What an operator is told: events, health, and what is wrong with a deployment."""
