"""Time to look up a query among 106,574 tracks x 512 (FMA-large, a joint embedding), beside scikit-learn's brute force.

python benchmarks/retrieval_speed.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from brainalign.reconstruction.index import MusicIndex

N_TRACKS, WIDTH, N_QUERIES, K = 106_574, 512, 20, 10


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embeddings.npy"
        rows = rng.standard_normal((N_TRACKS, WIDTH), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.save(path, rows)
        table = pd.DataFrame(index=pd.Index([f"t{i:06d}" for i in range(N_TRACKS)], name="stimulus_id"))
        record = {"model": "none", "model_record": {}, "layer": "none", "pooling": "mean"}
        index = MusicIndex(Path(folder), table, np.load(path, mmap_mode="r"), record)
        queries = rng.standard_normal((N_QUERIES, WIDTH)).astype(np.float32)
        peer = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(rows)
        index.search(queries[0], K)
        peer.kneighbors(queries[:1])
        ours, theirs = [], []
        for query in queries:  # in turn, so that both meet the same load
            start = time.perf_counter()
            found, _ = index.search(query, K)
            middle = time.perf_counter()
            expected = peer.kneighbors(query[None], return_distance=False)
            theirs.append(time.perf_counter() - middle)
            ours.append(middle - start)
            assert found[0].tolist() == [f"t{i:06d}" for i in expected[0]]
    print(f"brainalign   {1000 * np.median(ours):7.1f} ms a query (median; longest {1000 * max(ours):.1f})")
    print(f"scikit-learn {1000 * np.median(theirs):7.1f} ms, ratio {np.median(theirs) / np.median(ours):.1f}")


if __name__ == "__main__":
    main()
