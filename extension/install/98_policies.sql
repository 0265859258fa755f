-- Who may do what.  Everything belongs to unidesk_owner, who cannot log in;
-- people read base tables through the views under row-level security, and
-- write nothing: all writes are functions.

-- FORCE and the owner's policy: what runs as the owner sees all, but a view
-- that belongs to the owner does not show it to whoever asks.
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['project', 'member', 'task', 'live', 'spec', 'task_event', 'attempt', 'log_chunk', 'log_block', 'retention', 'held'] LOOP
		EXECUTE format('ALTER TABLE unidesk_data.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
		EXECUTE format('CREATE POLICY owner_works ON unidesk_data.%I TO unidesk_owner USING (current_user = ''unidesk_owner'') WITH CHECK (true)', name);
	END LOOP;
END
$$;

-- The sub-selects make each call once per query and not once per row.
CREATE POLICY members_see ON unidesk_data.project FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.member FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.task FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.live FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.spec FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.task_event FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR EXISTS (SELECT FROM unidesk_data.task t WHERE t.id = task_id));
CREATE POLICY members_see ON unidesk_data.attempt FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR EXISTS (SELECT FROM unidesk_data.task t WHERE t.id = task_id));
CREATE POLICY members_see ON unidesk_data.log_chunk FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR EXISTS (SELECT FROM unidesk_data.task t WHERE t.id = task_id));
CREATE POLICY members_see ON unidesk_data.log_block FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.retention FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));

-- A task's number may be another's in another incarnation.
CREATE POLICY administrators_see ON unidesk_data.held FOR SELECT TO unidesk_user USING ((SELECT unidesk.is_admin()));
