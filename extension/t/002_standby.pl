# A standby takes over: the worker sleeps on it, works after the promotion, and
# begins a new life, since the old server may go on with the old one.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use UniDesk;

my $primary = server('primary', allows_streaming => 1);
value($primary, 'CREATE EXTENSION unidesk');
worker_works($primary, 'the worker works');
play($primary);
value($primary, "SELECT test.hello('n1', cpus => 1)");
submit($primary, 3);
new_pass($primary);
value($primary, "SELECT test.report('n1', id, 'running') FROM unidesk.tasks WHERE state = 'active'");

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
submit($primary, 2);
$primary->wait_for_catchup($standby);
is(live_states($standby), 'active 1, queued 4', 'the standby has all tasks');
is(worker_pid($standby), '', 'the standby has no worker');
is(value($standby, 'SELECT unidesk.worker_alive()'), 'f', 'and says so');
my ($status, undef, $error) = $standby->psql('unidesk', 'SELECT test.submit()');
isnt($status, 0, 'the standby takes no task');
like($error, qr/read-only transaction|recovery is in progress/, 'and says why');
my $old = value($primary, 'SELECT value FROM unidesk_data.incarnation');
my $live = value($primary, 'SELECT incarnation, task_id, attempt FROM unidesk_data.live WHERE state = 4');
my $attempts = value($primary, q{SELECT jsonb_build_array(jsonb_build_object('incarnation', incarnation, 'task', task, 'attempt', attempt, 'state', 'running'))
	FROM unidesk.attempts WHERE state = 'running'});

$primary->restart;
worker_works($primary, 'a restart of the primary');
is(value($primary, 'SELECT value FROM unidesk_data.incarnation'), $old, 'changes no incarnation');

$primary->stop('immediate');
$standby->promote;
worker_works($standby, 'after the promotion the worker works');
within($standby, "SELECT value <> $old AND timeline = 2 FROM unidesk_data.incarnation", 't', 'the incarnation is renewed');
ok($standby->log_contains('the server is on a new timeline: the incarnation was renewed'), 'the log says so');
within($standby, 'SELECT count(*) FROM unidesk.nodes WHERE connected', '0', 'all sessions have ended');
is(value($standby, 'SELECT count(*) FROM unidesk_data.bridge WHERE ended_at IS NULL'), 0, 'bridges are to register anew');
is(value($standby, 'SELECT incarnation, task_id, attempt FROM unidesk_data.live WHERE state = 4'), $live, 'the running attempt has its old fence');

# The bridge and the node come, with what both sides know.
value($standby, "UPDATE test.bridge SET id = unidesk_bridge.register('test', 1)");
is(value($standby, "SELECT test.hello('n1', cpus => 2, attempts => '$attempts')"), 'session welcome full desired ', 'the node comes with its attempt');
is(value($standby, "SELECT body::jsonb ->> 'incarnation' = (SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation)
	FROM (SELECT convert_from(m.body, 'UTF8') AS body FROM test.node n, unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id], ARRAY[n.id],
		ARRAY[sha256(convert_to(n.token, 'UTF8'))], ARRAY[0::bigint], ARRAY[1::int2], ARRAY[0::int2], ARRAY[0::int2], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0],
		ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[convert_to(jsonb_build_object('proto_min', 1, 'proto_max', 1, 'boot_id', 'm1', 'engine_id', 'm1',
		'attempts', '$attempts'::jsonb, 'resources', jsonb_build_object('cpus_milli', 2000, 'memory', 8589934592))::text, 'UTF8')]) m WHERE m.type = 129) AS x"),
	't', 'its welcome names the new incarnation');
value($standby, 'UPDATE test.node t SET session = n.session FROM unidesk.nodes n WHERE n.name = t.name');
new_pass($standby);
is(value($standby, "SELECT count(*) FROM unidesk_data.live WHERE state = 4 AND incarnation <> $old"), 1, 'the next task is placed under the new fence');
my ($old_task) = $live =~ /\|(\d+)\|/;
is(value($standby, "SELECT reply_state FROM test.send('n1', 4, 7, $old_task, 1, body => '{\"exit_code\":0,\"log_end\":0}', incarnation => $old)"), 'succeeded', 'the old attempt may end');
is(value($standby, "SELECT state FROM unidesk.tasks WHERE id = $old_task"), 'succeeded', 'and its result counts');

# The same life goes on.
my $new = value($standby, 'SELECT value FROM unidesk_data.incarnation');
$standby->restart;
worker_works($standby, 'after a restart');
new_pass($standby);
is(value($standby, 'SELECT value FROM unidesk_data.incarnation'), $new, 'the incarnation stays');
is(value($standby, 'SELECT unidesk._memory_differences()'), 0, "the worker's memory is right");
$standby->stop;
done_testing();
