"""Models with a hidden variable: texts whose density is an integral, known by estimates only."""
