"""Nearest global descriptors: exhaustive while small, an HNSW graph beyond (FAISS).

Cosine similarity of unit vectors is their inner product. HNSW (Malkov and Yashunin, 2018) answers in
logarithmic time and grows by single insertions; its links cost 2 * M * 4 bytes a keyframe beside the vector.
In the graph vectors are kept in half precision: half the memory to hold and, what costs the time of a search among
a million, to read. ``vision-nodes bench places`` measures time, recall and memory.
"""

from __future__ import annotations

import faiss
import numpy as np

LINKS = 32  # M of HNSW: links per node and level (twice on the ground level)
EF_CONSTRUCTION = 80
EF_SEARCH = 400
_MIGRATED_PER_ADD = 16  # vectors moved to the graph with each addition, so that no single one stalls
_SLACK = 4096  # moved vectors the exhaustive part keeps before it is compacted


def search_threads(count: int) -> None:
    """Threads of FAISS in this process, for every index; it takes all cores by default."""
    faiss.omp_set_num_threads(count)


class DescriptorIndex:
    """Ids and unit descriptors; ids must be added in increasing order."""

    def __init__(self, dimension: int, flat_limit: int = 10_000) -> None:
        self.dimension = dimension
        self._flat_limit = flat_limit
        self._flat = faiss.IndexFlatIP(dimension)
        self._ids = np.zeros(1024, np.int64)  # of graph and exhaustive part, in order
        self._count = 0
        self._graph: faiss.IndexHNSWSQ | None = None
        self._in_graph = 0  # the first so many entries
        self._dropped = 0  # and so many of them the exhaustive part has forgotten
        self._removed = np.zeros(0, np.int64)  # rows, increasing
        self._alive = np.zeros(0, np.uint8)  # one bit a row of the graph; empty = ask again

    def __len__(self) -> int:
        return self._count - len(self._removed)

    @property
    def bytes_per_keyframe(self) -> int:
        """Memory of one entry at the present size, bytes; `vision-nodes bench places` measures it."""
        if self._graph is None:
            return 4 * self.dimension + 8
        return 2 * self.dimension + 2 * LINKS * 4 + 16 + 8

    def add(self, keyframe_id: int, descriptor: np.ndarray) -> None:
        """Insert one (D,) float32 unit vector."""
        vector = np.ascontiguousarray(descriptor, np.float32).reshape(1, -1)
        self.add_many(np.array([keyframe_id], np.int64), vector)

    def add_many(self, keyframe_ids: np.ndarray, descriptors: np.ndarray) -> None:
        """Insert (N,) increasing ids and their (N, D) float32 unit vectors; entries move to the graph meanwhile."""
        vectors = np.ascontiguousarray(descriptors, np.float32)
        count = len(vectors)
        if vectors.shape[1] != self.dimension:
            raise ValueError(f"expected a descriptor of {self.dimension} values, received {vectors.shape[1]}")
        if self._count + count > len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros(max(self._count, count), np.int64)])
        self._ids[self._count : self._count + count] = keyframe_ids
        self._count += count
        self._flat.add(vectors)
        if self._count - self._in_graph > self._flat_limit or self._graph is not None:
            self._migrate(max(_MIGRATED_PER_ADD, 2 * count))

    def remove(self, keyframe_id: int) -> None:
        """Forget one id. It stays as a stepping stone that is never returned."""
        row = int(np.searchsorted(self._ids[: self._count], keyframe_id))
        if row < self._count and self._ids[row] == keyframe_id:
            self._removed = np.union1d(self._removed, row)
            self._alive = np.zeros(0, np.uint8)

    def search(
        self, descriptor: np.ndarray, count: int, below_id: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `count` most similar ids, best first, among ids < `below_id` when given.

        Returns:
            ids (M,) int64 and cosine similarities (M,) float32, M <= count; equal scores by smaller id.
        """
        vector = np.ascontiguousarray(descriptor, np.float32).reshape(1, -1)
        limit = self._count
        if below_id is not None:
            limit = int(np.searchsorted(self._ids[:limit], below_id))
        found = [self._search_flat(vector, count, limit), self._search_graph(vector, count, limit)]
        ids = self._ids[np.concatenate([rows for rows, _ in found])]
        scores = np.concatenate([score for _, score in found])
        order = np.lexsort((ids, -scores))[:count]
        return ids[order], scores[order]

    def _search_flat(self, vector: np.ndarray, count: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all entries and scores, among those not in the graph."""
        first, end = self._in_graph - self._dropped, limit - self._dropped
        if end <= first:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        params = faiss.SearchParameters(sel=faiss.IDSelectorRange(first, end))
        removed = int(np.searchsorted(self._removed, limit) - np.searchsorted(self._removed, self._in_graph))
        scores, rows = self._flat.search(vector, min(count + removed, end - first), params=params)
        alive = ~np.isin(rows[0] + self._dropped, self._removed)
        return (rows[0] + self._dropped)[alive][:count], scores[0][alive][:count]

    def _search_graph(self, vector: np.ndarray, count: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
        if self._graph is None or min(limit, self._in_graph) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        effort = max(EF_SEARCH, 2 * count)
        selector = among = faiss.IDSelectorRange(0, min(limit, self._in_graph))
        if len(self._removed) and self._removed[0] < self._in_graph:
            bits = self._alive_bits()
            alive = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            selector = faiss.IDSelectorAnd(among, alive)
            # stepping stones fill the list of candidates too: look further by as much as they crowd
            effort = int(effort * (1 + 4 * len(self._removed) / self._count))
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=effort)
        scores, rows = self._graph.search(vector, count, params=params)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]

    def _alive_bits(self) -> np.ndarray:
        """A bit for each row of the graph, 0 = removed."""
        if len(self._alive) * 8 < self._in_graph:
            alive = np.ones(len(self._ids), bool)
            alive[self._removed] = False
            self._alive = np.packbits(alive, bitorder="little")
        return self._alive

    def _migrate(self, count: int) -> None:
        """Move a few of the oldest exhaustive entries into the graph."""
        if self._graph is None:
            half = faiss.ScalarQuantizer.QT_fp16
            self._graph = faiss.IndexHNSWSQ(self.dimension, half, LINKS, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = EF_CONSTRUCTION
            self._graph.train(np.zeros((1, self.dimension), np.float32))  # nothing to learn in half precision
        first = self._in_graph - self._dropped
        moved = min(count, self._flat.ntotal - first)
        self._graph.add(self._flat.reconstruct_n(first, moved))
        self._in_graph += moved
        if self._in_graph - self._dropped >= _SLACK or moved == self._flat.ntotal:
            self._flat.remove_ids(faiss.IDSelectorRange(0, self._in_graph - self._dropped))
            self._dropped = self._in_graph
