# From 0.1 to this version in place: the new library finds older objects, lets
# the scheduler stand still, says what to do, and goes on after the update with
# the rows that 0.1 wrote.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use UniDesk;

my $node = server('main');
my $latest = value($node, q{SELECT default_version FROM pg_available_extensions WHERE name = 'unidesk'});
value($node, q{CREATE EXTENSION unidesk VERSION '0.1'});
within($node, q{SELECT query FROM pg_stat_activity WHERE backend_type = 'unidesk scheduler'}, 'stands still until ALTER EXTENSION unidesk UPDATE', 'the worker shows that it stands still');
is(value($node, 'SELECT unidesk.worker_alive()'), 'f', 'a health check fails');
like(slurp_file($node->logfile), qr/WARNING:  unidesk scheduler stands still: the extension's objects are of version 0\.1, its library is of version \Q$latest\E\n.*HINT:  Run ALTER EXTENSION unidesk UPDATE/,
	'the log says what to do');

# As the worker of 0.1 left it: partitions of its days, and rows.
value($node, 'SELECT unidesk_data._maintain_partitions(30, 30)');
value($node, slurp_file("$FindBin::RealBin/rows-0.1.sql"));
my $facts = q{SELECT string_agg(concat_ws(' ', t.id, state, attempt_state, attempts, node, exit_code, image_id, log_bytes, unidesk.task_log_text(t.id)), ', ' ORDER BY t.id),
	(SELECT string_agg(concat_ws(' ', task, seq, task_state, attempt_state, reason), ', ' ORDER BY task, seq) FROM unidesk.task_events),
	(SELECT value FROM unidesk_data.incarnation) FROM unidesk.tasks t};
my $before = value($node, $facts);
like($before, qr/^1 succeeded .*, 2 failed .*, 3 active running .*, 4 queued .*, 5 queued .*, 6 held .*, 7 cancelled/s, 'the rows of 0.1 can be read');
new_pass($node);
is(value($node, $facts), $before, 'nothing moves');

# A function that lacks something of its own version says why.
value($node, 'ALTER TABLE unidesk_data.bridge RENAME started_at TO missing');
my ($status, undef, $error) = $node->psql('unidesk', "SELECT unidesk_bridge.register('x', 1)");
like($error, qr/ERROR:  column "started_at" does not exist/, 'a function that needs more than 0.1 fails');
like($error, qr/HINT:  The extension's objects are of version 0\.1 and its library is of version \Q$latest\E\. Run ALTER EXTENSION unidesk UPDATE as a superuser\./, 'and says what to do');
value($node, 'ALTER TABLE unidesk_data.bridge RENAME missing TO started_at');

# An update that fails changes nothing.
$node->psql('unidesk', 'BEGIN; ALTER EXTENSION unidesk UPDATE; ROLLBACK');
new_pass($node);
is(value($node, q{SELECT extversion FROM pg_extension WHERE extname = 'unidesk'}), '0.1', 'an update that is rolled back leaves 0.1');
is(value($node, 'SELECT unidesk.worker_alive()'), 'f', 'and the scheduler where it was');

# A health check passes again in the same server, by the same worker.
my $pid = worker_pid($node);
value($node, 'ALTER EXTENSION unidesk UPDATE');
worker_works($node, 'after the update the scheduler works');
is(worker_pid($node), $pid, 'without a restart');
ok($node->log_contains("the extension's objects are of version \Q$latest\E now: unidesk scheduler works"), 'the log says so');
is(value($node, $facts), $before, 'every row is as it was, the incarnation too');
new_pass($node);

# Everything that 0.1 had begun goes on.
play($node, q{create_project});
value($node, "INSERT INTO test.node VALUES ('old', 1, 'udn_old', 1)");
is(value($node, q{SELECT test.report('old', 3, 'succeeded', '{"exit_code":0,"log_end":5}')}), 'ack succeeded remove', 'the attempt that 0.1 placed ends well');
new_pass($node);
is(value($node, q{SELECT string_agg(state, ' ' ORDER BY id) FROM unidesk.tasks}), 'succeeded failed succeeded active active held cancelled', 'the queue goes on');
is(value($node, q{SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
	'Dockerfile', ARRAY['true'], environment => '{"A": "b"}', idempotency_key => 'once', hold => true)}), 6, "0.1's idempotency key names the same task");
# What 0.1 knew of a task is known as long as it lives; submitted again it is the same.
(undef, undef, $error) = $node->psql('unidesk', 'SELECT unidesk.rerun_task(1)');
like($error, qr/ERROR:  task 1 ended before version 0\.2/, 'what ended in 0.1 says why it cannot be run again');
is(value($node, q{SELECT unidesk.cancel_task(6)}), 'cancelled', 'what was held in 0.1 is cancelled');
my $again = value($node, 'SELECT unidesk.rerun_task(6)');
is(value($node, "SELECT concat_ws(' ', cpus_milli, memory, gpus, labels, priority, max_retries, on_lost, lease_s, grace_s, run_s) FROM unidesk_data.live WHERE task_id = $again"),
	'1000 1073741824 0  0 0 1 7200 30', 'and can be submitted again');
cmp_ok((submit($node, 1))[0], '>', 7, 'the next task has a new number');
is(value($node, 'SELECT unidesk._memory_differences()'), 0, "the worker's memory is right");
value($node, 'SELECT unidesk._tidy()');
unlike(slurp_file($node->logfile), qr/unidesk scheduler +ERROR|TRAP/, 'the worker met no error');
$node->stop;
done_testing();
