"""Makes keys: for ``SECRET_KEY``, ``IDLESESSION_ENCRYPTION_KEYS`` and ``IDLESESSION_CLAIMS_KEY``."""

import click


@click.command(
    "gen-key",
    epilog="\b\nExamples:\n  flask idlesession gen-key\n  flask idlesession gen-key > instance/secret_key",
)
def gen_key() -> None:
    """Print a random key of 256 bits.

    It fits SECRET_KEY, IDLESESSION_ENCRYPTION_KEYS and IDLESESSION_CLAIMS_KEY. Make one for each.
    """
    from ..model.ids import new_secret

    click.echo(new_secret().hex())
