"""Texts that are, or hold, one of a list of phrases of any size: the list as a trie, its laws and its moves."""
