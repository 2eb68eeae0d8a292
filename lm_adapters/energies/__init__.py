"""Energies of text: model scores, similarity, constraints, functions of texts."""
