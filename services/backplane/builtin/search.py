"""``web_search`` and ``document_search`` in this process: BM25 over the corpus."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from backplane.builtin.corpus import Corpus, CorpusError, open_corpus
from backplane.builtin.index import SearchIndex, open_index
from backplane.manifests.model import Reference
from backplane.providers.python import ProviderContext, Resources
from backplane.recovery.outcome import ProviderError

CORPUS: Final = Reference(env="BACKPLANE_CORPUS", file="corpus.path")
"""Where the corpus's folder is named; nowhere: the installed distributions are searched."""
RESULTS: Final = 10
EXCERPT_CHARS: Final = 4_000


def web_search(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The corpus of this platform, searched in this process."""
    folder = CORPUS.resolve(os.environ, context.data_dir)
    return answer(params, _index(folder, context.data_dir, context.resources))


def document_search(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The folder that the caller names, else the corpus of this platform."""
    folder = str(params.get("folder") or "") or CORPUS.resolve(os.environ, context.data_dir)
    return answer(params, _index(folder, context.data_dir, context.resources))


def answer(params: Mapping[str, Any], index: SearchIndex) -> dict[str, Any]:
    """The result of a search, as the capabilities' contract has it."""
    limit = int(params.get("results", RESULTS))
    hits = index.search(str(params["query"]), limit, int(params.get("excerpt_chars", EXCERPT_CHARS)))
    return {"hits": [asdict(hit) for hit in hits]}


def _index(folder: str, data_dir: Path, resources: Resources) -> SearchIndex:
    try:
        if folder:
            corpus: Corpus = open_corpus(folder)
        else:
            # what is installed does not change under a running process, and listing it takes 0.1 s
            corpus = resources.get("corpus of distributions", lambda: open_corpus(""))
    except CorpusError as error:
        raise ProviderError("invalid_request", str(error), code="no_corpus") from error
    return resources.get(f"index {corpus.fingerprint}", lambda: open_index(data_dir, corpus))
