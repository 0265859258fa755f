-- A queue as one would write it by hand: one table, one partial index, events.
CREATE TABLE task (
	id			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	state		text NOT NULL DEFAULT 'queued',
	priority	integer NOT NULL DEFAULT 0,
	code_repo	text NOT NULL,
	code_commit	text NOT NULL,
	env_repo	text NOT NULL,
	env_commit	text NOT NULL,
	dockerfile	text NOT NULL,
	node		integer,
	created_at	timestamptz NOT NULL DEFAULT now(),
	started_at	timestamptz,
	ended_at	timestamptz
);
CREATE INDEX task_queue ON task (priority DESC, id) WHERE state = 'queued';
CREATE TABLE event (
	id			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	task_id		bigint NOT NULL,
	state		text NOT NULL,
	at			timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_task ON event (task_id);
