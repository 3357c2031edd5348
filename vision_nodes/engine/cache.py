"""Built engines, timing caches and derived ONNX files of this machine, under ``~/.cache/vision_nodes``.

Everything in it can be made again: what is stale or damaged is reported and rebuilt, and where nothing can be
written (read-only home, full disk) the work goes on without a cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

from vision_nodes.engine.fields import write_atomically
from vision_nodes.engine.manifest import Manifest
from vision_nodes.resources import cache_directory

_log = logging.getLogger(__name__)
Key = dict[str, object]  # everything an engine depends on; plain JSON values


class EngineCache:
    """Engines beside a sidecar ``.json`` that holds the key they were built for and their own hash."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_directory()

    def load(self, key: Key) -> tuple[bytes | None, str]:
        """(engine, "") when one fits `key` exactly, else (None, why not)."""
        path = self._path(key)
        if not path.is_file():
            return None, f"no engine for {key['model']} ({key['precision']}) in {self.directory} yet"
        try:
            sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            plan = path.read_bytes()
            stored, digest = dict(sidecar["key"]), str(sidecar["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            return None, f"{path} cannot be used: its sidecar is missing or damaged ({error})"
        changed = [
            f"{name}: {stored.get(name)!r} then, {key.get(name)!r} now"
            for name in {**key, **stored}
            if stored.get(name) != key.get(name)
        ]
        if changed:
            return None, f"{path} was built for something else ({'; '.join(changed)})"
        if hashlib.sha256(plan).hexdigest() != digest:
            return None, f"{path} is damaged: its SHA-256 differs from the sidecar's"
        return plan, ""

    def store(self, key: Key, plan: bytes, notes: Key | None = None) -> str:
        """Keep an engine; returns "" or why it could not be kept."""
        path = self._path(key)
        sidecar = {"key": key, "sha256": hashlib.sha256(plan).hexdigest(), "notes": notes or {}}
        content = json.dumps(sidecar, indent=1).encode()
        # The sidecar goes last: a crash in between leaves a hash that does not match, hence a rebuild.
        return self._write(path, plan) or self._write(path.with_suffix(".json"), content)

    def store_failure(self, key: Key, reason: str) -> None:
        """Remember that building for `key` fails, so that a start does not try again for minutes."""
        self._write(self._failure_path(key), json.dumps({"key": key, "reason": reason}, indent=1).encode())

    def failure(self, key: Key) -> str:
        """Why building for exactly this key failed before; empty = it did not."""
        try:
            stored = json.loads(self._failure_path(key).read_text(encoding="utf-8"))
            return str(stored["reason"]) if stored["key"] == key else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def discard(self, key: Key) -> None:
        """Forget an engine that turned out not to load or to compute wrongly."""
        for path in (self._path(key), self._path(key).with_suffix(".json")):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("%s cannot be removed: %s", path, error)

    def timing_cache(self, tensorrt: str, gpu: str) -> bytes:
        """Tactic timings of earlier builds by this TensorRT on this GPU; empty when there are none."""
        try:
            return self._timing_path(tensorrt, gpu).read_bytes()
        except OSError:
            return b""

    def store_timing_cache(self, tensorrt: str, gpu: str, content: bytes) -> str:
        """Keep tactic timings; returns "" or why they could not be kept."""
        return self._write(self._timing_path(tensorrt, gpu), content)

    def onnx(self, manifest: Manifest, precision: str) -> bytes | None:
        """The model's verified file, or the one derived here from its present source; None = there is none."""
        if precision in manifest.files:
            return manifest.read_file(precision)
        path = self._derived_path(manifest, precision)
        try:
            sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            content = path.read_bytes()
            fits = sidecar == self._derived_sidecar(manifest, precision, content)
        except (OSError, ValueError, KeyError):
            return None
        if not fits:
            _log.warning("%s is damaged or belongs to another version of %s: left out", path, manifest.name)
        return content if fits else None

    def store_onnx(self, manifest: Manifest, precision: str, content: bytes) -> str:
        """Keep an ONNX file derived for this machine (FP16); returns "" or why it could not be kept."""
        path = self._derived_path(manifest, precision)
        sidecar = json.dumps(self._derived_sidecar(manifest, precision, content)).encode()
        return self._write(path, content) or self._write(path.with_suffix(".json"), sidecar)

    def _derived_sidecar(self, manifest: Manifest, precision: str, content: bytes) -> Key:
        source = manifest.files["int8" if precision.startswith("int8") else "fp32"]
        return {"source_sha256": source.sha256, "sha256": hashlib.sha256(content).hexdigest()}

    def _derived_path(self, manifest: Manifest, precision: str) -> Path:
        return self.directory / "derived" / f"{manifest.name}_{precision}.onnx"

    def _path(self, key: Key) -> Path:
        return self.directory / "engines" / (_slug(key["model"], key["precision"], key["gpu"]) + ".plan")

    def _failure_path(self, key: Key) -> Path:
        return self._path(key).with_suffix(".failed.json")

    def _timing_path(self, tensorrt: str, gpu: str) -> Path:
        return self.directory / "timing" / (_slug(tensorrt, gpu) + ".cache")

    def _write(self, path: Path, content: bytes) -> str:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except OSError as error:
            reason = (
                f"{path} cannot be written ({error.strerror}): set VISION_NODES_CACHE to a writable directory"
            )
            _log.warning(reason)
            return reason
        return ""


def _slug(*parts: object) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", str(part)) for part in parts)
