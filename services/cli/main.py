"""``plumbline``: global options, the list of commands, and how a fault is told."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from typer._click.exceptions import ClickException

from deploy.local.home import Home
from services.cli import demo, discrepancies, ingest, mappings, platform, quarantine, rate, statement, tail, tenants
from services.cli.faults import Exit, Fault
from services.cli.frame import Frame, enter
from services.cli.output import Output
from services.cli.reconcile.command import reconcile

app = typer.Typer(
    name="plumbline",
    help="Billing reconciliation that can be replayed and proved.",
    epilog="Global options may stand anywhere. Exit: 0 done, 1 difference, 2 usage, 3 unreachable, 4 not allowed,"
    " 5 quarantined, 6 no such thing, 7 not yet comparable, 8 could not be checked, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(reconcile)
app.command()(platform.up)
app.command()(platform.down)
app.command()(platform.status)
app.command()(demo.demo)
app.add_typer(tenants.tenants, name="tenants")
app.add_typer(tenants.keys, name="keys")
app.add_typer(tenants.settings, name="settings")
app.add_typer(ingest.app, name="ingest")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(mappings.app, name="mappings")
app.add_typer(discrepancies.app, name="discrepancies")
app.command()(discrepancies.explain)
app.add_typer(statement.app, name="statement")
app.command()(rate.rate)
app.command()(tail.tail)

_FLAGS = {"--json", "--ndjson", "--quiet", "-q", "--verbose", "-v", "--plain", "--no-color", "--yes"}
_VALUED = {"--tenant"}


@app.callback()
def options(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    as_lines: Annotated[bool, typer.Option("--ndjson", help="Lists as one JSON object a line.")] = False,
    tenant: Annotated[
        str | None, typer.Option("--tenant", envvar="PLUMBLINE_TENANT", help="Act for this tenant.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no hints.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="No colour and no bars.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour (as NO_COLOR).")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a write.")] = False,
) -> None:
    out = Output(as_json, as_lines, quiet, verbose, plain, no_color)
    enter(Frame(out, Home.named(), tenant, yes))


def hoist(arguments: list[str]) -> list[str]:
    """Bring global options to the front, so that they may stand anywhere before a ``--``."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in _FLAGS or argument.partition("=")[0] in _VALUED:
            front.append(argument)
            if argument in _VALUED:
                front += [value for value in [next(remaining, None)] if value is not None]
        else:
            rest.append(argument)
    return front + rest


def main() -> None:
    """The entry point of ``.venv/bin/plumbline``."""
    arguments = hoist(sys.argv[1:])
    as_json = "--json" in arguments or "--ndjson" in arguments
    try:
        sys.exit(app(arguments, prog_name="plumbline", standalone_mode=False))
    except Fault as fault:
        _tell(fault, as_json)
        sys.exit(fault.exit)
    except ClickException as error:
        # With standalone_mode the framework would tell it by itself, as text whatever --json says.
        if as_json:
            _tell(Fault(error.format_message(), fix="the command with --help"), as_json)
        else:
            error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(Exit.INTERRUPTED)
    except OSError as error:  # a file or folder that a command could not use
        _tell(Fault(error.strerror or str(error), where=error.filename), as_json)
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


def _tell(fault: Fault, as_json: bool) -> None:
    parts = fault.parts()
    if as_json:
        text = json.dumps(parts, ensure_ascii=False)
    else:
        text = "\n".join(f"{name}: {said}" if name == "error" else f"  {name}: {said}" for name, said in parts.items())
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
