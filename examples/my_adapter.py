"""An adapter of your own: any model that reads from left to right becomes an energy and a proposal.

Run this file to check it: python my_adapter.py. The model here is a table of word pairs; replace ``_logits`` by yours.
"""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerFast

from lm_adapters import SequenceEnergy, SuffixProposal, TextSpace
from lm_adapters.forward import Prefixes
from samplers import MetropolisHastings, sample
from samplers.testing import check_energy

WORDS = ["<end>", "<unknown>", "the", "a", "cat", "dog", "sleeps", "barks"]


class WordPairs:
    """``p(word | word before)``, proportional to ``exp(table[before, word])``; the end also stands before a text.

    It has what the protocol ``lm_adapters.Autoregressive`` asks for; the comments say what each is.
    """

    def __init__(self, tokenizer, table):
        self.space = TextSpace(tokenizer, len(table))  # encodes, decodes, and knows which tokens may be proposed
        self.table, self.allowed = table, self.space.proposable
        self.lm, self.eos_id = self, tokenizer.eos_token_id
        self.max_length, self.tokens_per_pass = 64, 4096  # of a text, and of all texts in one call of the model
        self.ragged = True  # extend takes prefixes of different lengths together

    def _logits(self, before):
        return self.table[before]  # [tokens] -> [tokens, vocabulary]

    def logits(self, x, wanted):
        # x is [rows, width], right-padded; wanted[r, j] asks for the law of token j of row r, given those before it.
        yield self._logits(pad(x, (1, 0), value=self.eos_id)[wanted])

    # What read keeps of a text, extend continues from: a transformer's keys and values, here the words themselves.
    def read(self, x, wanted):
        count = int(wanted.nonzero()[:, 1].max())
        kept = x[:, None, :count, None]
        return self.logits(x, wanted), Prefixes([(kept, kept)], torch.full_like(x[:, 0], count), 0)

    def extend(self, before, tokens, wanted):
        kept = torch.cat([before.layers[0][0], tokens[:, None, :, None]], dim=2)
        return iter([self._logits(tokens[wanted])]), before.extended([(kept, kept)], tokens.shape[1])


if __name__ == "__main__":
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unknown>")
    table = torch.randn(len(WORDS), len(WORDS), generator=torch.Generator().manual_seed(0))
    model = WordPairs(tokenizer, table)
    x = model.space.encode(["the cat sleeps", "a dog barks", "the dog", "a cat the"], width=6)
    print(check_energy(SequenceEnergy(model), x))
    kernel = MetropolisHastings(SuffixProposal(model, max_length=6))
    trace = sample(kernel, SequenceEnergy(model), x, steps=200, warmup=100)
    print(f"{trace.acceptance:.0%} accepted: {model.space.decode(trace.draws[:, -1])}")
