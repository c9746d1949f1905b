"""The tables of a store's database, and how each version of them is made from the one before.

A body is a whole object as JSON. A column beside a body is there to be searched by, or to change
without the body; where both say something, the column is right.
"""

Migration = tuple[str, ...]
"""Statements that raise the schema by one version."""

MIGRATIONS: tuple[Migration, ...] = (
    (
        """
        CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            signature TEXT,
            cancel_requested INTEGER NOT NULL,
            finish_number INTEGER, -- NULL until the end; grows among jobs with one signature
            body BLOB NOT NULL
        )
        """,
        "CREATE INDEX jobs_unfinished ON jobs (seq) WHERE finish_number IS NULL",
        """
        CREATE INDEX jobs_finished ON jobs (signature, finish_number)
        WHERE finish_number IS NOT NULL
        """,
        """
        CREATE TABLE tasks (
            seq INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            task_id TEXT NOT NULL,
            body BLOB NOT NULL,
            UNIQUE (job_id, task_id)
        )
        """,
        """
        CREATE TABLE events (
            job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (job_id, number)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE states (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE,
            parent_state_id TEXT REFERENCES states (state_id),
            image_id TEXT NOT NULL,
            prepare_kind TEXT NOT NULL,
            use_count INTEGER,
            last_used_at TEXT,
            body BLOB NOT NULL,
            CHECK (parent_state_id <> state_id)
        )
        """,
        "CREATE INDEX states_parent ON states (parent_state_id)",
        "CREATE INDEX states_image ON states (image_id, prepare_kind)",
        "CREATE INDEX states_kind ON states (prepare_kind)",
        """
        CREATE TABLE instances (
            seq INTEGER PRIMARY KEY,
            instance_id TEXT NOT NULL UNIQUE,
            state_id TEXT NOT NULL REFERENCES states (state_id),
            image_id TEXT NOT NULL,
            name TEXT UNIQUE,
            body BLOB NOT NULL
        )
        """,
        "CREATE INDEX instances_state ON instances (state_id)",
        "CREATE INDEX instances_image ON instances (image_id)",
    ),
)
"""A database of version N has had the first N of these. What was released is never edited."""
