"""``backplane capabilities import-openapi``: drafts of manifests from an API's own description."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backplane.cli.output import CommandError, JsonFlag, message, print_json

MAX_VALUES = 2_000_000
"""Of a document in YAML: the largest that are published have some hundred thousand."""

if TYPE_CHECKING:
    from backplane.manifests.openapi import Draft, SkippedOperation

File = Annotated[str, typer.Argument(help="OpenAPI 3 document, JSON or YAML; '-' for stdin.")]
Out = Annotated[Path | None, typer.Option(help="Folder to write to, a file a capability; without it to stdout.")]
Only = Annotated[list[str] | None, typer.Option(help="Take these operations alone: operation ids or names.")]
Prefix = Annotated[str, typer.Option(help="Put before every capability's name.")]
BaseUrl = Annotated[str, typer.Option(help="Where the API is, in place of what the document says.")]


def import_openapi(
    file: File,
    out: Out = None,
    only: Only = None,
    prefix: Prefix = "",
    base_url: BaseUrl = "",
    as_json: JsonFlag = False,
) -> None:
    """Draft a manifest for each operation of an API from its OpenAPI document.

    A draft is valid as it is, and yours to finish: descriptions for agents, a price, rules for errors. An operation
    that gives no draft is listed with its reason.
    """
    from backplane.manifests.openapi import Draft, NoDocument, drafts

    try:
        made = list(drafts(_read(file), base_url=base_url, prefix=prefix))
    except NoDocument as error:
        raise CommandError("usage", f"{file}: {error}", "give an OpenAPI document of version 3.0 or 3.1") from error
    wanted = {name.lower().replace("_", "") for name in only or ()}
    if wanted:
        made = [each for each in made if isinstance(each, Draft) and _name(each).replace("_", "") in wanted]
    good = [(draft, text) for draft in made if isinstance(draft, Draft) and (text := _checked(draft)) is not None]
    for each in made:
        _print_skipped(each)
    if not good:
        raise CommandError("not_found", f"{file}: no capability can be made of it", "see the reasons above")
    if as_json:
        print_json([draft.manifest for draft, _ in good])
    elif out is None:
        print("---\n".join(text for _, text in good), end="")
    else:
        _write(out, good)


def _name(draft: Draft) -> str:
    return str(draft.manifest["name"])


def _read(file: str) -> Any:
    import json
    import sys

    import yaml

    from backplane.manifests import yaml_values

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError("not_found", f"{file!r} cannot be read: {error}") from error
    try:
        # JSON is YAML as well, and read a hundred times faster as what it is
        if text.lstrip().startswith("{"):
            return json.loads(text)
        node = yaml_values.compose(text)
        return None if node is None else yaml_values.value_of(node, MAX_VALUES)
    except yaml_values.Problem as problem:
        place = f"{file}:{problem.mark.line + 1}:{problem.mark.column + 1}"
        raise CommandError("usage", f"{place}: {problem.message}") from problem
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise CommandError("usage", f"{file!r} is neither JSON nor YAML: {error}") from error


def _checked(draft: Draft) -> str | None:
    """The draft as YAML that loads as a manifest; None, with a message, when it does not."""
    from backplane.manifests import manifest

    text = _yaml(draft.manifest)
    try:
        manifest.parse(text, _name(draft))
    except manifest.ManifestError as error:
        message(f"skipped {draft.operation}: its draft is no valid manifest: {error.message}")
        return None
    return text


def _yaml(manifest: dict[str, Any]) -> str:
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes what occurs twice twice: people edit it."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(manifest, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120)


def _print_skipped(each: Draft | SkippedOperation) -> None:
    reason = getattr(each, "reason", "")
    if reason:
        message(f"skipped {each.operation}: {reason}")


def _write(out: Path, good: list[tuple[Draft, str]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    taken = [path for draft, _ in good if (path := out / f"{_name(draft)}.yaml").exists()]
    if taken:
        raise CommandError("usage", f"{taken[0]} is there already", "remove it, or give another folder or --prefix")
    for draft, text in good:
        (out / f"{_name(draft)}.yaml").write_text(text, encoding="utf-8")
    message(
        f"{len(good)} manifests are in {out}; `backplane capabilities list` shows them once it is in capabilities.paths"
    )
