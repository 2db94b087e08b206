"""Byte-pair encoding: trained by rustbpe, run by tiktoken, stored as JSON."""

import base64
import json
from pathlib import Path

import numpy as np

# GPT-4's pattern with numbers in pairs of digits, as autoresearch has it: a small vocabulary cannot spare more.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
BOS = "<|bos|>"  # begins every document
MAX_TRAINING_CHARACTERS = 500_000_000


def train(documents, vocab_size):
    """Learn `vocab_size` tokens (BOS included, fewer if the text runs out of pairs) and return what `store` writes."""
    import rustbpe

    def capped():
        characters = 0
        for text in documents:
            yield text
            characters += len(text)
            if characters >= MAX_TRAINING_CHARACTERS:
                return

    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(capped(), vocab_size - 1, pattern=PATTERN)
    ranks = sorted((rank, bytes(token)) for token, rank in trainer.get_mergeable_ranks())
    assert [rank for rank, _ in ranks] == list(range(len(ranks)))
    return {"pattern": PATTERN, "tokens": [base64.b64encode(token).decode() for _, token in ranks], "special": [BOS]}


def store(trained, path):
    Path(path).write_text(json.dumps(trained, indent=0), encoding="utf-8")


def load(path):
    """Return the tiktoken Encoding that `store` wrote."""
    import tiktoken

    trained = json.loads(Path(path).read_text(encoding="utf-8"))
    ranks = {base64.b64decode(token): rank for rank, token in enumerate(trained["tokens"])}
    special = {name: len(ranks) + i for i, name in enumerate(trained["special"])}
    return tiktoken.Encoding("nanochat_core", pat_str=trained["pattern"], mergeable_ranks=ranks, special_tokens=special)


def token_bytes(encoding):
    """Bytes of text that each token stands for, (V,); 0 for special tokens, which are no text.

    From the raw bytes: decoding a token that is part of a character gives U+FFFD, three bytes that nobody wrote.
    """
    lengths = np.zeros(encoding.n_vocab, dtype=np.uint16)
    special = {encoding.encode_single_token(name) for name in encoding.special_tokens_set}
    for token in range(encoding.n_vocab):
        if token not in special:
            lengths[token] = len(encoding.decode_single_token_bytes(token))
    return lengths
