"""What is made of finished runs for others: a report, and weights for other programs."""
