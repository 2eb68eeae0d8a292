"""What the packages bring along, listed from their source: nothing of it is imported."""
