"""git: where parents come from and where keeps go. The only module that talks to it.

A keep is made of blobs: objects, a throw-away index, one move of one branch. HEAD, the
user's index, files, hooks and filters are never involved, so no state of the checkout
can spoil a keep and no keep can spoil the checkout. Every operation asks git itself,
through GitPython's command object: plumbing knows SHA-256, linked worktrees and
whatever storage comes next, and no process stays open between two operations.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from autoresearch_plugin.errors import RepositoryError

FALLBACK = {"name": "autoresearch", "email": "autoresearch@localhost"}

MESSAGES: Mapping[str, str] = {
    "no-git": "git cannot be run: {reason}. Install git, put it on PATH and "
    "start again; kept candidates become git commits.",
    "no-gitpython": "GitPython cannot be imported: {reason}. "
    "Install it: pip install gitpython.",
    "not-a-repository": "{root} is in no git repository ({reason}), so there is no "
    "parent to improve. Make one: git init && git add . && git commit -m start.",
    "unsafe-owner": "git does not trust {root}, which belongs to another user. "
    "If you do: git config --global --add safe.directory {directory}.",
    "no-work-tree": "{root} has no working tree: it is a bare repository or lies "
    "inside .git. Add one (git worktree add ../work) and run pytest there.",
    "no-commit": "the repository at {top} has no commit yet, so there is no parent "
    "to improve. Commit first: git add {target} && git commit -m start.",
    "outside": "{path} lies outside the repository at {top}. Use a path inside it, "
    "or run pytest in the repository that holds the file.",
    "other-repository": "{target} belongs to another repository ({other}), such as "
    "a submodule, and is not tracked by {top}. Run pytest in {other}.",
    "not-committed": "{target} is not committed at {commit}, so there is no parent "
    "to improve. Commit it (git add -f {target} && git commit -m target), or name "
    "another file with autoresearch_target.",
    "not-at": "{target} does not exist at {commit}. Name a commit that has it "
    "(git log --all -- {target}), or start a new branch with --autoresearch-tag.",
    "not-a-file": "{path} is a {kind} at {commit}, not a regular file. "
    "Name the file itself.",
    "not-text": "{target} at {commit} is not UTF-8 ({reason}). "
    "Save it as UTF-8 and commit it.",
    "unknown-ref": "git knows no commit {ref!r} in {top}. Name a commit, tag or "
    "branch that git log --all shows; if it is on a server, git fetch it first.",
    "bad-tag": "{tag!r} cannot be part of a branch name. Choose letters, digits, "
    "- and _: --autoresearch-tag may-1.",
    "ref-conflict": "branch {other!r} exists, so git cannot have a branch "
    "{branch!r} beside it. Rename it: git branch -m {other} {other}-old.",
    "checked-out": "branch {branch!r} is checked out in {where}; moving it would "
    "make that checkout look changed. Run git switch --detach there, or choose "
    "another branch with --autoresearch-tag.",
    "branch-moved": "branch {branch!r} is at {found}, not at {expected}: somebody "
    "else committed to it. Run the candidate again on the new parent.",
    "git-failed": "git {command} failed in {root}: {reason} "
    "Mend that and start again; your files, index and HEAD are as they were.",
    "note-dirt": "{count} other tracked files have uncommitted changes ({paths}): "
    "runs see them, kept commits do not hold them.",
    "note-detached": "HEAD is detached at {commit}; keeps go to {branch}.",
    "note-diverged": "{branch} goes on from {tip}, without the newer commits of HEAD. "
    "To have both: git merge {branch}. To start from HEAD: --autoresearch-tag NEW.",
    "note-hooks": "kept commits run no hooks (here: {hooks}), because they hold the "
    "bytes that were measured.",
    "note-identity": "git knows no user.name and user.email here, so kept commits "
    "are by {name} <{email}>. To change that: git config user.name NAME && "
    "git config user.email EMAIL.",
    "note-gpgsign": "commit.gpgSign is set; kept commits are not signed.",
    "note-shallow": "the clone is shallow, so candidates kept before its first "
    "commit are not recognised. To get the rest: git fetch --unshallow.",
}

# Nothing a user may have configured changes what a keep is or what we read back.
_CONFIG = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.splitIndex=false",  # would leave a sharedindex file in .git
    "core.filesRefLockTimeout=2000",  # two lanes keep at once: wait, then compare
    "core.fsync=all",  # a keep survives a power cut
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    "log.showSignature=false",
    "trailer.separators=:",
)
_PLAIN: Mapping[str, str] = {
    "GIT_OPTIONAL_LOCKS": "0",  # or `git status` would rewrite the user's index
    "GIT_TERMINAL_PROMPT": "0",  # a partial clone may fetch; it must not wait
    "GIT_LITERAL_PATHSPECS": "1",
}
# Of the environment's GIT_* these reach git: whose keep it is, where settings lie, how
# far up to look. Others name programs, other repositories, files to write.
_KNOWN = re.compile(
    r"GIT_(?:(?:AUTHOR|COMMITTER)_\w+|CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM)"
    r"|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|TEST_ASSUME_DIFFERENT_OWNER"
    r"|PYTHON_\w+)"
)
_HOOKS = "pre-commit prepare-commit-msg commit-msg post-commit reference-transaction"
_SUBMODULE = "160000"
_KINDS = {"120000": "symbolic link", _SUBMODULE: "submodule", "040000": "directory"}
_REVERTS = re.compile(r"This reverts commit ([0-9a-f]{40,64})")
# Lines that make git end a message before its trailers: a patch's divider, a comment
# (the scissors line is one).
_DIVIDER = re.compile(r"^(?=---|#)", re.MULTILINE)


class BranchMoved(RepositoryError):
    """The research branch is not where it was expected; nothing was committed."""


@dataclass(frozen=True)
class Parent:
    """The commit a candidate is run against, and the target's text at it."""

    commit: str
    source: str

    @property
    def short(self) -> str:
        """The first seven digits, as people write commits."""
        return self.commit[:7]


@dataclass(frozen=True)
class Kept:
    """A kept candidate in the history, from the trailers of its commit."""

    commit: str
    signature: str
    subject: str
    effect: str


class _Reply(NamedTuple):
    code: int
    out: bytes
    error: str

    @property
    def line(self) -> str:
        """The output without its last newline."""
        return os.fsdecode(self.out.removesuffix(b"\n"))


class Repository:
    """The repository that holds `target`, seen from the project's `root`.

    Raises:
        RepositoryError: there is no git, no repository, no commit, or `target` is not
            a file that this repository tracks; the message holds the way out.
    """

    def __init__(self, root: Path, target: str) -> None:
        self.root = root.resolve()
        self.target = target
        self.top = self._find_top()
        self._path = self._in_tree(target)
        if self._resolve("HEAD") is None:
            raise _error("no-commit", top=self.top, target=target)
        self._check_target()

    def default_tag(self) -> str:
        """The checked-out branch; `detached-<commit>` where there is none."""
        name = self._run("symbolic-ref", "--quiet", "HEAD").line
        return name.removeprefix("refs/heads/") or f"detached-{self._head()[:7]}"

    def branch(self, tag: str) -> str:
        """`autoresearch/<tag>`; RepositoryError if git takes no such branch name."""
        name = f"autoresearch/{tag}"
        long = any(len(os.fsencode(part)) > 200 for part in tag.split("/"))
        if long or self._run("check-ref-format", f"refs/heads/{name}").code:
            raise _error("bad-tag", tag=tag)
        return name

    def check_branch(self, tag: str) -> None:
        """Raise now what would keep `commit_keep` from moving the branch later."""
        name = self.branch(tag)
        parts = name.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        below = self._git("for-each-ref", "--format=%(refname)", f"refs/heads/{name}/")
        taken = [other for other in above if self._resolve(f"refs/heads/{other}")]
        taken += [x.removeprefix("refs/heads/") for x in below.line.splitlines()]
        if taken:
            raise _error("ref-conflict", other=taken[0], branch=name)
        where = ""
        for line in self._git("worktree", "list", "--porcelain").line.splitlines():
            where = line[9:] if line.startswith("worktree ") else where
            if line == f"branch refs/heads/{name}":
                raise _error("checked-out", branch=name, where=where)

    def parent(self, tag: str) -> Parent:
        """The tip of the research branch, or HEAD where that has all of it.

        So what was adopted by a merge, and committed since, is the next parent.
        """
        tip = self._resolve(f"refs/heads/{self.branch(tag)}")
        head = self._head()
        return self._parent(head if not tip or self.has(head, tip) else tip)

    def note_parent(self, tag: str) -> str:
        """One line when HEAD has commits that the session will not see; else empty."""
        branch, head = self.branch(tag), self._head()
        tip = self._resolve(f"refs/heads/{branch}")
        if not tip or self.has(head, tip) or self.has(tip, head):
            return ""
        return _text("note-diverged", branch=branch, tip=tip[:7])

    def at(self, ref: str) -> Parent:
        """The target at a commit, branch or tag; RepositoryError if it is not there."""
        if commit := self._resolve(ref):
            return self._parent(commit)
        raise _error("unknown-ref", ref=ref, top=self.top)

    def target_is_dirty(self) -> bool:
        """Whether the target's content in index or working tree is not HEAD's."""
        _, blob = self._entry("HEAD", self._path)
        file = str(self.top / self._path)
        staged = self._git("ls-files", "--stage", "-z", "--", file).line.split("\0")
        if [line.split()[1] for line in staged if line] != [blob]:
            return True
        # Compared by content, since flags such as skip-worktree hide changes from git;
        # raw first, since a filter of the user may not be installed here.
        words = ("-C", str(self.top), "hash-object")
        raw = self._run(*words, "--no-filters", "--", file).line
        if raw == blob:
            return False
        plain = self._without_filters()
        return blob != self._run(*words, "--", self._path, env=plain).line

    def notes(self) -> list[str]:
        """What a user should know before the session, one line each."""
        return list(self._notes())

    def history(self, commit: str) -> Mapping[str, Kept]:
        """Signature -> keep, for every ancestor of `commit` with a `Candidate` trailer.

        A keep that `git revert` took back is not in the baseline any more. Of equal
        signatures the oldest counts: it is in the baseline since then.
        """
        words = ("log", "-z", "--no-patch", "--regexp-ignore-case")
        wanted = ("--grep=^Candidate:", "--grep=^This reverts commit ")
        form = "--format=%H%x00%s%x00%(trailers:only=true,unfold=true)%x00%b"
        reply = self._git(*words, *wanted, form, "--end-of-options", commit, "--")
        fields = reply.out.decode("utf-8", "replace").split("\0")
        kept: dict[str, Kept] = {}
        reverted: set[str] = set()
        for sha, subject, trailers, body in zip(*[iter(fields)] * 4, strict=False):
            if sha not in reverted:
                reverted.update(_REVERTS.findall(body))
                kept |= {one.signature: one for one in _kept(sha, subject, trailers)}
        return kept

    def commit_keep(
        self,
        tag: str,
        parent: str,
        files: Mapping[str, bytes],
        subject: str,
        body: str,
        trailers: Sequence[tuple[str, str]],
    ) -> str:
        """Commit `files` (paths from the root) on top of `parent`; returns the commit.

        Raises:
            BranchMoved: the branch is not at `parent`; of two at once, one gets this.
            RepositoryError: git refused, or the branch must not be moved.
        """
        self.check_branch(tag)
        base = self.at(parent).commit
        with TemporaryDirectory(prefix="autoresearch-") as scratch:
            message = Path(scratch, "message")
            message.write_bytes(commit_message(subject, body, trailers).encode())
            tree = self._tree(base, files, Path(scratch))
            words = ("commit-tree", tree, "-p", base, "-F", str(message))
            commit = self._git(*words, env=self._identity()).line
        self._move(self.branch(tag), base, commit)
        return commit

    def _tree(self, base: str, files: Mapping[str, bytes], scratch: Path) -> str:
        """The tree of `base` with `files` in it; unknown to the user's index."""
        index = {"GIT_INDEX_FILE": str(scratch / "index")}
        self._git("read-tree", base, env=index)
        for name, content in files.items():
            path = self._in_tree(name)
            mode = self._entry(base, path)[0] or "100644"
            self._check_regular(mode, name, base)
            blob = scratch / "blob"
            blob.write_bytes(content)
            sha = self._git("hash-object", "-w", "--no-filters", "--", str(blob)).line
            entry = f"{mode},{sha},{path}"
            self._git("update-index", "--add", "--cacheinfo", entry, env=index)
        # A partial clone lacks blobs of the parent; fetching them would be for nothing.
        return self._git("write-tree", "--missing-ok", env=index).line

    def _move(self, branch: str, base: str, commit: str) -> None:
        ref = f"refs/heads/{branch}"
        tip = self._resolve(ref)
        merged = tip is not None and self.has(base, tip)
        expected = (tip if merged else base) if tip else "0" * len(base)
        words = ("update-ref", "--no-deref", "-m", "autoresearch: keep")
        reply = self._run(*words, ref, commit, expected)
        if reply.code == 0:
            return
        found = self._resolve(ref)
        if found and found != expected:
            names = {"branch": branch, "found": found[:7], "expected": base[:7]}
            raise BranchMoved(_text("branch-moved", **names))
        raise self._failed(words, reply)

    def _identity(self) -> dict[str, str]:
        """Environment that names an author where the user's settings name none."""
        missing: dict[str, str] = {}
        for role in ("AUTHOR", "COMMITTER"):
            words = ("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT")
            if self._run(*words).code:
                missing |= {f"GIT_{role}_{k.upper()}": v for k, v in FALLBACK.items()}
        return missing

    def _find_top(self) -> Path:
        reply = self._run("rev-parse", "--is-inside-work-tree")
        if unsafe := re.search(r"safe\.directory (.+)", reply.error):
            raise _error("unsafe-owner", root=self.root, directory=unsafe[1])
        if reply.code:
            reason = _one_line(reply.error, 200)
            raise _error("not-a-repository", root=self.root, reason=reason)
        if reply.line != "true":
            raise _error("no-work-tree", root=self.root)
        return Path(self._git("rev-parse", "--show-toplevel").line).resolve()

    def _check_target(self) -> None:
        mode, _ = self._entry("HEAD", self._path)
        if not mode or mode == _SUBMODULE:
            names = {"target": self.target, "top": self.top, "commit": self._head()[:7]}
            if other := self._other_repository():
                raise _error("other-repository", other=other, **names)
            raise _error("not-committed", **names)
        self._check_regular(mode, self.target, self._head())

    def _check_regular(self, mode: str, path: str, commit: str) -> None:
        if mode in _KINDS:
            kind = _KINDS[mode]
            raise _error("not-a-file", path=path, kind=kind, commit=commit[:7])

    def _other_repository(self) -> str:
        """The repository below ours that holds the target; empty if there is none."""
        path = Path(self._path)
        for part in (path, *path.parents[:-1]):
            if self._entry("HEAD", part.as_posix())[0] == _SUBMODULE:
                return str(self.top / part)
        place = str(self.top / path.parent)
        there = self._run("-C", place, "rev-parse", "--show-toplevel").line
        return there if there and Path(there).resolve() != self.top else ""

    def _in_tree(self, path: str) -> str:
        """`path` (from the root, or absolute) as git's trees spell it."""
        whole = Path(os.path.normpath(self.root / path))
        place = whole.parent.resolve() / whole.name
        if self.top not in place.parents:
            raise _error("outside", path=path, top=self.top)
        return place.relative_to(self.top).as_posix()

    def _notes(self) -> Iterator[str]:
        if dirt := self._dirt():
            some = _one_line(", ".join(dirt[:3]), 200) + ", ..." * (len(dirt) > 3)
            yield _text("note-dirt", count=len(dirt), paths=some)
        if self._run("symbolic-ref", "--quiet", "HEAD").code:
            branch = self.branch(self.default_tag())
            yield _text("note-detached", commit=self._head()[:7], branch=branch)
        # Two questions without our own settings, which would answer for the user's.
        where = self._run("rev-parse", "--git-path", "hooks", ours=False).line
        files = [(hook, self.root / where / hook) for hook in _HOOKS.split()]
        if hooks := [hook for hook, file in files if os.access(file, os.X_OK)]:
            yield _text("note-hooks", hooks=", ".join(hooks))
        if self._run("config", "--bool", "commit.gpgSign", ours=False).line == "true":
            yield _text("note-gpgsign")
        if self._identity():
            yield _text("note-identity", **FALLBACK)
        if self._git("rev-parse", "--is-shallow-repository").line == "true":
            yield _text("note-shallow")

    def _dirt(self) -> list[str]:
        """Tracked paths other than the target that differ from HEAD."""
        # Inside a submodule its own settings, with programs in them, would count.
        words = ("status", "--porcelain=v1", "-z", "--no-renames")
        only = ("--untracked-files=no", "--ignore-submodules=dirty")
        reply = self._git(*words, *only, env=self._without_filters())
        paths = [line[3:] for line in reply.line.split("\0") if line]
        return [path for path in paths if path != self._path]

    def _without_filters(self) -> dict[str, str]:
        """Environment in which every configured filter is a program that is empty."""
        words = ("config", "-z", "--name-only", "--get-regexp")
        found = self._run(*words, r"^filter\..*\.(clean|smudge|process|required)$").out
        names = [os.fsdecode(name) for name in found.split(b"\0") if name]
        entries: dict[str, str] = {"GIT_CONFIG_COUNT": str(len(names))}
        for i, name in enumerate(names):
            off = "false" if name.endswith(".required") else ""
            entries |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": off}
        return entries

    def _head(self) -> str:
        return self._git("rev-parse", "--verify", "HEAD^{commit}").line

    def has(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is part of `commit`'s history."""
        words = ("merge-base", "--is-ancestor", ancestor, commit)
        return self._run(*words).code == 0

    def _resolve(self, ref: str) -> str | None:
        """The full id of a commit, or None."""
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options")
        return self._run(*words, f"{ref}^{{commit}}").line or None

    def _parent(self, commit: str) -> Parent:
        mode, blob = self._entry(commit, self._path)
        if not mode:
            raise _error("not-at", target=self.target, commit=commit[:7])
        self._check_regular(mode, self.target, commit)
        try:
            return Parent(commit, self._git("cat-file", "blob", blob).out.decode())
        except UnicodeDecodeError as error:
            names = {"target": self.target, "commit": commit[:7]}
            raise _error("not-text", reason=error.reason, **names) from None

    def _entry(self, commit: str, path: str) -> tuple[str, str]:
        """Mode and object id of a path at a commit; two empty texts if it is absent."""
        reply = self._git("ls-tree", "-z", "--full-tree", commit, "--", path)
        if not reply.out:
            return "", ""
        mode, _, sha = reply.line.partition("\t")[0].split()
        return mode, sha

    def _git(self, *words: str, env: Mapping[str, str] = _PLAIN) -> _Reply:
        """Like `_run`, for commands that must not fail."""
        reply = self._run(*words, env=env)
        if reply.code:
            raise self._failed(words, reply)
        return reply

    def _failed(self, words: Sequence[str], reply: _Reply) -> RepositoryError:
        reason = _one_line(reply.error, 300) or f"exit code {reply.code}"
        reason = reason.rstrip(".") + "."
        return _error("git-failed", command=words[0], root=self.root, reason=reason)

    def _run(
        self, *words: str, env: Mapping[str, str] = _PLAIN, ours: bool = True
    ) -> _Reply:
        """Run git in the root; `ours` puts our settings above the user's."""
        git = _gitpython()
        program = git.Git.GIT_PYTHON_GIT_EXECUTABLE
        options = [word for item in _CONFIG if ours for word in ("-c", item)]
        own = {**_PLAIN, **env}
        try:
            code, out, error = git.Git().execute(
                [*_cleaned(own), program, "-C", str(self.root), *options, *words],
                env=own,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
            )
        except (git.exc.GitCommandNotFound, PermissionError):
            raise _error("no-git", reason=f"{program!r} does not start") from None
        except ValueError as problem:  # a NUL in an argument
            return _Reply(128, b"", str(problem))
        return _Reply(int(code), out, error)


def _cleaned(own: Mapping[str, str]) -> list[str]:
    """`env -u NAME ...` for what must not reach git; mostly there is nothing."""
    foreign = [x for x in os.environ if x.startswith("GIT_") and x not in own]
    names = [x for x in foreign if not _KNOWN.fullmatch(x)]
    return ["env", *(word for name in names for word in ("-u", name))] if names else []


def commit_message(subject: str, body: str, trailers: Sequence[tuple[str, str]]) -> str:
    """One subject line, the body, one paragraph of trailers that git parses back.

    All three may come from a model: nothing in them can pass for another part.
    """
    lines = [_plain(line).rstrip() for line in body.splitlines()]
    text = _DIVIDER.sub(" ", "\n".join(lines)).strip("\n")
    keys = [re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-") for key, _ in trailers]
    values = [_one_line(value, 1000) for _, value in trailers]
    block = "\n".join(map("{}: {}".format, keys, values))
    title = _DIVIDER.sub("keep ", _one_line(subject, 120)) or "keep a candidate"
    return "\n\n".join(part for part in (title, text, block) if part) + "\n"


def _kept(commit: str, subject: str, trailers: str) -> list[Kept]:
    """The keeps that one commit's trailers name; a squashed commit may name several."""
    pairs = [line.partition(":")[::2] for line in trailers.splitlines()]
    words = {key.strip().lower(): value.strip() for key, value in pairs}
    return [
        Kept(commit, value.strip(), subject, _effect(words))
        for key, value in pairs
        if key.strip().lower() == "candidate" and value.strip()
    ]


def _effect(trailers: Mapping[str, str]) -> str:
    """The `Effect` trailer, or candidate minus baseline; empty if neither is there."""
    if "effect" in trailers:
        return trailers["effect"]
    try:
        kept = float(trailers["val-bpb"].split()[0])
        before = float(trailers["baseline-bpb"].split()[0])
    except (KeyError, IndexError, ValueError):
        return ""
    return f"{kept - before:+.4f}"


def _plain(text: str) -> str:
    return "".join(ch if ch.isprintable() else " " for ch in text)


def _one_line(text: str, limit: int) -> str:
    line = " ".join(_plain(text).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def _text(name: str, /, **values: object) -> str:
    return MESSAGES[name].format(**values)


def _error(name: str, /, **values: object) -> RepositoryError:
    return RepositoryError(_text(name, **values))


def _gitpython() -> Any:
    """GitPython, imported late: it looks for git on import."""
    program = os.environ.get("GIT_PYTHON_GIT_EXECUTABLE", "git")
    if shutil.which(program) is None:
        raise _error("no-git", reason=f"there is no {program!r} on PATH")
    try:
        import git
    except ImportError as error:
        raise _error("no-gitpython", reason=_one_line(str(error), 200)) from None
    return git
