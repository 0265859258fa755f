# The server or its worker ends in the middle of work: what was acknowledged is
# there, the same life goes on, and nobody is called silent for the pause.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use UniDesk;

my $node = server('main');
value($node, 'CREATE EXTENSION unidesk');
worker_works($node, 'the worker works');
play($node);

# Two tasks run on a node with two CPUs, others wait.
is(value($node, "SELECT test.hello('n1', cpus => 2)"), 'session welcome full ', 'a node is there');
submit($node, 6);
new_pass($node);
is(live_states($node), 'active 2, queued 4', 'its CPUs are taken');
value($node, "SELECT test.report('n1', id, 'running') FROM unidesk.tasks WHERE state = 'active'");
my $lives = "SELECT string_agg(concat_ws(' ', task_id, incarnation, attempt, node_id, attempt_state), ', ' ORDER BY task_id)
	FROM unidesk_data.live WHERE state = 4";
my $before = value($node, $lives);
my $incarnation = value($node, 'SELECT value FROM unidesk_data.incarnation');

# Submit without end, in a session that asks for no durability of its own,
# until the server is gone under it; the ids that it printed are promises.
sub submit_while
{
	my ($end) = @_;
	my ($out, $err) = ('', '');
	my $script = PostgreSQL::Test::Utils::tempdir() . '/submit.sql';

	append_to_file($script, "SET synchronous_commit = off;\n" . "SELECT test.submit();\n" x 20000);
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $script, '-d', $node->connstr('unidesk') ], '>', \$out, '2>', \$err);

	$session->pump until $out =~ /(.*\n){50}/;
	$end->();
	# It ends by itself, since its server is gone.
	$session->finish;
	return grep { /^\d+$/ } split /\n/, substr($out, 0, rindex($out, "\n") + 1);
}

# What must hold after each of them.
sub goes_on
{
	my ($how, @promised) = @_;

	worker_works($node, "$how: the worker is back");
	cmp_ok(scalar @promised, '>', 49, "$how: tasks were submitted meanwhile");
	is(value($node, 'SELECT count(*) FROM unidesk.tasks WHERE id = ANY (ARRAY[' . join(',', @promised) . '])'),
		scalar @promised, "$how: every acknowledged task is there");
	is(value($node, 'SELECT value FROM unidesk_data.incarnation'), $incarnation, "$how: the incarnation is kept");
	is(value($node, $lives), $before, "$how: what runs, runs on");
	# Long before the next one.
	value($node, "UPDATE unidesk_data.live SET state = 1 WHERE state = 3; SELECT unidesk._rescan()");
	return;
}

goes_on('restart', submit_while(sub { $node->restart }));

# Nobody could be heard while the server was away: everybody has the whole grace.
new_pass($node, 80);
is(value($node, 'SELECT status FROM unidesk.nodes'), 'online', 'restart: a node has its whole grace again');
new_pass($node, 100);
is(value($node, 'SELECT status FROM unidesk.nodes'), 'offline', 'restart: and is offline after it');
is(value($node, $lives), $before, 'restart: which ends nothing');
new_pass($node);
my $attempts = q{(SELECT jsonb_agg(jsonb_build_object('incarnation', incarnation, 'task', task, 'attempt', attempt, 'state', 'running'))
	FROM unidesk.attempts WHERE state = 'running')};
is(value($node, "SELECT test.hello('n1', cpus => 2, attempts => $attempts)"), 'close(4001: another connection of this node took over) session welcome full desired desired ', 'restart: the node comes back with its tasks');

# The walwriter sleeps, so that only what a commit has flushed is on disk.
value($node, 'ALTER SYSTEM SET wal_writer_delay = 10000');
$node->reload;
goes_on('immediate stop', submit_while(sub { $node->stop('immediate'); $node->start; }));
new_pass($node, 80);
is(value($node, 'SELECT status FROM unidesk.nodes'), 'online', 'immediate stop: a node has its whole grace again');
new_pass($node);

# The postmaster takes a killed worker for a crash and starts everything anew.
goes_on('kill -9 of the worker', submit_while(sub {
	my $pid = worker_pid($node);
	kill 'KILL', $pid;
	$node->poll_query_until('unidesk', "SELECT pid <> $pid FROM pg_stat_activity WHERE backend_type = 'unidesk scheduler'");
}));

# One that is asked to end takes nobody with it.
my $pid = worker_pid($node);
my $started = value($node, 'SELECT pg_postmaster_start_time()');
is(value($node, "SELECT pg_terminate_backend($pid)"), 't', 'the worker is terminated');
within($node, "SELECT pid <> $pid FROM pg_stat_activity WHERE backend_type = 'unidesk scheduler'", 't', 'another one comes');
is(value($node, 'SELECT pg_postmaster_start_time()'), $started, 'in the same server');
is(value($node, $lives), $before, 'what runs, runs on');

# It takes up the work: results are taken, the queue moves.
is(value($node, "SELECT string_agg(test.report('n1', id, 'succeeded', '{\"exit_code\":0,\"log_end\":0}'), ' ' ORDER BY id) FROM unidesk.tasks WHERE state = 'active'"),
	'ack succeeded remove ack succeeded remove', 'the results come');
submit($node, 3);
new_pass($node);
is(value($node, "SELECT count(*) FROM unidesk.tasks WHERE state = 'active'"), 2, 'and the next tasks are placed');
is(value($node, 'SELECT count(*) FROM (SELECT task FROM unidesk.task_events GROUP BY task HAVING count(*) <> max(seq)) AS x'), 0, 'no event is missing');
$node->stop;
done_testing();
