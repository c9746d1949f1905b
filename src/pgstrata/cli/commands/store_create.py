"""``store create``: make a store on a btrfs of its own."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.store_images import SIZE, image_of, show, size_of
from pgstrata.domain.sizes import rounded

ABOUT = """
Makes a file beside DIR, called DIR.btrfs, with a btrfs in it, and mounts that on DIR, which must be
empty or not there. Only root can. On a btrfs a state is cloned in a millisecond whatever its size,
and an instance takes just what is written in it; on ext4 it takes the whole of each file it opens.

The file takes only what is used of the SIZE, and gives back what is freed. After a boot it is
mounted by the next command that starts the engine. If this command was killed, repeat it.
"""

_USAGE = "pgstrata store create DIR --size 50G"


def run(context: Context, given: Given) -> int:
    """Make the image, mount it, and say how to go on."""
    image = image_of(context, given, _USAGE)
    image.create(size_of(given, _USAGE))
    show(
        context,
        image,
        f"{image.store} has a btrfs of {rounded(image.size_bytes)} now, in {image.file}\n"
        f"use it: export PGSTRATA_STORE={image.store}",
    )
    return 0


COMMAND = Command(
    usage="store create DIR --size SIZE",
    about=ABOUT,
    options=(SIZE,),
    examples=(
        "pgstrata store create /var/lib/pgstrata --size 50G",
        "pgstrata store create /srv/ci-store --size 200GB",
    ),
    run=run,
)
