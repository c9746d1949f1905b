"""What stdout carries with ``--output json``: one JSON document."""


def print_document(content: object) -> None:
    """Print models, or what is made of them, as JSON."""
    # Nothing that is shown to people needs it.
    from pgstrata.api.codec import ENCODER

    print(ENCODER.encode(content).decode())
