"""The command ``lenslink completion``: print the script that a shell needs for completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .options import common_options

VARIABLE = "_LENSLINK_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which a shell completes lenslink's commands, options and URLs.

    \b
    Examples:
      lenslink completion bash >> ~/.bashrc
      lenslink completion zsh >> ~/.zshrc
      lenslink completion fish > ~/.config/fish/completions/lenslink.fish
    """
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "lenslink", VARIABLE).source())
