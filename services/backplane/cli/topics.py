"""``backplane topics``: the topic files, and the broker made to agree with them."""

from __future__ import annotations

from typing import Annotated

import typer

from backplane.cli.output import CommandError, DataDir, JsonFlag, message, print_json, print_rows

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show topics; create and check them.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be changed, and change nothing.")]


@app.callback()
def group() -> None:
    """Show topics; create and check them."""


@app.command()
def apply(dry_run: DryRun = False, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Create the topics that are missing and set properties that differ."""
    from agents_sdk.settings import load_settings
    from backplane.topics.apply import apply_topics

    changes = apply_topics(load_settings(**({"data_dir": data_dir} if data_dir else {})), dry_run)
    print_rows(("action", "name", "detail"), [(c.action, c.name, c.detail) for c in changes], as_json=as_json)
    print_changes(len(changes), "topics", dry_run=dry_run)


@app.command(name="list")
def list_topics(as_json: JsonFlag = False) -> None:
    """List the topics there are to be."""
    from agents_sdk.wire.topic_files import load_all

    rows = [(t.topic, t.role, t.record, t.key, t.retention, t.dead_letter_topic or "") for t in load_all()]
    print_rows(("topic", "role", "record", "key", "retention", "dead_letter_topic"), rows, as_json=as_json)


@app.command()
def show(topic: str, as_json: JsonFlag = False) -> None:
    """Show all that the file of one topic says; of an inbox by any agent's name."""
    import yaml

    from agents_sdk.wire.topic_files import find

    try:
        found = find(topic)
    except LookupError as error:
        raise CommandError("not_found", str(error), "`backplane topics list` shows all") from error
    data = found.model_dump(mode="json")
    if as_json:
        print_json(data)
    else:
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), end="")


@app.command()
def acls(
    agent: Annotated[str, typer.Option("--agent", help="What this agent needs, instead of the platform's parts.")] = "",
    apply_: Annotated[bool, typer.Option("--apply", help="Make those that are not there.")] = False,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Print what each user of Kafka has to be allowed, as commands of Kafka's own tool; or make it so."""
    from backplane.topics import acls as rules

    wanted = rules.agent_acls(agent) if agent else rules.acls()
    if apply_:
        from agents_sdk.settings import load_settings

        settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
        if agent:
            rules.own_topics(settings, agent)
        wanted = rules.apply(settings, wanted)
    if as_json:
        print_json([each._asdict() for each in wanted])
    else:
        print("\n".join(rules.commands(wanted)))
    print_changes(len(wanted), "acls", dry_run=not apply_)


def print_changes(count: int, what: str, *, dry_run: bool) -> None:
    """On stderr: how many changes were made, or would be."""
    if not count:
        message(f"{what}: nothing to do")
    else:
        message(f"{what}: {count} change{'s' if count > 1 else ''} {'to be made' if dry_run else 'made'}")
