"""Texts to vectors of a fixed length: TF-IDF and a truncated SVD, or a sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kgrec.errors import KgrecError

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  #: scripts without spaces; each character is a word
TOKEN = rf"[{CJK}]|[^\W{CJK}]+"  #: a word, or one Chinese or Japanese character


def text_vectors(texts: Sequence[str | None], fitted: np.ndarray, dim: int, encoder: str = "tfidf") -> np.ndarray:
    """A vector for each text: float32 [N, dim]; zeros for a text that is None or blank. If the texts yield fewer than
    dim numbers, the rest are zeros.

    encoder: `tfidf` weights words, in any language, by how rare they are; otherwise the name or folder of a
    sentence-transformers model. fitted: bool [N], the texts that vocabulary, weights and SVD are fitted on; words that
    do not occur in them are ignored. Raises KgrecError if sentence-transformers is not installed or has no such model.
    """
    vectors = np.zeros((len(texts), dim), np.float32)
    there = np.array([text is not None and bool(text.strip()) for text in texts], bool)
    if not (there & fitted).any():
        return vectors
    known = [text for text, is_there in zip(texts, there) if text is not None and is_there]
    of_fitted = fitted[there]
    matrix = tfidf(known, of_fitted) if encoder == "tfidf" else sentence_vectors(known, encoder)
    if matrix is not None:
        found = _reduced(matrix, of_fitted, dim)
        vectors[there, : found.shape[1]] = found
    return vectors


def tfidf(texts: list[str], fitted: np.ndarray) -> Any:
    """TF-IDF weights as a sparse matrix [n, words]; each row with words has length 1. None if the fitted texts have no
    words. fitted: bool [n], the texts that words and weights are fitted on."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=TOKEN, sublinear_tf=True, dtype=np.float32)
    tokens = words.build_tokenizer()
    own = [text for text, is_fitted in zip(texts, fitted) if is_fitted]
    if not any(tokens(text) for text in own):
        return None
    return words.fit(own).transform(texts)


def sentence_vectors(texts: list[str], encoder: str) -> np.ndarray:
    """Vectors of a sentence encoder: float32 [n, the encoder's own length]. encoder: the name or folder of a
    sentence-transformers model. Raises KgrecError if sentence-transformers is not installed or has no such model."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise KgrecError(
            f"the text encoder {encoder!r} needs sentence-transformers, which is not installed; run "
            "pip install 'kgrec[text]', or use the encoder tfidf"
        ) from error
    try:
        model = SentenceTransformer(encoder)
    except (OSError, ValueError) as error:
        raise KgrecError(
            f"sentence-transformers cannot load the text encoder {encoder!r}: {error}; check the name or folder, or "
            "use the encoder tfidf"
        ) from error
    return np.asarray(model.encode(texts, convert_to_numpy=True, show_progress_bar=False), np.float32)


def _reduced(matrix: Any, fitted: np.ndarray, dim: int) -> np.ndarray:
    """The matrix with at most dim columns: unchanged if it is dense and narrow enough, otherwise projected onto the
    first right singular vectors of the fitted rows."""
    if isinstance(matrix, np.ndarray) and matrix.shape[1] <= dim:
        return matrix
    from sklearn.utils.extmath import randomized_svd

    own = matrix[np.flatnonzero(fitted)]
    _, _, directions = randomized_svd(own, min(dim, *own.shape), random_state=0)
    return np.asarray(matrix @ directions.T, np.float32)
