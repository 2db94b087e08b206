"""From documents to token streams: corpora, tokenizer, preparation, windows."""

import hashlib
import http.server
import json
import lzma
import re
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat_core import corpora, data, prepare, tokenizer
from nanochat_core.errors import Failure

PAGES = [
    "Once upon a time there was a tokenizer. ",
    "Es war einmal ein Wörterbuch. ",
    "从前有一座山。",
    "🎭 enter Hamlet 🦊. ",
]


def quiet(words):
    pass


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.store(tokenizer.train([page * 20 for page in PAGES], 400), path)
    return tokenizer.load(path)


# -- tokenizer ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(text=st.text())
def test_token_bytes_add_up_to_the_text(encoding, text):
    """The lengths of a text's tokens are the length of the text, in any script."""
    lengths = tokenizer.token_bytes(encoding)
    text = text.encode("utf-8", "replace").decode()

    assert lengths[encoding.encode_ordinary(text)].sum() == len(text.encode())


@pytest.mark.parametrize("text", ["🦊🎭👩🏽‍🚀", "山不在高，有仙则名。", "broken \ufffd\ufffd here", "Straße"])
def test_token_bytes_of_difficult_texts(encoding, text):
    """A token that is a third of a character counts one byte, not the three of U+FFFD."""
    tokens = encoding.encode_ordinary(text)

    assert tokenizer.token_bytes(encoding)[tokens].sum() == len(text.encode())


def test_special_tokens_have_no_bytes(encoding):
    """BOS is no text, and its name inside a text is not BOS."""
    bos = encoding.encode_single_token(tokenizer.BOS)

    assert tokenizer.token_bytes(encoding)[bos] == 0
    assert bos == encoding.n_vocab - 1
    assert bos not in encoding.encode_ordinary(f"a {tokenizer.BOS} b")


def test_training_a_tokenizer_twice_gives_the_same(encoding, tmp_path):
    """The tokenizer is a function of the text."""
    tokenizer.store(tokenizer.train([page * 20 for page in PAGES], 400), tmp_path / "again.json")

    assert tokenizer.load(tmp_path / "again.json")._mergeable_ranks == encoding._mergeable_ranks


# -- embedded corpus ---------------------------------------------------------------------------------------------------


def test_the_embedded_corpus_is_split_by_work():
    """34, 4 and 4 works, no text in two splits."""
    corpus = corpora.Embedded()
    works = {split: list(corpus.documents(split)) for split in corpora.SPLITS}

    assert [len(works[split]) for split in corpora.SPLITS] == [34, 4, 4]
    assert sum(len(text.encode()) for text in works["train"]) == 4_056_903
    assert len({text for texts in works.values() for text in texts}) == 42


def test_a_damaged_corpus_is_noticed(tmp_path, monkeypatch):
    """The decompressed bytes have a known sha256."""
    path = tmp_path / "works.jsonl.xz"
    raw = lzma.decompress(corpora.EMBEDDED.read_bytes())
    path.write_bytes(lzma.compress(raw.replace(b"Hamlet", b"Omelet", 1), preset=0))
    monkeypatch.setattr(corpora, "EMBEDDED", path)
    with pytest.raises(Failure, match="damaged"):
        list(corpora.Embedded().documents("val"))


def test_prepared_bytes_are_the_texts_bytes(prepared):
    """Summed over a split, token lengths give the bytes of its documents; every document has its BOS."""
    lengths, bos = prepared.token_bytes(), prepared.meta["vocab_size"] - 1
    for split in corpora.SPLITS:
        stream, facts = np.asarray(prepared.stream(split)), prepared.meta["splits"][split]

        assert lengths[stream].sum(dtype=np.int64) == facts["bytes"]
        assert (stream == bos).sum() == facts["documents"]
        assert stream[0] == bos


# -- windows -----------------------------------------------------------------------------------------------------------


def test_training_windows_cover_the_stream_once_an_epoch():
    """Each epoch is a permutation of all windows; targets are inputs moved by one."""
    order = data.Shuffled(np.arange(1001, dtype=np.uint16), 10, seed=1, data_sha256="ab" * 32)
    rows = np.concatenate([order.take(7) for _ in range(100)])
    first, second = rows[:100], rows[100:200]

    assert rows.shape == (700, 11)
    assert (np.diff(rows, axis=1) == 1).all()
    assert sorted(first[:, 0]) == sorted(second[:, 0]) == list(range(0, 1000, 10))
    assert list(first[:, 0]) != list(second[:, 0])


def test_the_order_follows_from_seed_and_data():
    """The same seed gives the same windows, another seed or other data others."""

    def order(seed, sha256):
        return data.Shuffled(np.arange(1001, dtype=np.uint16), 10, seed, sha256).take(20).tolist()

    assert order(1, "ab" * 32) == order(1, "ab" * 32)
    assert order(1, "ab" * 32) != order(2, "ab" * 32)
    assert order(1, "ab" * 32) != order(1, "cd" * 32)


def test_scoring_windows_are_spread_evenly():
    """They never overlap, reach from the first to near the last, and are all there are if asked for more."""
    stream = np.arange(1001, dtype=np.uint16)
    starts = data.scoring_windows(stream, 10, 250)[:, 0]

    assert list(starts) == list(range(0, 1000, 40))
    assert len(data.scoring_windows(stream, 10, 10**9)) == 100


def test_too_short_a_text_is_an_error():
    """Less than one window cannot be trained on or scored."""
    for function in (
        lambda: data.Shuffled(np.zeros(10, np.uint16), 10, 0, "00" * 32),
        lambda: data.scoring_windows(np.zeros(10, np.uint16), 10, 100),
    ):
        with pytest.raises(Failure, match="less than one window"):
            function()


# -- preparation -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder with a book, JSON lines and a table, some of it not UTF-8."""
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "book.txt").write_text("\n\n".join(f"Chapter {i}. " + PAGES[i % 4] * 30 for i in range(200)), "utf-8")
    (folder / "broken.txt").write_bytes("caf\ufffd ".encode() + b"caf\xe9 and \xff\xfe" + b" fine" * 50)
    lines = [json.dumps({"text": f"line {i} " * 50}) for i in range(40)] + ['{"text": "half \\ud83d a fox"}', ""]
    (folder / "deep" / "lines.jsonl").write_text("\n".join(lines), "utf-8")
    pq.write_table(pa.table({"text": [f"row {i} " * 50 for i in range(40)] + [None]}), folder / "table.parquet")
    return folder


def test_a_folder_is_split_by_document(folder):
    """Every document lands in one split, by its content; a long text is cut at blank lines."""
    corpus = corpora.open_corpus(f"folder:{folder}", folder)
    splits = {split: list(corpus.documents(split)) for split in corpora.SPLITS}
    texts = [text for documents in splits.values() for text in documents]

    assert all(len(documents) > 0 for documents in splits.values())
    assert len(splits["train"]) > 5 * len(splits["val"])
    assert len(set(texts)) == len(texts) > 90
    assert sum(text.count("Chapter") for text in texts) == 200
    again = corpora.open_corpus(f"folder:{folder}", folder)
    assert again.identity == corpus.identity
    assert list(again.documents("val")) == splits["val"]


def test_broken_text_is_replaced_counted_and_reported(folder, tmp_path):
    """Three places in a file, half a surrogate in JSON: four; a U+FFFD that was there is not one of them."""
    words = []
    made = prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=words.append)

    assert made.meta["broken_utf8"] == 4
    assert "4 places were not UTF-8 and became U+FFFD" in words
    for split in corpora.SPLITS:
        lengths = made.token_bytes()[np.asarray(made.stream(split))]
        assert lengths.sum(dtype=np.int64) == made.meta["splits"][split]["bytes"]


def test_a_changed_folder_is_prepared_anew(folder, tmp_path):
    """What is prepared belongs to the bytes, not to the name."""
    first = prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=quiet)
    (folder / "more.txt").write_text("One more document. " * 50, "utf-8")
    second = prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=quiet)

    assert first.home != second.home
    assert prepare.open_prepared(f"folder:{folder}", 300, tmp_path / "data").home == second.home


def test_three_documents_are_enough(tmp_path):
    """A split that the hash leaves empty gets a document; two documents cannot make three splits."""
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(f"document {i}", "utf-8")
    corpus = corpora.open_corpus(f"folder:{tmp_path}", tmp_path)

    assert [len(list(corpus.documents(split))) for split in corpora.SPLITS] == [1, 1, 1]
    (tmp_path / "2.txt").unlink()
    with pytest.raises(Failure, match="2 different documents"):
        list(corpora.open_corpus(f"folder:{tmp_path}", tmp_path).documents("train"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("folder:/nowhere/at/all", "no such folder"),
        ("wikipedia", "choose embedded, climbmix, tinystories or folder:PATH"),
        ("climbmix:many", "a number of shards"),
        ("folder:", "Unknown data set"),
    ],
)
def test_a_data_set_that_does_not_exist(option, message, tmp_path):
    """The error says what may be asked for."""
    with pytest.raises(Failure, match=message):
        corpora.open_corpus(option, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": 3}\n', "a.jsonl, line 1 is not a JSON object with a string"),
        ("a.jsonl", b"[1]\n", "a.jsonl, line 1"),
        ("a.parquet", b"PAR1 not really", "cannot be read"),
        ("a.md", b"text", "holds no .txt"),
    ],
)
def test_files_that_cannot_be_read(name, content, message, tmp_path):
    """The error names file and line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Failure, match=message):
        list(corpora.open_corpus(f"folder:{tmp_path}", tmp_path).documents("train"))


def test_preparing_twice_at_once_prepares_once(folder, tmp_path):
    """The second one waits, then finds everything there."""
    words = []
    threads = [
        threading.Thread(target=prepare.prepare, args=(f"folder:{folder}", 300, tmp_path / "data", 1, words.append))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum("training a tokenizer" in line for line in words) == 1


def test_damaged_preparation_is_repaired(folder, tmp_path):
    """A flipped bit in a stream is noticed by describe, and prepared again."""
    made = prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=quiet)
    stream = bytearray((made.home / "train.bin").read_bytes())
    stream[100] ^= 1
    (made.home / "train.bin").write_bytes(stream)
    words = []
    again = prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=words.append)

    assert "is damaged; preparing it again" in words[0]
    assert data.digest(again.home / "train.bin") == again.meta["splits"]["train"]["sha256"]


def test_an_interrupted_preparation_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    """What a killed process left is cleared away; nothing half done is ever opened."""
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_stream", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=quiet)
    with pytest.raises(Failure, match="run the describe phase first"):
        prepare.open_prepared(f"folder:{folder}", 300, tmp_path / "data")
    prepare.prepare(f"folder:{folder}", 300, tmp_path / "data", say=quiet)

    assert not list((tmp_path / "data").glob("*.partial"))


# -- hub ---------------------------------------------------------------------------------------------------------------

REVISION = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(http.server.BaseHTTPRequestHandler):
    """As much of huggingface.co as a download needs. `server.damage` may change what is sent."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        found = re.fullmatch(rf"/datasets/me/stories/resolve/{REVISION}/(.+)", self.path)
        content = self.server.files.get(found[1]) if found else None
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if body:
            self.server.requests.append((found[1], start))
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            sent = content[start:]
            self.wfile.write(self.server.damage(sent) if self.server.damage else sent)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on the loopback with one data set of three parquet files."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.files, server.requests, server.damage = {}, [], None
    names = {split: f"data/{split}.parquet" for split in corpora.SPLITS}
    for split, name in names.items():
        path = tmp_path / "source.parquet"
        pq.write_table(pa.table({"text": [f"{split} story {i}. " + PAGES[i % 4] * 20 for i in range(60)]}), path)
        server.files[name] = path.read_bytes()
    stories = replace(
        corpora.HUB["tinystories"], repo="me/stories", revision=REVISION, train=(names["train"],),
        val=(names["val"],), test=(names["test"],),
    )  # fmt: skip
    monkeypatch.setitem(corpora.HUB, "tinystories", stories)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(hub):
    return [name for name, _ in hub.requests]


def test_a_data_set_of_the_hub_is_downloaded_once(hub, tmp_path):
    """Three files at a pinned revision, their sha256 written down, and nothing asked for a second time."""
    made = prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)
    manifest = json.loads((tmp_path / "data/downloads/me--stories/manifest.json").read_text("utf-8"))
    prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)
    prepare.prepare("tinystories", 280, tmp_path / "data", say=quiet)  # another vocabulary, the same files

    assert made.meta["splits"]["train"]["documents"] == 60
    assert sorted(names(hub)) == sorted(hub.files)
    for name, content in hub.files.items():
        assert manifest[name] == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("harm", ["truncated", "flipped"])
def test_a_damaged_file_on_disk_is_downloaded_again(hub, tmp_path, harm):
    """A file that is not what was first downloaded is noticed before it is used."""
    prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)
    path = tmp_path / "data/downloads/me--stories/data/train.parquet"
    good = path.read_bytes()
    path.write_bytes(good[:-10] if harm == "truncated" else good[:50] + bytes([good[50] ^ 1]) + good[51:])
    words = []
    prepare.prepare("tinystories", 280, tmp_path / "data", say=words.append)

    assert any("damaged on disk" in line for line in words)
    assert path.read_bytes() == good
    assert names(hub).count("data/train.parquet") == 2


def test_a_download_that_arrives_damaged_is_repeated(hub, tmp_path):
    """The hub says what the sha256 should be: one flipped bit on the way, and the file comes again."""
    harmed = []

    def damage(content):
        if harmed:
            return content
        harmed.append(True)
        return content[:20] + bytes([content[20] ^ 1]) + content[21:]

    hub.damage = damage
    words = []
    made = prepare.prepare("tinystories", 300, tmp_path / "data", say=words.append)

    assert any("arrived damaged (attempt 1)" in line for line in words)
    assert made.meta["splits"]["val"]["documents"] == 60


def test_a_broken_download_is_resumed(hub, tmp_path, monkeypatch):
    """What arrived before the connection broke is kept, and a later process asks for the rest alone."""
    import huggingface_hub.file_download

    name, get = "data/train.parquet", huggingface_hub.file_download.http_get

    def cut(url, file, **options):
        file.write(hub.files[name][:400])
        raise ConnectionError("the line went dead")

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", cut)
    with pytest.raises(Failure, match=r"the line went dead.*What is there is kept; run again to resume"):
        prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)
    monkeypatch.setattr(huggingface_hub.file_download, "http_get", get)
    prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)

    assert (name, 400) in hub.requests
    assert not list((tmp_path / "data/downloads/me--stories/incomplete").iterdir())


def test_without_the_hub_the_error_says_what_to_do(hub, tmp_path, monkeypatch):
    """No connection is one line, and it names the ways that need none."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Failure, match="use --dataset embedded or folder:PATH") as caught:
        prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)

    assert caught.value.outcome == "env"
    assert "\n" not in caught.value.message


def test_other_bytes_than_the_first_time_are_refused(hub, tmp_path):
    """A pinned revision does not change; if it does, nobody trains on it unasked."""
    prepare.prepare("tinystories", 300, tmp_path / "data", say=quiet)
    (tmp_path / "data/downloads/me--stories/data/val.parquet").unlink()
    hub.files["data/val.parquet"] = hub.files["data/test.parquet"]
    with pytest.raises(Failure, match="other bytes than the first time"):
        prepare.prepare("tinystories", 280, tmp_path / "data", say=quiet)


def test_revisions_are_pinned_to_commits():
    """No data set of the hub follows a branch, and no file serves two splits."""
    for stories in corpora.HUB.values():
        assert re.fullmatch("[0-9a-f]{40}", stories.revision)
        files = [*stories.train, *stories.val, *stories.test]
        assert len(set(files)) == len(files)
