"""The tables of a store's database, and how each version of them is made from the one before.

A body is a whole object as JSON. A column beside a body is for searching, or may change without
the body; if both have a value, the column's is the right one.
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
    (
        # An index gives the states that may be evicted, in order: so each row has the number of its
        # dependents, and what its loss would cost. Triggers do the counting, since code in two
        # places would differ one day.
        "ALTER TABLE states ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE states ADD COLUMN created REAL NOT NULL DEFAULT 0",  # seconds since the epoch
        "ALTER TABLE states ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE states ADD COLUMN worth REAL NOT NULL DEFAULT 0",
        "ALTER TABLE states ADD COLUMN dependents INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE instances ADD COLUMN expires REAL",
        # How long an old state took to build is not known: all count the same, older ones less.
        """
        UPDATE states SET
            created = strftime('%s', json_extract(CAST(body AS TEXT), '$.created_at')),
            size_bytes = COALESCE(json_extract(CAST(body AS TEXT), '$.size_bytes'), 0),
            dependents = (SELECT COUNT(*) FROM states child
                          WHERE child.parent_state_id = states.state_id)
                       + (SELECT COUNT(*) FROM instances WHERE instances.state_id = states.state_id)
        """,
        "UPDATE states SET worth = created / 86400 - 22",
        """
        UPDATE instances SET
            expires = strftime('%s', json_extract(CAST(body AS TEXT), '$.expires_at'))
        """,
        "CREATE INDEX states_evictable ON states (worth) WHERE dependents = 0 AND pinned = 0",
        "CREATE INDEX states_pinned ON states (state_id) WHERE pinned = 1",
        "CREATE INDEX states_created ON states (created)",
        "CREATE INDEX instances_expires ON instances (expires) WHERE expires IS NOT NULL",
        "CREATE TABLE state_totals (states INTEGER NOT NULL, size_bytes INTEGER NOT NULL)",
        "INSERT INTO state_totals SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM states",
        """
        CREATE TRIGGER state_added AFTER INSERT ON states BEGIN
            UPDATE state_totals SET states = states + 1, size_bytes = size_bytes + NEW.size_bytes;
            UPDATE states SET dependents = dependents + 1 WHERE state_id = NEW.parent_state_id;
        END
        """,
        """
        CREATE TRIGGER state_removed AFTER DELETE ON states BEGIN
            UPDATE state_totals SET states = states - 1, size_bytes = size_bytes - OLD.size_bytes;
            UPDATE states SET dependents = dependents - 1 WHERE state_id = OLD.parent_state_id;
        END
        """,
        """
        CREATE TRIGGER state_resized AFTER UPDATE OF size_bytes ON states BEGIN
            UPDATE state_totals SET size_bytes = size_bytes + NEW.size_bytes - OLD.size_bytes;
        END
        """,
        """
        CREATE TRIGGER state_moved AFTER UPDATE OF parent_state_id ON states
        WHEN NEW.parent_state_id IS NOT OLD.parent_state_id BEGIN
            UPDATE states SET dependents = dependents - 1 WHERE state_id = OLD.parent_state_id;
            UPDATE states SET dependents = dependents + 1 WHERE state_id = NEW.parent_state_id;
        END
        """,
        """
        CREATE TRIGGER instance_added AFTER INSERT ON instances BEGIN
            UPDATE states SET dependents = dependents + 1 WHERE state_id = NEW.state_id;
        END
        """,
        """
        CREATE TRIGGER instance_removed AFTER DELETE ON instances BEGIN
            UPDATE states SET dependents = dependents - 1 WHERE state_id = OLD.state_id;
        END
        """,
        # Its one row is the last eviction.
        "CREATE TABLE last_eviction (row INTEGER PRIMARY KEY CHECK (row = 1), body BLOB NOT NULL)",
    ),
    (
        # An error's remedy was a field of its own, beside the tool's message, and has become the
        # first line of details. A body that is not JSON is left for its reader to report.
        *(
            statement.replace("every_body", table)
            for table in ("jobs", "events")
            for statement in (
                """
                UPDATE every_body SET body = CAST(json_set(
                    CAST(body AS TEXT),
                    '$.error.details',
                    char(10) || json_extract(CAST(body AS TEXT), '$.error.details')
                ) AS BLOB)
                WHERE CASE WHEN json_valid(CAST(body AS TEXT))
                    THEN json_extract(CAST(body AS TEXT), '$.error.details') END IS NOT NULL
                """,
                """
                UPDATE every_body SET body = CAST(json_remove(json_set(
                    CAST(body AS TEXT),
                    '$.error.details',
                    replace(json_extract(CAST(body AS TEXT), '$.error.remedy'), char(10), ' ')
                    || COALESCE(
                        char(10) || json_extract(CAST(body AS TEXT), '$.error.details'), '')
                ), '$.error.remedy') AS BLOB)
                WHERE CASE WHEN json_valid(CAST(body AS TEXT))
                    THEN json_extract(CAST(body AS TEXT), '$.error.remedy') END IS NOT NULL
                """,
            )
        ),
        # A server has become an endpoint and a handle, which contains the earlier fields as text.
        # A body that is not JSON is left for its reader to report.
        """
        UPDATE instances SET body = (
            WITH old (body, pid, data_dir, password) AS (
                SELECT
                    CAST(instances.body AS TEXT),
                    json_extract(CAST(instances.body AS TEXT), '$.server.pid'),
                    json_extract(CAST(instances.body AS TEXT), '$.server.data_dir'),
                    -- postgresql://postgres:PASSWORD@…; it was made of hexadecimal digits.
                    substr(dsn, 23, instr(dsn, '@') - 23)
                FROM (SELECT json_extract(CAST(instances.body AS TEXT), '$.dsn') AS dsn)
            )
            SELECT CAST(json_remove(
                json_set(
                    body,
                    '$.server',
                    json_object(
                        'endpoint', json_object(
                            'host', json_extract(body, '$.server.host'),
                            'port', json_extract(body, '$.server.port'),
                            'socket_dir', json_extract(body, '$.server.socket_dir'),
                            'user', 'postgres',
                            'password', password,
                            'database', 'postgres'
                        ),
                        'runtime_id', CAST(pid AS TEXT),
                        'title', 'the server on ' || data_dir,
                        'log', substr(data_dir, 1, length(data_dir) - length('data'))
                            || 'server.log',
                        'handle', '' || json_object(
                            'pid', pid,
                            'started', json_extract(body, '$.server.started'),
                            'image_id', json_extract(body, '$.server.image_id'),
                            'data_dir', data_dir,
                            'birth', json_extract(body, '$.server.birth')
                        )
                    )
                ),
                '$.dsn'
            ) AS BLOB)
            FROM old
        )
        WHERE json_valid(CAST(body AS TEXT))
        """,
        # What is being built (a state's id, or an image's for its base), and by which engine.
        "CREATE TABLE build_leases (item TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID",
        # A request's fields of its kind's own moved from among the other fields into `fields`. A
        # body that is not JSON is left for its reader to report.
        """
        UPDATE jobs SET body = CAST(
            json_set(
                json_remove(
                    CAST(body AS TEXT),
                    '$.request.psql_args', '$.request.liquibase_args', '$.request.liquibase_exec',
                    '$.request.liquibase_exec_mode', '$.request.liquibase_env'
                ),
                '$.request.fields',
                (
                    SELECT json_group_object(
                        key, json(CASE type WHEN 'text' THEN json_quote(value) ELSE value END)
                    )
                    FROM json_each(CAST(body AS TEXT), '$.request')
                    WHERE key IN (
                        'psql_args', 'liquibase_args', 'liquibase_exec', 'liquibase_exec_mode',
                        'liquibase_env'
                    )
                )
            ) AS BLOB
        )
        WHERE CASE WHEN json_valid(CAST(body AS TEXT))
            THEN json_type(CAST(body AS TEXT), '$.request') = 'object' END
        """,
        # What states were made of, to be compared with what must be built. Not in their rows,
        # which lists read. The newest have the highest numbers.
        """
        CREATE TABLE state_steps (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE REFERENCES states (state_id) ON DELETE CASCADE,
            start TEXT NOT NULL, -- a state's id, or an image's
            from_image INTEGER NOT NULL,
            kind TEXT NOT NULL,
            title TEXT NOT NULL,
            digest TEXT NOT NULL,
            body BLOB NOT NULL
        )
        """,
        "CREATE INDEX state_steps_alike ON state_steps (start, kind, title)",
        "CREATE INDEX state_steps_siblings ON state_steps (start, kind)",
        "CREATE INDEX state_steps_first ON state_steps (digest) WHERE from_image = 1",
        # Why the latest removed states were removed.
        """
        CREATE TABLE removed_states (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE,
            body BLOB NOT NULL
        )
        """,
    ),
    (
        # Names outlive their instances, with the port that belongs to each.
        """
        CREATE TABLE names (
            name TEXT PRIMARY KEY,
            port INTEGER NOT NULL,
            used REAL NOT NULL, -- seconds since the epoch
            body BLOB NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX names_used ON names (used, name, port)",
        """
        INSERT INTO names (name, port, used, body)
        SELECT
            name,
            json_extract(CAST(body AS TEXT), '$.server.endpoint.port'),
            COALESCE(strftime('%s', json_extract(CAST(body AS TEXT), '$.created_at')), 0),
            CAST(json_object(
                'name', name,
                'image_id', image_id,
                'state_id', state_id,
                'address', json_object(
                    'port', json_extract(CAST(body AS TEXT), '$.server.endpoint.port'),
                    'password', json_extract(CAST(body AS TEXT), '$.server.endpoint.password')
                ),
                'last_used_at', json_extract(CAST(body AS TEXT), '$.created_at')
            ) AS BLOB)
        FROM instances
        WHERE name IS NOT NULL AND json_valid(CAST(body AS TEXT))
        """,
    ),
    (
        # How much a finished job takes and when it finished, so that the oldest can go. The numbers
        # now count all finished jobs, not only those with one signature.
        "ALTER TABLE jobs ADD COLUMN finished REAL",  # seconds since the epoch
        "ALTER TABLE jobs ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0",
        """
        UPDATE jobs SET
            finished = COALESCE(
                CASE WHEN json_valid(CAST(body AS TEXT))
                    THEN strftime('%s', json_extract(CAST(body AS TEXT), '$.finished_at')) END,
                0
            ),
            size_bytes = LENGTH(body)
                + (SELECT COALESCE(SUM(LENGTH(body)), 0) FROM tasks
                   WHERE tasks.job_id = jobs.job_id)
                + (SELECT COALESCE(SUM(LENGTH(body)), 0) FROM events
                   WHERE events.job_id = jobs.job_id)
        WHERE finish_number IS NOT NULL
        """,
        """
        UPDATE jobs SET finish_number = ordered.place
        FROM (
            SELECT seq, ROW_NUMBER() OVER (ORDER BY finished, finish_number, seq) AS place
            FROM jobs WHERE finish_number IS NOT NULL
        ) AS ordered
        WHERE jobs.seq = ordered.seq
        """,
        """
        CREATE INDEX jobs_history ON jobs (finish_number, finished, size_bytes, job_id)
        WHERE finish_number IS NOT NULL
        """,
        # States have names, too. That none is an instance's as well is seen to by the store.
        "ALTER TABLE states ADD COLUMN name TEXT",
        "CREATE UNIQUE INDEX states_name ON states (name) WHERE name IS NOT NULL",
    ),
    (
        # A warm server had an id before anybody asked for it, so ids do not follow from jobs.
        "ALTER TABLE instances ADD COLUMN job_id TEXT",
        "CREATE INDEX instances_job ON instances (job_id) WHERE job_id IS NOT NULL",
        # How many servers somebody wants to have waiting for each state.
        "ALTER TABLE states ADD COLUMN warm INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX states_warm ON states (state_id) WHERE warm > 0",
        # A page of a job's tasks is read without sorting all of them.
        "CREATE INDEX tasks_in_order ON tasks (job_id, seq)",
        # The standard input of a job's request, which may be large, until the job has ended.
        """
        CREATE TABLE standard_inputs (
            job_id TEXT PRIMARY KEY REFERENCES jobs (job_id) ON DELETE CASCADE,
            text TEXT NOT NULL
        )
        """,
    ),
    (
        # Not every step leaves a state of its own. What the others did is in a later state, and
        # what they were made of is known as long as that one is.
        """
        CREATE TABLE step_records (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE, -- of which there may be no row
            kept_in TEXT NOT NULL REFERENCES states (state_id) ON DELETE CASCADE,
            start TEXT NOT NULL, -- a state's id, or an image's
            from_image INTEGER NOT NULL,
            kind TEXT NOT NULL,
            title TEXT NOT NULL,
            digest TEXT NOT NULL,
            body BLOB NOT NULL
        )
        """,
        """
        INSERT INTO step_records
        SELECT seq, state_id, state_id, start, from_image, kind, title, digest, body
        FROM state_steps
        """,
        "DROP TABLE state_steps",
        "CREATE INDEX step_records_kept ON step_records (kept_in)",
        "CREATE INDEX step_records_alike ON step_records (start, kind, title)",
        "CREATE INDEX step_records_siblings ON step_records (start, kind)",
        "CREATE INDEX step_records_first ON step_records (digest) WHERE from_image = 1",
    ),
)
"""A database of version N has had the first N of these. A released one is never edited."""
