PRAGMA user_version = 6;
BEGIN TRANSACTION;
CREATE TABLE build_leases (item TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
            job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (job_id, number)
        ) WITHOUT ROWID
        ;
INSERT INTO "events" VALUES('00000000000000000000000000000001',0,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"queued"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000001',1,CAST('{"type":"status","ts":"2025-05-01T12:00:01Z","status":"running"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000001',2,CAST('{"type":"task","ts":"2025-05-01T12:00:01Z","task_id":"plan","status":"running","message":"plan the steps"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000001',3,CAST('{"type":"task","ts":"2025-05-01T12:00:02Z","task_id":"plan","status":"succeeded","message":"plan the steps"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000001',4,CAST('{"type":"task","ts":"2025-05-01T12:00:03Z","task_id":"prepare-instance","status":"succeeded","message":"start an instance"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000001',5,CAST('{"type":"result","ts":"2025-05-01T12:00:03Z","result":{"dsn":"postgresql://x","instance_id":"00000000000000000000000000000007","state_id":"0000000000000000000000000000000000000000000000000000000000000001","image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","prepare_kind":"psql","prepare_args_normalized":"-f 1.sql"}}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000001',6,CAST('{"type":"status","ts":"2025-05-01T12:00:03Z","status":"succeeded"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000002',0,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"queued"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000002',1,CAST('{"type":"status","ts":"2025-05-01T12:00:01Z","status":"running"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000002',2,CAST('{"type":"task","ts":"2025-05-01T12:00:01Z","task_id":"plan","status":"running","message":"plan the steps"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000002',3,CAST('{"type":"task","ts":"2025-05-01T12:00:02Z","task_id":"plan","status":"succeeded","message":"plan the steps"}' AS BLOB));
INSERT INTO "events" VALUES('00000000000000000000000000000002',4,CAST('{"type":"log","ts":"2025-05-01T12:00:03Z","task_id":"execute-0","message":"it''s on its way"}' AS BLOB));
INSERT INTO "events" VALUES('11111111ffffffffffffffffffffffff',0,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"queued"}' AS BLOB));
INSERT INTO "events" VALUES('11111111ffffffffffffffffffffffff',1,CAST('{"type":"log","ts":"2025-05-01T12:00:00Z","task_id":"execute-0","message":"a \"remedy\""}' AS BLOB));
INSERT INTO "events" VALUES('11111111ffffffffffffffffffffffff',2,CAST('{"type":"error","ts":"2025-05-01T12:00:00Z","error":{"code":"step_failed","message":"psql failed at `-f seed.sql`","details":"correct seed.sql, line 1, and prepare again\n\nERROR:  relation \"nowhere\" does not exist\nLINE 1: select * from nowhere"}}' AS BLOB));
INSERT INTO "events" VALUES('11111111ffffffffffffffffffffffff',3,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"failed"}' AS BLOB));
INSERT INTO "events" VALUES('22222222ffffffffffffffffffffffff',0,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"queued"}' AS BLOB));
INSERT INTO "events" VALUES('22222222ffffffffffffffffffffffff',1,CAST('{"type":"log","ts":"2025-05-01T12:00:00Z","task_id":"execute-0","message":"a \"remedy\""}' AS BLOB));
INSERT INTO "events" VALUES('22222222ffffffffffffffffffffffff',2,CAST('{"type":"error","ts":"2025-05-01T12:00:00Z","error":{"code":"program_failed","message":"`psql --version` ended with exit code 1","details":"\nit said ''no''"}}' AS BLOB));
INSERT INTO "events" VALUES('22222222ffffffffffffffffffffffff',3,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"failed"}' AS BLOB));
INSERT INTO "events" VALUES('33333333ffffffffffffffffffffffff',0,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"queued"}' AS BLOB));
INSERT INTO "events" VALUES('33333333ffffffffffffffffffffffff',1,CAST('{"type":"log","ts":"2025-05-01T12:00:00Z","task_id":"execute-0","message":"a \"remedy\""}' AS BLOB));
INSERT INTO "events" VALUES('33333333ffffffffffffffffffffffff',2,CAST('{"type":"error","ts":"2025-05-01T12:00:00Z","error":{"code":"unreadable_job","message":"the job cannot go on","details":"prepare again"}}' AS BLOB));
INSERT INTO "events" VALUES('33333333ffffffffffffffffffffffff',3,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"failed"}' AS BLOB));
INSERT INTO "events" VALUES('44444444ffffffffffffffffffffffff',0,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"queued"}' AS BLOB));
INSERT INTO "events" VALUES('44444444ffffffffffffffffffffffff',1,CAST('{"type":"log","ts":"2025-05-01T12:00:00Z","task_id":"execute-0","message":"a \"remedy\""}' AS BLOB));
INSERT INTO "events" VALUES('44444444ffffffffffffffffffffffff',2,CAST('{"type":"error","ts":"2025-05-01T12:00:00Z","error":{"code":"cancelled","message":"the job was cancelled"}}' AS BLOB));
INSERT INTO "events" VALUES('44444444ffffffffffffffffffffffff',3,CAST('{"type":"status","ts":"2025-05-01T12:00:00Z","status":"failed"}' AS BLOB));
CREATE TABLE instances (
            seq INTEGER PRIMARY KEY,
            instance_id TEXT NOT NULL UNIQUE,
            state_id TEXT NOT NULL REFERENCES states (state_id),
            image_id TEXT NOT NULL,
            name TEXT UNIQUE,
            body BLOB NOT NULL
        , expires REAL, job_id TEXT);
INSERT INTO "instances" VALUES(1,'00000000000000000000000000000007','0000000000000000000000000000000000000000000000000000000000000002','postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111','shop',CAST('{"instance_id":"00000000000000000000000000000007","image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","state_id":"0000000000000000000000000000000000000000000000000000000000000002","name":"shop","created_at":"2025-05-01T13:00:00Z","expires_at":"2025-05-01T14:00:00Z","server":{"endpoint":{"host":"127.0.0.1","port":40000,"socket_dir":"/store/run","user":"postgres","password":"secret","database":"postgres"},"runtime_id":"4711","title":"the server on /store/instances/00000000000000000000000000000007/data","log":"/store/instances/00000000000000000000000000000007/server.log","handle":"{\"pid\":4711,\"started\":1746100800.25,\"image_id\":\"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111\",\"data_dir\":\"/store/instances/00000000000000000000000000000007/data\",\"birth\":null}"}}' AS BLOB),1746108000.0,'00000000000000000000000000000001');
CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            signature TEXT,
            cancel_requested INTEGER NOT NULL,
            finish_number INTEGER, -- NULL until the end; grows among jobs with one signature
            body BLOB NOT NULL
        , finished REAL, size_bytes INTEGER NOT NULL DEFAULT 0);
INSERT INTO "jobs" VALUES(1,'00000000000000000000000000000001','succeeded','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',0,5,CAST('{"job_id":"00000000000000000000000000000001","status":"succeeded","request":{"prepare_kind":"psql","image_id":"postgres","work_dir":"/recipes","fields":{"psql_args":["-f","1.sql"]}},"prepare_args_normalized":"-f 1.sql","created_at":"2025-05-01T12:00:00Z","started_at":"2025-05-01T12:00:01Z","finished_at":"2025-05-01T12:00:03Z","resolved_image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","signature":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","result":{"dsn":"postgresql://x","instance_id":"00000000000000000000000000000007","state_id":"0000000000000000000000000000000000000000000000000000000000000001","image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","prepare_kind":"psql","prepare_args_normalized":"-f 1.sql"}}' AS BLOB),1746100803.0,2530);
INSERT INTO "jobs" VALUES(2,'00000000000000000000000000000002','running','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',0,NULL,CAST('{"job_id":"00000000000000000000000000000002","status":"running","request":{"prepare_kind":"psql","image_id":"postgres","work_dir":"/recipes","fields":{"psql_args":["-f","1.sql"]}},"prepare_args_normalized":"-f 1.sql","created_at":"2025-05-01T12:00:00Z","started_at":"2025-05-01T12:00:01Z","resolved_image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","signature":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"}' AS BLOB),NULL,0);
INSERT INTO "jobs" VALUES(3,'11111111ffffffffffffffffffffffff','failed',NULL,0,1,CAST('{"job_id":"11111111ffffffffffffffffffffffff","status":"failed","request":{"prepare_kind":"psql","image_id":"postgres","fields":{"psql_args":["-f","seed.sql"]}},"prepare_args_normalized":"-f seed.sql","created_at":"2025-05-01T12:00:00Z","started_at":"2025-05-01T12:00:00Z","finished_at":"2025-05-01T12:00:00Z","error":{"code":"step_failed","message":"psql failed at `-f seed.sql`","details":"correct seed.sql, line 1, and prepare again\n\nERROR:  relation \"nowhere\" does not exist\nLINE 1: select * from nowhere"}}' AS BLOB),1746100800.0,980);
INSERT INTO "jobs" VALUES(4,'22222222ffffffffffffffffffffffff','failed',NULL,0,2,CAST('{"job_id":"22222222ffffffffffffffffffffffff","status":"failed","request":{"prepare_kind":"psql","image_id":"postgres","fields":{"psql_args":["-f","seed.sql"]}},"prepare_args_normalized":"-f seed.sql","created_at":"2025-05-01T12:00:00Z","started_at":"2025-05-01T12:00:00Z","finished_at":"2025-05-01T12:00:00Z","error":{"code":"program_failed","message":"`psql --version` ended with exit code 1","details":"\nit said ''no''"}}' AS BLOB),1746100800.0,794);
INSERT INTO "jobs" VALUES(5,'33333333ffffffffffffffffffffffff','failed',NULL,0,3,CAST('{"job_id":"33333333ffffffffffffffffffffffff","status":"failed","request":{"prepare_kind":"psql","image_id":"postgres","fields":{"psql_args":["-f","seed.sql"]}},"prepare_args_normalized":"-f seed.sql","created_at":"2025-05-01T12:00:00Z","started_at":"2025-05-01T12:00:00Z","finished_at":"2025-05-01T12:00:00Z","error":{"code":"unreadable_job","message":"the job cannot go on","details":"prepare again"}}' AS BLOB),1746100800.0,754);
INSERT INTO "jobs" VALUES(6,'44444444ffffffffffffffffffffffff','failed',NULL,0,4,CAST('{"job_id":"44444444ffffffffffffffffffffffff","status":"failed","request":{"prepare_kind":"psql","image_id":"postgres","fields":{"psql_args":["-f","seed.sql"]}},"prepare_args_normalized":"-f seed.sql","created_at":"2025-05-01T12:00:00Z","started_at":"2025-05-01T12:00:00Z","finished_at":"2025-05-01T12:00:00Z","error":{"code":"cancelled","message":"the job was cancelled"}}' AS BLOB),1746100800.0,694);
CREATE TABLE last_eviction (row INTEGER PRIMARY KEY CHECK (row = 1), body BLOB NOT NULL);
CREATE TABLE names (
            name TEXT PRIMARY KEY,
            port INTEGER NOT NULL,
            used REAL NOT NULL, -- seconds since the epoch
            body BLOB NOT NULL
        ) WITHOUT ROWID
        ;
INSERT INTO "names" VALUES('shop',40000,1746104400.0,CAST('{"name":"shop","image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","state_id":"0000000000000000000000000000000000000000000000000000000000000002","address":{"port":40000,"password":"secret"},"last_used_at":"2025-05-01T13:00:00Z"}' AS BLOB));
CREATE TABLE removed_states (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE,
            body BLOB NOT NULL
        );
INSERT INTO "removed_states" VALUES(1,'0000000000000000000000000000000000000000000000000000000000000008',CAST('{"why":"evicted","at":"2026-11-28T05:46:20.381187Z"}' AS BLOB));
CREATE TABLE standard_inputs (
            job_id TEXT PRIMARY KEY REFERENCES jobs (job_id) ON DELETE CASCADE,
            text TEXT NOT NULL
        );
INSERT INTO "standard_inputs" VALUES('00000000000000000000000000000002','select 1;');
CREATE TABLE state_steps (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE REFERENCES states (state_id) ON DELETE CASCADE,
            start TEXT NOT NULL, -- a state's id, or an image's
            from_image INTEGER NOT NULL,
            kind TEXT NOT NULL,
            title TEXT NOT NULL,
            digest TEXT NOT NULL,
            body BLOB NOT NULL
        );
INSERT INTO "state_steps" VALUES(1,'0000000000000000000000000000000000000000000000000000000000000001','image of another time',1,'psql','-f schema.sql','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',CAST('{"state_id":"0000000000000000000000000000000000000000000000000000000000000001","start":{"kind":"image","id":"image of another time"},"kind":"psql","title":"-f schema.sql","digest":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","parts":{}}' AS BLOB));
CREATE TABLE state_totals (states INTEGER NOT NULL, size_bytes INTEGER NOT NULL);
INSERT INTO "state_totals" VALUES(3,28000000);
CREATE TABLE states (
            seq INTEGER PRIMARY KEY,
            state_id TEXT NOT NULL UNIQUE,
            parent_state_id TEXT REFERENCES states (state_id),
            image_id TEXT NOT NULL,
            prepare_kind TEXT NOT NULL,
            use_count INTEGER,
            last_used_at TEXT,
            body BLOB NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL DEFAULT 0, size_bytes INTEGER NOT NULL DEFAULT 0, worth REAL NOT NULL DEFAULT 0, dependents INTEGER NOT NULL DEFAULT 0, name TEXT, warm INTEGER NOT NULL DEFAULT 0,
            CHECK (parent_state_id <> state_id)
        );
INSERT INTO "states" VALUES(1,'0000000000000000000000000000000000000000000000000000000000000001',NULL,'postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111','psql',NULL,NULL,CAST('{"state_id":"0000000000000000000000000000000000000000000000000000000000000001","parent_state_id":null,"image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","prepare_kind":"psql","prepare_args_normalized":"-f 1.sql","created_at":"2025-05-01T12:01:00Z","size_bytes":9000000,"refcount":0}' AS BLOB),0,1746100860.0,9000000,2.01875006944444430694e+04,2,NULL,0);
INSERT INTO "states" VALUES(2,'0000000000000000000000000000000000000000000000000000000000000002','0000000000000000000000000000000000000000000000000000000000000001','postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111','psql',1,'2025-05-01T13:00:00+00:00',CAST('{"state_id":"0000000000000000000000000000000000000000000000000000000000000002","parent_state_id":"0000000000000000000000000000000000000000000000000000000000000001","image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","prepare_kind":"psql","prepare_args_normalized":"-f 2.sql","created_at":"2025-05-01T12:02:00Z","size_bytes":12000000,"refcount":0}' AS BLOB),0,1746100920.0,12000000,2.01875013888888897779e+04,1,NULL,1);
INSERT INTO "states" VALUES(3,'0000000000000000000000000000000000000000000000000000000000000003','0000000000000000000000000000000000000000000000000000000000000001','postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111','psql',NULL,NULL,CAST('{"state_id":"0000000000000000000000000000000000000000000000000000000000000003","parent_state_id":"0000000000000000000000000000000000000000000000000000000000000001","image_id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111","prepare_kind":"psql","prepare_args_normalized":"-f 3.sql","created_at":"2025-05-01T12:03:00Z","size_bytes":7000000,"refcount":0,"name":"seeded"}' AS BLOB),0,1746100980.0,7000000,2.01875020833333328478e+04,0,'seeded',0);
CREATE TABLE tasks (
            seq INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            task_id TEXT NOT NULL,
            body BLOB NOT NULL,
            UNIQUE (job_id, task_id)
        );
INSERT INTO "tasks" VALUES(1,'00000000000000000000000000000001','plan',CAST('{"job_id":"00000000000000000000000000000001","status":"succeeded","spec":{"type":"plan","task_id":"plan","planner_kind":"psql"}}' AS BLOB));
INSERT INTO "tasks" VALUES(2,'00000000000000000000000000000001','execute-0',CAST('{"job_id":"00000000000000000000000000000001","status":"queued","spec":{"type":"state_execute","task_id":"execute-0","input":{"kind":"image","id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111"},"task_hash":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","output_state_id":"0000000000000000000000000000000000000000000000000000000000000001","cached":true,"args_summary":"-f 1.sql"}}' AS BLOB));
INSERT INTO "tasks" VALUES(3,'00000000000000000000000000000001','prepare-instance',CAST('{"job_id":"00000000000000000000000000000001","status":"succeeded","spec":{"type":"prepare_instance","task_id":"prepare-instance","input":{"kind":"state","id":"0000000000000000000000000000000000000000000000000000000000000001"},"instance_mode":"ephemeral"}}' AS BLOB));
INSERT INTO "tasks" VALUES(4,'00000000000000000000000000000002','plan',CAST('{"job_id":"00000000000000000000000000000002","status":"succeeded","spec":{"type":"plan","task_id":"plan","planner_kind":"psql"}}' AS BLOB));
INSERT INTO "tasks" VALUES(5,'00000000000000000000000000000002','execute-0',CAST('{"job_id":"00000000000000000000000000000002","status":"queued","spec":{"type":"state_execute","task_id":"execute-0","input":{"kind":"image","id":"postgres@sha256:1111111111111111111111111111111111111111111111111111111111111111"},"task_hash":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","output_state_id":"0000000000000000000000000000000000000000000000000000000000000001","cached":false,"args_summary":"-f 1.sql"}}' AS BLOB));
INSERT INTO "tasks" VALUES(6,'00000000000000000000000000000002','prepare-instance',CAST('{"job_id":"00000000000000000000000000000002","status":"queued","spec":{"type":"prepare_instance","task_id":"prepare-instance","input":{"kind":"state","id":"0000000000000000000000000000000000000000000000000000000000000001"},"instance_mode":"ephemeral"}}' AS BLOB));
CREATE INDEX jobs_unfinished ON jobs (seq) WHERE finish_number IS NULL;
CREATE INDEX jobs_finished ON jobs (signature, finish_number)
        WHERE finish_number IS NOT NULL
        ;
CREATE INDEX states_parent ON states (parent_state_id);
CREATE INDEX states_image ON states (image_id, prepare_kind);
CREATE INDEX states_kind ON states (prepare_kind);
CREATE INDEX instances_state ON instances (state_id);
CREATE INDEX instances_image ON instances (image_id);
CREATE INDEX states_evictable ON states (worth) WHERE dependents = 0 AND pinned = 0;
CREATE INDEX states_pinned ON states (state_id) WHERE pinned = 1;
CREATE INDEX states_created ON states (created);
CREATE INDEX instances_expires ON instances (expires) WHERE expires IS NOT NULL;
CREATE TRIGGER state_added AFTER INSERT ON states BEGIN
            UPDATE state_totals SET states = states + 1, size_bytes = size_bytes + NEW.size_bytes;
            UPDATE states SET dependents = dependents + 1 WHERE state_id = NEW.parent_state_id;
        END;
CREATE TRIGGER state_removed AFTER DELETE ON states BEGIN
            UPDATE state_totals SET states = states - 1, size_bytes = size_bytes - OLD.size_bytes;
            UPDATE states SET dependents = dependents - 1 WHERE state_id = OLD.parent_state_id;
        END;
CREATE TRIGGER state_resized AFTER UPDATE OF size_bytes ON states BEGIN
            UPDATE state_totals SET size_bytes = size_bytes + NEW.size_bytes - OLD.size_bytes;
        END;
CREATE TRIGGER state_moved AFTER UPDATE OF parent_state_id ON states
        WHEN NEW.parent_state_id IS NOT OLD.parent_state_id BEGIN
            UPDATE states SET dependents = dependents - 1 WHERE state_id = OLD.parent_state_id;
            UPDATE states SET dependents = dependents + 1 WHERE state_id = NEW.parent_state_id;
        END;
CREATE TRIGGER instance_added AFTER INSERT ON instances BEGIN
            UPDATE states SET dependents = dependents + 1 WHERE state_id = NEW.state_id;
        END;
CREATE TRIGGER instance_removed AFTER DELETE ON instances BEGIN
            UPDATE states SET dependents = dependents - 1 WHERE state_id = OLD.state_id;
        END;
CREATE INDEX state_steps_alike ON state_steps (start, kind, title);
CREATE INDEX state_steps_siblings ON state_steps (start, kind);
CREATE INDEX state_steps_first ON state_steps (digest) WHERE from_image = 1;
CREATE INDEX names_used ON names (used, name, port);
CREATE INDEX jobs_history ON jobs (finish_number, finished, size_bytes, job_id)
        WHERE finish_number IS NOT NULL
        ;
CREATE UNIQUE INDEX states_name ON states (name) WHERE name IS NOT NULL;
CREATE INDEX instances_job ON instances (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX states_warm ON states (state_id) WHERE warm > 0;
CREATE INDEX tasks_in_order ON tasks (job_id, seq);
COMMIT;
