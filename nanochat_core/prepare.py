"""Prepare a data set: documents -> tokenizer -> one stream of tokens per split, written once for all trials."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from nanochat_core import corpora, tokenizer
from nanochat_core.data import Prepared, digest
from nanochat_core.errors import Failure

FORMAT = 1  # of the prepared directory


def prepare(dataset, vocab_size, data_dir, threads=1, say=print):
    """Return the prepared data, preparing it first if need be. Two processes at once prepare once."""
    data_dir = Path(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    with locked(data_dir / "lock", say):
        corpus = corpora.open_corpus(dataset, data_dir, say)
        home = data_dir / f"{corpus.name}-{vocab_size}-{corpus.identity[:12]}-v{FORMAT}"
        if home.exists() and not intact(home):
            say(f"{home.name} is damaged; preparing it again")
            shutil.rmtree(home)
        if not home.exists():
            build(corpus, vocab_size, home, threads, say)
        pointer = pointer_path(dataset, vocab_size, data_dir)
        partial = pointer.with_suffix(".tmp")
        partial.write_text(json.dumps({"dataset": dataset, "home": home.name}), encoding="utf-8")
        partial.replace(pointer)
    return Prepared(home)


def open_prepared(dataset, vocab_size, data_dir):
    """Return data that was prepared before: what a trial does, which writes nothing here."""
    try:
        pointer = json.loads(pointer_path(dataset, vocab_size, data_dir).read_text(encoding="utf-8"))
        return Prepared(Path(data_dir) / pointer["home"])
    except FileNotFoundError:
        raise Failure("env", f"{dataset} is not prepared in {data_dir}; run the describe phase first.") from None


def pointer_path(dataset, vocab_size, data_dir):
    if dataset.startswith("folder:"):  # the same folder from wherever it is named
        dataset = f"folder:{Path(dataset.removeprefix('folder:')).resolve()}"
    name = hashlib.sha256(f"{dataset}\0{vocab_size}\0{FORMAT}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(data_dir) / f"prepared-{name}.json"


def build(corpus, vocab_size, home, threads, say):
    # rustbpe takes every core it finds; a neighbour may be measuring
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    partial = home.with_name(home.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)  # left by a process that was killed; we hold the lock
    partial.mkdir()
    say(f"training a tokenizer of {vocab_size} tokens on {corpus.words}")
    tokenizer.store(tokenizer.train(corpus.documents("train"), vocab_size), partial / "tokenizer.json")
    encoding = tokenizer.load(partial / "tokenizer.json")
    lengths = tokenizer.token_bytes(encoding)
    np.save(partial / "token_bytes.npy", lengths)
    splits, broken = {}, 0
    for split in corpora.SPLITS:
        say(f"encoding {split}")
        corpus.broken = 0
        splits[split] = write_stream(corpus.documents(split), encoding, lengths, partial / f"{split}.bin", threads)
        broken = max(broken, corpus.broken) if isinstance(corpus, corpora.Folder) else broken + corpus.broken
    if broken:
        say(f"{broken} places were not UTF-8 and became U+FFFD")
    meta = {
        "format": FORMAT, "corpus": corpus.name, "words": corpus.words, "identity": corpus.identity,
        "vocab_size": encoding.n_vocab, "broken_utf8": broken, "splits": splits,
        "tokenizer_sha256": digest(partial / "tokenizer.json"),
        "corpus_sha256": hashlib.sha256("".join(splits[s]["text_sha256"] for s in corpora.SPLITS).encode()).hexdigest(),
    }  # fmt: skip
    (partial / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    partial.rename(home)


def write_stream(documents, encoding, lengths, path, threads):
    """Append BOS and tokens of every document to `path`; return what there is to know about it."""
    bos = encoding.encode_single_token(tokenizer.BOS)
    facts = {"documents": 0, "tokens": 0, "bytes": 0}
    text_hash, token_hash = hashlib.sha256(), hashlib.sha256()
    with open(path, "wb") as file:
        for batch in batched(documents, characters=4_000_000):
            rows = encoding.encode_ordinary_batch(batch, num_threads=max(1, threads))
            tokens = np.concatenate([np.array([bos, *row], dtype=np.uint16) for row in rows])
            file.write(tokens.tobytes())
            token_hash.update(tokens)
            for text in batch:
                raw = text.encode("utf-8")
                text_hash.update(len(raw).to_bytes(8, "big") + raw)
                facts["bytes"] += len(raw)
            facts["documents"] += len(batch)
            facts["tokens"] += len(tokens)
    return {**facts, "sha256": token_hash.hexdigest(), "text_sha256": text_hash.hexdigest()}


def batched(documents, characters):
    batch, size = [], 0
    for text in documents:
        batch.append(text)
        size += len(text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def intact(home):
    """Whether the streams and the tokenizer are still the bytes that were written."""
    try:
        meta = Prepared(home).meta
        streams = all(digest(home / f"{split}.bin") == meta["splits"][split]["sha256"] for split in corpora.SPLITS)
        return streams and digest(home / "tokenizer.json") == meta["tokenizer_sha256"]
    except (OSError, ValueError, KeyError):
        return False


@contextlib.contextmanager
def locked(path, say):
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that is preparing data")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
