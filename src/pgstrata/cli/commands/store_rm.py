"""``store rm``: remove a store's own btrfs."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.store_images import image_of, show
from pgstrata.errors import ConflictError
from pgstrata.kinds.plugin import Option

ABOUT = """
Unmounts the btrfs of a store that `store create` made, and deletes its file, with all states and
whatever else is in the store. Its engine must have been stopped, and its instances be removed. Only
root can. If this command was killed, repeat it.
"""

_USAGE = "pgstrata store rm DIR --force"


def run(context: Context, given: Given) -> int:
    """Remove the image and its directory."""
    image = image_of(context, given, _USAGE)
    if image.exists and not given.has("--force"):
        raise ConflictError(
            f"all that is in {image.store} would be deleted, with {image.file}",
            remedy=f"if that is wanted: pgstrata store rm {image.store} --force",
        )
    image.remove()
    show(context, image, f"removed {image.file}")
    return 0


COMMAND = Command(
    usage="store rm DIR [--force]",
    about=ABOUT,
    options=(Option(("-f", "--force"), "delete what is in it"),),
    examples=(
        "pgstrata engine stop --store /srv/ci-store",
        "pgstrata store rm /srv/ci-store --force",
    ),
    run=run,
)
