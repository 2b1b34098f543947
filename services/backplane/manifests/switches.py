"""The registry as it is now, and its switches, for operators: the command line and the console."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.registry import POLICIES, STATES, Switch
from agents_sdk.errors import BackplaneError
from agents_sdk.registrar import Registrar
from backplane.manifests.publish import Unreadable, contract_of
from backplane.manifests.registry import RegisteredCapability, Registry

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

MASTER_HINT: Final = "do it where identity.master_file can be read"


class UnknownProvider(BackplaneError):
    """The capability has no provider of this name; ``fields["providers"]`` are those it has."""

    code = "not_found"


class NotSwitchable(BackplaneError):
    """There is no such switch: a provider is not paused, and a state is one of three."""

    code = "usage"


class NotBelieved(BackplaneError):
    """Executors would pass over what is written here: it cannot be signed."""

    code = "auth"


class RegistryTopics(NamedTuple):
    """The contents of the registry's topics."""

    catalogue: Catalogue
    registry: Registry
    unreadable: tuple[str, ...] = ()
    """Manifests that this release cannot read, and why; they are left out."""

    def standing(self, contract: RegisteredCapability, now: float) -> list[tuple[str, str]]:
        """(provider, why it cannot be asked; "" when it can) in declared order. ``now``: of the monotonic clock."""
        capability = contract.capability
        return [(each.name, why_not(self.catalogue, capability.name, each.name, now)) for each in capability.providers]

    def state(self, contract: RegisteredCapability, now: float) -> str:
        """enabled, disabled or paused; ``dead`` where no provider can be asked."""
        return state_of(self.registry.switch(contract.capability.name).state, self.standing(contract, now))


def read(settings: Settings, codec: Codec) -> RegistryTopics:
    """The registry as it is now. Blocks. Raises Unreachable, TopicsNotApplied, KeyUnusable."""
    from agents_sdk.follower import read_catalogue

    catalogue = read_catalogue(settings, codec)
    registry, unreadable = Registry([], catalogue), []
    for name, held in catalogue.manifests.items():
        try:
            registry.put(contract_of(held))
        except Unreadable as error:
            unreadable.append(f"manifest {name} version {held.version} cannot be read: {error}")
    return RegistryTopics(catalogue, registry, tuple(unreadable))


def why_not(catalogue: Catalogue, capability: str, provider: str, now: float) -> str:
    """Why a provider cannot be asked; empty: it can."""
    target = f"{capability}/{provider}"
    switch = catalogue.switch(capability, provider)
    if switch.state == "disabled":
        return f"disabled: {switch.reason}" if switch.reason else "disabled"
    beats = list(catalogue.living(now))
    if any(target in beat.ready for beat in beats):
        return ""
    said = [each.partition(": ")[2] for beat in beats for each in beat.lacking if each.startswith(f"{target}: ")]
    return said[0] if said else "no executor has it" if beats else "no executor lives"


def state_of(switched: str, standing: list[tuple[str, str]]) -> str:
    """A capability's state by its switch and how its providers stand."""
    return switched if switched != "enabled" or any(not why for _, why in standing) else "dead"


def switch(
    settings: Settings,
    codec: Codec,
    target: str,
    state: str,
    *,
    by: str,
    policy: str = "",
    reason: str = "",
    dry_run: bool = False,
) -> str:
    """Switches ``capability`` or ``capability/provider`` for the whole fleet, and says how it was switched before.

    ``state``: enabled, disabled, or paused with the ``policy`` wait or fail. Blocks.

    Raises:
        UnknownCapability, UnknownProvider, NotSwitchable: there is nothing of this name, or no such state of it.
        NotBelieved: it could not be signed here.
        Unreachable, TopicsNotApplied, TopicRefused, KeyUnusable: the registry takes nothing.
    """
    name, _, provider = target.partition("/")
    if state not in STATES or (state == "paused") != (policy in POLICIES):
        hint = f"it is one of {', '.join(STATES)}; paused with one of {', '.join(POLICIES)}"
        raise NotSwitchable(f"no switch says {f'{state} {policy}'.strip()!r}", hint=hint, state=state, policy=policy)
    if provider and state == "paused":
        raise NotSwitchable("a provider is not paused", hint=f"`backplane capabilities disable {target}`")
    now = read(settings, codec)
    names = [each.name for each in now.registry.get(name).capability.providers]
    if provider and provider not in names:
        hint = f"it has {', '.join(names)}"
        raise UnknownProvider(f"{name!r} has no provider {provider!r}", hint=hint, providers=names)
    before = now.registry.switch(name, provider).state
    if not dry_run:
        registrar = registrar_of(settings, codec, now.catalogue)
        at = now.catalogue.following(Switch, target, time.time_ns() // 1000)
        if state == "enabled":
            registrar.remove(Switch, target, at)
        else:
            registrar.put([Switch(target=target, state=state, policy=policy, reason=reason, set_by=by, set_at=at)])
    return before


def registrar_of(settings: Settings, codec: Codec, catalogue: Catalogue) -> Registrar:
    """The writers of the registry. Raises NotBelieved where executors would not believe it, KeyUnusable."""
    from agents_sdk.keys import Keys

    signed = any(held.record.signature for held in catalogue.manifests.values())
    if signed and Keys.of(settings).get(EXECUTOR) is None:
        raise NotBelieved(f"executors here take only what the key of {EXECUTOR!r} has signed", hint=MASTER_HINT)
    return Registrar(settings, codec)
