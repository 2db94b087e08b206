"""Where documents come from: the embedded corpus, two data sets of the hub, or a folder of the user's own.

--dataset embedded            34 + 4 + 4 works of Shakespeare, in the package: no network
--dataset climbmix[:SHARDS]   karpathy/climbmix-400b-shuffle, autoresearch's own; 10 shards (0.9 GB) unless said
--dataset tinystories[:SHARDS]  roneneldan/TinyStories; 1 shard (0.25 GB) unless said
--dataset folder:PATH         .txt, .jsonl (key "text") and .parquet (column "text"), also in subfolders
"""

import hashlib
import json
import lzma
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nanochat_core.data import digest
from nanochat_core.errors import Failure

SPLITS = ("train", "val", "test")
EMBEDDED = Path(__file__).parent / "corpus" / "works.jsonl.xz"
EMBEDDED_SHA256 = "13c88265d134649267a761772b3a87608342a0e858840d4c267e371d0fc56a79"  # decompressed


def open_corpus(option, data_dir, say=print):
    """Return the corpus that `--dataset option` names; downloads what is missing."""
    name, _, argument = option.partition(":")
    if name == "embedded" and not argument:
        return Embedded()
    if name in HUB:
        if argument and not (argument.isdecimal() and int(argument) > 0):
            raise Failure("env", f"--dataset {option}: after the colon comes a number of shards, as in {name}:2.")
        return Hub(HUB[name], int(argument or 0), Path(data_dir) / "downloads", say)
    if name == "folder" and argument:
        return Folder(Path(argument))
    raise Failure("env", f"Unknown data set {option!r}; choose embedded, {', '.join(HUB)} or folder:PATH.")


class Embedded:
    """The works of Shakespeare that come with the package, split by work."""

    name = "embedded"
    identity = EMBEDDED_SHA256
    words = "Shakespeare, public domain"

    def __init__(self):
        self.broken, self.works = 0, None

    def documents(self, split):
        self.works = self.works or self.read()
        return (work["text"] for work in self.works if work["split"] == split)

    def read(self):
        try:
            raw = lzma.decompress(EMBEDDED.read_bytes())
        except (OSError, lzma.LZMAError) as error:
            raise Failure("env", f"The embedded corpus is damaged ({error}); install the package again.") from None
        found = hashlib.sha256(raw).hexdigest()
        if found != EMBEDDED_SHA256:
            raise Failure("env", f"The embedded corpus is damaged (sha256 {found[:12]}); install the package again.")
        return [json.loads(line) for line in raw.splitlines()]


# ----------------------------------------------------------------------------------------------------------------------
# Reading files


class Files:
    """Documents from files. Text that is not UTF-8 becomes U+FFFD, and is counted in `broken`."""

    def __init__(self):
        self.broken = 0

    def decode(self, raw):
        text = raw.decode("utf-8", errors="replace")
        if "\ufffd" in text:
            self.broken += text.count("\ufffd") - raw.count(b"\xef\xbf\xbd")  # less those that were meant
        return text

    def read(self, path):
        """Yield the documents of one file."""
        if path.suffix == ".txt":
            yield from pieces(self.decode(path.read_bytes()))
        elif path.suffix == ".jsonl":
            with open(path, "rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield self.from_json(line, f"{path.name}, line {number}")
        else:
            yield from self.from_parquet(path)

    def from_json(self, line, where):
        try:
            text = json.loads(self.decode(line))["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise Failure("env", f'{where} is not a JSON object with a string under "text".')
        text, lone = re.subn("[\ud800-\udfff]", "\ufffd", text)  # half a surrogate pair, legal in JSON, in no text
        self.broken += lone
        return text

    def from_parquet(self, path):
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise Failure("env", f"{path.name} needs pyarrow: pip install pyarrow.") from None
        try:
            with pq.ParquetFile(path) as file:
                if "text" not in file.schema_arrow.names:
                    names = ", ".join(file.schema_arrow.names)
                    raise Failure("env", f'{path.name} has no column "text", only {names}.')
                for batch in file.iter_batches(batch_size=1024, columns=["text"]):
                    for raw in batch.column(0).cast(pa.binary()).to_pylist():
                        if raw is not None:
                            yield self.decode(raw)
        except (pa.ArrowException, OSError) as error:
            raise Failure("env", f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def pieces(text, longest=16_384):
    """Cut a long text at blank lines into documents of about `longest` characters, so that one book can be split."""
    if len(text) <= 4 * longest:
        yield text
        return
    piece, size = [], 0
    for paragraph in re.split(r"(?<=\n\n)", text):
        piece.append(paragraph)
        size += len(paragraph)
        if size >= longest:
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)


# ----------------------------------------------------------------------------------------------------------------------
# A folder


class Folder(Files):
    """The user's own texts. A document's split follows from its content: a tenth goes to val and test."""

    def __init__(self, folder):
        super().__init__()
        if not folder.is_dir():
            raise Failure("env", f"--dataset folder:{folder}: there is no such folder.")
        self.folder = folder
        self.files = sorted(p for p in folder.rglob("*") if p.suffix in (".txt", ".jsonl", ".parquet") and p.is_file())
        if not self.files:
            raise Failure("env", f"{folder} holds no .txt, .jsonl or .parquet file.")
        self.name = "folder-" + (re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-")[:24] or "root")
        listing = "".join(f"{path.relative_to(folder)}\0{digest(path)}\n" for path in self.files)
        self.identity = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
        self.words = f"{len(self.files)} files of {folder}"
        self._forced = None

    def every(self):
        for path in self.files:
            for text in self.read(path):
                if text:
                    yield text

    def documents(self, split):
        if self._forced is None:
            self._forced = self.force()
        self.broken = 0  # each pass reads everything; count once
        for text in self.every():
            if self.split_of(text) == split:
                yield text

    def split_of(self, text):
        number = fingerprint(text)
        return self._forced.get(number) or ("val", "test", *["train"] * 18)[number % 20]

    def force(self):
        """A handful of documents may leave a split empty: give it the documents with the smallest numbers."""
        numbers = {fingerprint(text) for text in self.every()}
        if len(numbers) < 3:
            raise Failure("env", f"{self.folder} holds {len(numbers)} different documents; each split needs one.")
        smallest = sorted(numbers)
        forced = {}
        for i, split in enumerate(("val", "test")):
            if not any(n % 20 == i for n in numbers if n not in forced):
                number = next(n for n in smallest if n not in forced and n % 20 > 1)
                forced[number] = split
        if all(n % 20 < 2 for n in numbers if n not in forced):
            forced[smallest[-1]] = "train"
        return forced


def fingerprint(text):
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")


# ----------------------------------------------------------------------------------------------------------------------
# The hub


@dataclass(frozen=True)
class HubSet:
    name: str
    repo: str
    revision: str  # a commit: the same bytes for everybody, for ever
    train: tuple
    val: tuple
    test: tuple
    shards: int  # training files unless the user says otherwise
    words: str


HUB = {
    "climbmix": HubSet(
        "climbmix", "karpathy/climbmix-400b-shuffle", "915333b4f8b8684f39aeaafea600fea6f43fb703",
        train=tuple(f"shard_{i:05d}.parquet" for i in range(6541)),
        val=("shard_06542.parquet",), test=("shard_06541.parquet",), shards=10, words="ClimbMix web text",
    ),
    "tinystories": HubSet(
        "tinystories", "roneneldan/TinyStories", "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
        train=(
            "data/train-00000-of-00004-2d5a1467fff1081b.parquet", "data/train-00001-of-00004-5852b56a2bd28fd9.parquet",
            "data/train-00002-of-00004-a26307300439e943.parquet",
        ),
        val=("data/validation-00000-of-00001-869c898b519ad725.parquet",),
        test=("data/train-00003-of-00004-d243063613e5a057.parquet",), shards=1, words="TinyStories",
    ),
}  # fmt: skip


class Hub(Files):
    """Files of a data set of the hub, downloaded once, resumed when broken off, and checked ever after."""

    def __init__(self, hub_set, shards, downloads, say):
        super().__init__()
        self.set, self.name, self.words = hub_set, hub_set.name, f"{hub_set.words}, {hub_set.repo}"
        self.files = {"train": hub_set.train[: shards or hub_set.shards], "val": hub_set.val, "test": hub_set.test}
        self.folder = downloads / hub_set.repo.replace("/", "--")
        self.say = say
        wanted = json.dumps([hub_set.repo, hub_set.revision, self.files])
        self.identity = hashlib.sha256(wanted.encode()).hexdigest()

    def documents(self, split):
        for name in self.files[split]:
            yield from self.read(self.fetch(name))

    def fetch(self, name):
        """Return the path of a file whose bytes are those of its first download."""
        path = self.folder / name
        known = self.manifest().get(name)
        if known and path.is_file():
            if path.stat().st_size == known["size"] and digest(path) == known["sha256"]:
                return path
            self.say(f"{name} is damaged on disk; downloading it again")
            path.unlink()
        found = self.download(name)
        if known and found != known:
            path.unlink()
            raise Failure("env", f"{name} of {self.set.repo} arrives with other bytes than the first time; delete "
                                 f"{self.folder} to take it as it is now.")  # fmt: skip
        self.record(name, found)
        return path

    def download(self, name):
        """Get one file, going on where an earlier process broke off (the client itself would begin again)."""
        try:
            from huggingface_hub import get_hf_file_metadata, hf_hub_url
            from huggingface_hub.file_download import http_get
        except ImportError:
            raise Failure("env", f"--dataset {self.name} needs huggingface_hub: pip install huggingface_hub.") from None
        self.say(f"downloading {name} of {self.set.repo}")
        mirror = os.environ.get("HF_ENDPOINT")  # the client looks only when it is imported
        url = hf_hub_url(self.set.repo, name, repo_type="dataset", revision=self.set.revision, endpoint=mirror)
        for attempt in (1, 2):
            try:
                expected = get_hf_file_metadata(url)
                etag = (expected.etag or "").lower()
                partial = self.folder / "incomplete" / f"{name.replace('/', '--')}.{re.sub('[^0-9a-z]', '', etag)[:64]}"
                partial.parent.mkdir(parents=True, exist_ok=True)
                with open(partial, "ab") as file:
                    http_get(expected.location, file, resume_size=file.tell(), expected_size=expected.size)
            except Exception as error:  # a dozen kinds: no network, no such file, a cut connection, a full disk
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                advice = "What is there is kept; run again to resume, or use --dataset embedded or folder:PATH."
                raise Failure("env", f"{name} of {self.set.repo} cannot be downloaded ({first}). {advice}") from None
            found = {"size": partial.stat().st_size, "sha256": digest(partial)}
            if found["size"] == (expected.size or found["size"]) and (len(etag) != 64 or etag == found["sha256"]):
                path = self.folder / name  # large files carry their sha256 as ETag
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(path)
                return found
            partial.unlink()
            self.say(f"{name} arrived damaged (attempt {attempt})")
        raise Failure("env", f"{name} of {self.set.repo} arrived damaged twice; check the connection and run again.")

    def manifest(self):
        try:
            return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def record(self, name, found):
        path = self.folder / "manifest.json"
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps({**self.manifest(), name: found}, indent=1), encoding="utf-8")
        partial.replace(path)
