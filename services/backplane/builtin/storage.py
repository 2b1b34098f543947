"""``file_storage`` in any store that obstore reaches: a folder of the data directory, S3, Google Cloud, Azure.

Keys are paths without ``..``, empty parts or control characters; obstore itself refuses those. Every operation may be
done twice: putting the same again changes nothing. That there is no file is an answer, not an error.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore

from agents_sdk.artifacts import open_folder, open_store, words_of
from backplane.manifests.model import Reference
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Blob, ProviderError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

STORE: Final = Reference(env="BACKPLANE_FILES_URL", file="files.url")
"""Where the store's URL is; nowhere: ``files`` below the data directory."""
TEXT_BYTES: Final = 64 * 1024
"""A text file up to this size is given as text besides; agents need not fetch what they can read at once."""
UNKNOWN_KIND: Final = "application/octet-stream"


def file_storage(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """Does the operation. Raises ProviderError: invalid_request for a key that is taken or is no path."""
    url = STORE.resolve(os.environ, context.data_dir)
    store = context.resources.get(
        f"files {url}", lambda: open_store(url) if url else open_folder(context.data_dir / "files")
    )
    key = str(params.get("key") or "")
    try:
        return OPERATIONS[str(params["operation"])](store, key, params, context)
    except FileNotFoundError:
        return {"key": key, "found": False}
    except AlreadyExistsError as error:
        message = f"the key {key!r} is taken; put it elsewhere, or without if_absent"
        raise ProviderError("invalid_request", message, code="exists") from error
    except ValueError as error:
        raise ProviderError("invalid_request", f"{key!r} is no key: {words_of(error)}", code="bad_key") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ProviderError("auth", f"the store refuses our credentials: {words_of(error)}") from error
    except (BaseError, OSError) as error:
        raise ProviderError(
            "outage", f"the store cannot be used: {words_of(error)}", code="store_unreachable"
        ) from error


def _put(store: ObjectStore, key: str, params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    artifact = params.get("artifact")
    content = context.artifacts.get(artifact["uri"]) if artifact else str(params["text"]).encode()
    mime = str(params.get("mime") or (artifact or {}).get("mime") or _kind(key, "text/plain" if not artifact else ""))
    # a folder has no room for the kind of file, and obstore refuses it there
    attributes: Any = None if _is_folder(store) else {"Content-Type": mime}
    mode: Any = "create" if params.get("if_absent") else "overwrite"
    done = obstore.put(store, key, content, attributes=attributes, mode=mode)
    return {"key": key, "size": len(content), "mime": mime, "etag": _etag(done)}


def _get(store: ObjectStore, key: str, params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    found = obstore.get(store, key)
    mime = str(found.attributes.get("Content-Type") or _kind(key))
    about = {"found": True, **_about(found.meta)}
    content = bytes(found.bytes())
    if len(content) <= TEXT_BYTES and mime.startswith(("text/", "application/json")):
        about["text"] = content.decode("utf-8", errors="replace")
    return {**about, "mime": mime, "artifact": Blob(content, mime)}


def _head(store: ObjectStore, key: str, params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    return {"found": True, **_about(obstore.head(store, key)), "mime": _kind(key)}


def _list(store: ObjectStore, key: str, params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    limit = int(params.get("limit", 100))
    found: list[ObjectMeta] = []
    for page in obstore.list(store, prefix=str(params.get("prefix") or "") or None):
        found.extend(page)
        # buckets list by key; folders in the order of the disk, so all of one is read before any is left out
        if len(found) > limit and not _is_folder(store):
            break
    found.sort(key=lambda meta: meta["path"])
    return {"files": [_about(meta) for meta in found[:limit]], "truncated": len(found) > limit}


def _delete(store: ObjectStore, key: str, params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return {"key": key, "deleted": False}
    obstore.delete(store, key)
    return {"key": key, "deleted": True}


OPERATIONS: Final[dict[str, Callable[[ObjectStore, str, Mapping[str, Any], ProviderContext], dict[str, Any]]]] = {
    "put": _put,
    "get": _get,
    "head": _head,
    "list": _list,
    "delete": _delete,
}


def _is_folder(store: ObjectStore) -> bool:
    return isinstance(store, LocalStore)


def _about(meta: ObjectMeta) -> dict[str, Any]:
    modified_at = meta["last_modified"].isoformat()
    return {"key": meta["path"], "size": meta["size"], "etag": _etag(meta), "modified_at": modified_at}


def _etag(meta: Mapping[str, Any]) -> str:
    return str(meta.get("e_tag") or "").strip('"')


def _kind(key: str, default: str = "") -> str:
    return mimetypes.guess_type(key)[0] or default or UNKNOWN_KIND
