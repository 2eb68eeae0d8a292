"""What an experiment returns: runs of draws, searches and chains, shown in a terminal, as JSON or HTML."""
