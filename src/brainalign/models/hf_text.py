"""Text embeddings of joint audio-text models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from brainalign.errors import ModelError
from brainalign.models.huggingface import FAMILIES, ModelFiles

if TYPE_CHECKING:
    from torch import Tensor


def clap_text_embeddings(source: str, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """Embed texts where CLAP embeds sounds (the layer ``audio_projection``, scaled to unit length).

    Parameters
    ----------
    source : str
        A repository in the local cache, such as ``"laion/larger_clap_music"``, or a local folder.
    texts : sequence of str
        Captions or labels; a text that is longer than the model takes is an error.
    batch_size : int
        Texts per pass.

    Returns
    -------
    Tensor, shape (n_texts, n_dimensions)
        Rows of unit length.

    Raises
    ------
    ModelError
        If the files are not there, the model is not CLAP, a text is too long, or there are none.
    """
    if not texts:
        raise ModelError("there are no texts to embed")
    files = ModelFiles(source, trusted=False)
    if (found := files.read("AutoConfig").model_type) != "clap":
        raise ModelError(f"'hf:{source}' is of the type {found!r}, which embeds no texts; expected 'clap'")
    network = files.load_weights(FAMILIES["clap"]).eval()
    tokenizer = files.read("AutoTokenizer")
    # The first two positions of RoBERTa's table are never used by a token.
    longest = network.config.text_config.max_position_embeddings - 2
    rows = []
    for start in range(0, len(texts), batch_size):
        tokens = tokenizer(list(texts[start : start + batch_size]), padding=True, return_tensors="pt")
        n_tokens = tokens["attention_mask"].sum(dim=1)
        if int(n_tokens.max()) > longest:
            text = texts[start + int(n_tokens.argmax())]
            raise ModelError(f"a text of {int(n_tokens.max())} tokens is too long, at most {longest}: {text[:40]!r}...")
        with torch.inference_mode():
            rows.append(network.get_text_features(**tokens).pooler_output)
    return torch.cat(rows)
