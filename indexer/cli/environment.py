"""Options that are given as environment variables: INDEXER_MAX_WAIT for --max-wait."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

PREFIX = "INDEXER_"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# Kubernetes gives each pod the address of a Service named indexer as INDEXER_PORT (services, environment variables).
OF_A_SERVICE = re.compile(r"(?:tcp|udp|sctp)://")
# What is given in one way on the command line counts, whatever a variable says of the other.
ALTERNATIVES: tuple[dict[str, Any], ...] = (
    {"database_url": (), "urls_from": None},
    {"schemas": (), "pattern": None},
    {"as_json": False, "as_sql": False},
    {"no_wait": False, "wait_lock": None},
)


class Option(click.Option):
    """An option that a variable can give: INDEXER_UP_MAX_WAIT for ``up``, or else INDEXER_MAX_WAIT for each command.

    Args:
        is_consent: it allows one run to do more than usual, so no variable gives it, which would allow it to all runs.
        has_variable: whether there is a variable.
    """

    def __init__(self, *names: Any, is_consent: bool = False, has_variable: bool = True, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.is_consent = is_consent
        self.has_variable = has_variable and not self.hidden

    @property
    def typed(self) -> str:
        """The option as it is typed."""
        return self.opts[0]

    def variables(self, command: str) -> tuple[str, ...]:
        """Return its variables for a command; the first that is set counts."""
        if not self.has_variable:
            return ()
        name = self.typed.removeprefix("--").replace("-", "_").upper()
        return f"{PREFIX}{command.upper()}_{name}", f"{PREFIX}{name}"

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value that a variable gives it; None if none does.

        Raises:
            BadParameter: it is a flag, and the value is neither true nor false, or it must be typed.
        """
        variable = self._variable(ctx)
        value = os.environ[variable] if variable else None
        if value is None or not self.is_flag:
            return value
        if value.strip().lower() in FALSE:
            return None
        if self.is_consent and not ctx.resilient_parsing:
            message = f"a variable would allow every run what {self.typed} allows one. Unset it, and type {self.typed}."
            raise click.BadParameter(message, ctx, self, f"'{variable}'")
        if value.strip().lower() not in TRUE and not ctx.resilient_parsing:
            raise click.BadParameter(f"{value!r} is neither true nor false.", ctx, self, f"'{variable}'")
        return TRUE[0]

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the value; of an option that can be repeated several, with blanks between them."""
        value = self.resolve_envvar_value(ctx)
        if value is None or not self.multiple:
            return value
        try:
            return shlex.split(value)
        except ValueError as error:  # a quote that is not closed
            raise click.BadParameter(f"{error}.", ctx, self, f"'{self._variable(ctx)}'") from None

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return the option, or the variable that gave its value, for an error."""
        is_set = ctx and self.name and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT
        return f"'{self._variable(ctx)}'" if ctx and is_set else super().get_error_hint(ctx)

    def _variable(self, ctx: click.Context) -> str | None:
        """Return the variable that gives its value; None if none is set, or only to the address of a Service."""
        for variable in self.variables(ctx.info_name or ""):
            value = os.environ.get(variable)
            if value and not OF_A_SERVICE.match(value):
                return variable
        return None


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Return an option, as Click's of the same name."""
    return click.option(*names, cls=Option, **settings)


def is_set(name: str) -> bool:
    """Return whether the variable for a flag says so, before options are read."""
    return os.environ.get(f"{PREFIX}{name}", "").strip().lower() in TRUE


def typed_first(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values without those of variables to which what was typed is an alternative."""
    left_out: dict[str, Any] = {}
    for alternatives in ALTERNATIVES:
        sources = {name: ctx.get_parameter_source(name) for name in alternatives if name in given}
        if ParameterSource.COMMANDLINE in sources.values():
            from_variables = [name for name, source in sources.items() if source is ParameterSource.ENVIRONMENT]
            left_out.update((name, alternatives[name]) for name in from_variables)
    return {**given, **left_out}
