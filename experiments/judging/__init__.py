"""Texts judged by what shares nothing with the models that drew them."""
