"""How well the chains of the experiments mix: their moves beside the edits that were all they once had."""
