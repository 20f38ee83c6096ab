"""Rows that say how near reconstructions come to what was heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import ReconstructionError, did_you_mean
from brainalign.measures.decoding_rows import ALL_SUBJECTS, TEST, Draws, category_rows, rows_of, score_clips
from brainalign.measures.resampling import draw_counts, draw_orders
from brainalign.measures.tag_agreement import tag_agreement
from brainalign.reconstruction.published import EMBEDDINGS, PUBLISHED
from brainalign.responses import Responses

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """What all comparisons share.

    Attributes
    ----------
    clips : list of str
        The clips that were tested.
    truth : ndarray, shape (n_clips, n_dimensions)
        Their embeddings.
    tags : Responses or None
        Their tags.
    categories : ndarray of str, shape (n_clips,)
        Of each clip.
    n_permutations, n_bootstrap : int
        Permutations and resamples of clips.
    seed : int
        Of both.
    """

    clips: list[str]
    truth: Array
    tags: Responses | None
    categories: NDArray[np.str_]
    n_permutations: int
    n_bootstrap: int
    seed: int

    def embeddings(self, reconstructed: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Compare embeddings of reconstructions with those of the clips, as those that were decoded are.

        Parameters
        ----------
        reconstructed : mapping of str to ndarray, shape (n_clips, n_dimensions)
            Of each subject.

        Returns
        -------
        list of dict
            Rows of identification accuracy, correlation and cosine.
        """
        rng = np.random.default_rng([self.seed, 0])
        draws = Draws(
            draw_orders(len(self.clips), self.n_permutations, rng, self.clips)[1:],
            draw_counts(len(self.clips), self.n_bootstrap, np.random.default_rng([self.seed, 2]), ids=self.clips),
            0.95,
            self.seed,
        )
        together = np.zeros(len(self.clips))
        scored, _ = score_clips(list(reconstructed.values()), self.truth, together)
        rows = [row for one in scored for row in rows_of(one, list(reconstructed), draws)]
        return rows + category_rows(scored[0], self.categories, draws)

    def agreement(self, reconstructed: Mapping[str, Responses]) -> list[dict[str, Any]]:
        """Compare tags of reconstructions with those of the clips.

        Parameters
        ----------
        reconstructed : mapping of str to Responses
            Tags for each subject, ``stimulus`` being the clips.

        Returns
        -------
        list of dict
            Rows of :func:`~brainalign.measures.tag_agreement.tag_agreement`; none without tags of the clips.
        """
        if self.tags is None:
            return []
        described = self.tags.assign_coords(category=("stimulus", self.categories))
        result = tag_agreement(
            described,
            reconstructed,
            by="category",
            n_bootstrap=self.n_bootstrap,
            n_permutations=self.n_permutations,
            seed=self.seed,
        )
        # What is empty in a result table is left empty here too.
        return [{str(k): v for k, v in row.items() if not pd.isna(v)} for row in result.table.to_dict("records")]


def decoded_rows(table: pd.DataFrame, stands_for: str | None) -> list[dict[str, Any]]:
    """Return the rows of the decoded embeddings themselves, with what was published beside their means.

    Parameters
    ----------
    table : DataFrame
        Of a result of ``decoding``, of one layer.
    stands_for : str or None
        Of `EMBEDDINGS`.

    Returns
    -------
    list of dict
        Scores of test clips.

    Raises
    ------
    ReconstructionError
        If Denk et al. 2023 have no such embedding.
    """
    if stands_for is not None and stands_for not in EMBEDDINGS:
        raise ReconstructionError(
            f"Brain2Music decodes no embedding {stands_for!r}; {did_you_mean(stands_for, EMBEDDINGS)}"
        )
    tested = table[(table["evaluated"] == TEST) & ~table["statistic"].str.startswith("top_")]
    rows = []
    for record in tested.to_dict("records"):
        row = {str(k): v for k, v in record.items() if not pd.isna(v)}
        published = PUBLISHED.get((stands_for or "", row["statistic"]))
        if published is not None and row["target"] == ALL_SUBJECTS and not row["category"]:
            row |= {"published": published[0], "published_sd": published[1]}
        rows.append(row)
    return rows


def labelled(rows: Sequence[Mapping[str, Any]], kind: str, brain: str = "") -> list[dict[str, Any]]:
    """Say of rows what they are about.

    Parameters
    ----------
    rows : sequence of mappings
        The rows.
    kind : str
        What is compared with the clips.
    brain : str
        From which brain data it was decoded.

    Returns
    -------
    list of dict
        Copies.
    """
    return [{**row, "kind": kind, "brain": brain} for row in rows]
