"""The output with ``--output json``: one JSON document."""


def print_document(content: object) -> None:
    """Print models, or data that contains them, as JSON."""
    # Output for people does not need it.
    from pgstrata.api.codec import encode

    print(encode(content).decode())
