"""``store resize``: make a store's own btrfs larger or smaller."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.store_images import SIZE, image_of, show, size_of
from pgstrata.domain.sizes import rounded

ABOUT = """
Changes the size of a store that `store create` made, while it is used: the engine and the instances
go on. It can become as small as what is in it allows. Only root can. If this command was
killed, repeat it.
"""

_USAGE = "pgstrata store resize DIR --size 80G"


def run(context: Context, given: Given) -> int:
    """Change the size, and say what it is."""
    image = image_of(context, given, _USAGE)
    image.resize(size_of(given, _USAGE))
    show(context, image, f"{image.store} has a btrfs of {rounded(image.size_bytes)} now")
    return 0


COMMAND = Command(
    usage="store resize DIR --size SIZE",
    about=ABOUT,
    options=(SIZE,),
    examples=("pgstrata store resize /var/lib/pgstrata --size 80G",),
    run=run,
)
