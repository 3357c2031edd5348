"""Nearest global descriptors: exhaustive while small, an HNSW graph beyond (FAISS).

Cosine similarity of unit vectors is their inner product. HNSW (Malkov and Yashunin, 2018) answers in
logarithmic time and grows by single insertions; its links cost 2 * M * 4 bytes a keyframe beside the vector.
"""

from __future__ import annotations

import faiss
import numpy as np

LINKS = 32  # M of HNSW: links per node and level (twice on the ground level)
EF_CONSTRUCTION = 80
EF_SEARCH = 96
_MIGRATED_PER_ADD = 16  # vectors moved to the graph with each addition, so that no single one stalls


class DescriptorIndex:
    """Ids and unit descriptors; ids must be added in increasing order."""

    def __init__(self, dimension: int, flat_limit: int = 10_000) -> None:
        self.dimension = dimension
        self._flat_limit = flat_limit
        self._flat = faiss.IndexFlatIP(dimension)
        self._flat_ids: list[int] = []
        self._graph: faiss.IndexHNSWFlat | None = None
        self._graph_ids = np.zeros(0, np.int64)
        self._graph_count = 0
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return len(self._flat_ids) + self._graph_count - len(self._removed)

    @property
    def bytes_per_keyframe(self) -> int:
        """Memory of one entry at the present size, bytes."""
        links = 0 if self._graph is None else 2 * LINKS * 4 + 16
        return 4 * self.dimension + links + 8

    def add(self, keyframe_id: int, descriptor: np.ndarray) -> None:
        """Insert one (D,) float32 unit vector."""
        vector = np.ascontiguousarray(descriptor, np.float32).reshape(1, -1)
        if vector.shape[1] != self.dimension:
            raise ValueError(f"expected a descriptor of {self.dimension} values, received {vector.shape[1]}")
        self._flat.add(vector)
        self._flat_ids.append(keyframe_id)
        if len(self._flat_ids) > self._flat_limit or self._graph is not None:
            self._migrate()

    def remove(self, keyframe_id: int) -> None:
        """Forget one id. In the graph it stays as a stepping stone that is never returned."""
        if keyframe_id in self._flat_ids:
            row = self._flat_ids.index(keyframe_id)
            self._flat.remove_ids(np.array([row], np.int64))
            del self._flat_ids[row]
        else:
            self._removed.add(keyframe_id)

    def search(
        self, descriptor: np.ndarray, count: int, below_id: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `count` most similar ids, best first, among ids < `below_id` when given.

        Returns:
            ids (M,) int64 and cosine similarities (M,) float32, M <= count; equal scores by smaller id.
        """
        vector = np.ascontiguousarray(descriptor, np.float32).reshape(1, -1)
        found = [self._search_flat(vector, count, below_id), self._search_graph(vector, count, below_id)]
        ids = np.concatenate([f[0] for f in found])
        scores = np.concatenate([f[1] for f in found])
        order = np.lexsort((ids, -scores))[:count]
        return ids[order], scores[order]

    def _search_flat(
        self, vector: np.ndarray, count: int, below_id: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        limit = len(self._flat_ids)
        if below_id is not None:
            limit = int(np.searchsorted(self._flat_ids, below_id))
        if limit == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        params = faiss.SearchParameters(sel=faiss.IDSelectorRange(0, limit))
        scores, rows = self._flat.search(vector, min(count, limit), params=params)
        return np.asarray(self._flat_ids, np.int64)[rows[0]], scores[0]

    def _search_graph(
        self, vector: np.ndarray, count: int, below_id: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._graph is None or self._graph_count == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        limit = self._graph_count
        if below_id is not None:
            limit = int(np.searchsorted(self._graph_ids[:limit], below_id))
        wanted = min(count + len(self._removed), count * 4)
        selector = faiss.IDSelectorRange(0, limit)
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=max(EF_SEARCH, 2 * wanted))
        scores, rows = self._graph.search(vector, wanted, params=params)
        ids = self._graph_ids[rows[0].clip(0)]
        keep = (rows[0] >= 0) & ~np.isin(ids, list(self._removed))
        return ids[keep][:count], scores[0][keep][:count]

    def _migrate(self) -> None:
        """Move a few of the oldest exhaustive entries into the graph."""
        if self._graph is None:
            self._graph = faiss.IndexHNSWFlat(self.dimension, LINKS, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = EF_CONSTRUCTION
        moved = min(_MIGRATED_PER_ADD, len(self._flat_ids))
        vectors = self._flat.reconstruct_n(0, moved)
        self._graph.add(vectors)
        if self._graph_count + moved > len(self._graph_ids):
            grown = np.zeros(max(1024, 2 * (self._graph_count + moved)), np.int64)
            grown[: self._graph_count] = self._graph_ids[: self._graph_count]
            self._graph_ids = grown
        self._graph_ids[self._graph_count : self._graph_count + moved] = self._flat_ids[:moved]
        self._graph_count += moved
        self._flat.remove_ids(faiss.IDSelectorRange(0, moved))
        del self._flat_ids[:moved]
