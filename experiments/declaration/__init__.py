"""What an experiment declares: arguments, the options made of them, and what packages and files bring along."""
