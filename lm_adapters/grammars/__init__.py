"""Texts that match a pattern, a grammar or a JSON schema: as a constraint, and as what may be written next."""
