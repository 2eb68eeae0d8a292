"""How the embedded models are made. Nothing here is needed to use them."""
