# A dump, restored elsewhere, has every row and goes on: tasks, people,
# partitions, numbers; as another life.
#
# The restore runs with unidesk.worker off, as docs/operations.md says: the
# worker would make partitions of the same names before the dump brings them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use UniDesk;

# A person submits; the id.
sub submit_as
{
	my ($node, $person) = @_;
	return $node->safe_psql('unidesk', "SELECT unidesk.submit_task('kept', 'https://git.example/c.git', repeat('a', 40),
		'https://git.example/e.git', repeat('b', 40), 'Dockerfile', '{}')", extra_params => [ '-U', $person ]);
}

my $facts = q{SELECT (SELECT string_agg(t::text, ' ' ORDER BY id) FROM unidesk.tasks t), (SELECT string_agg(e::text, ' ' ORDER BY task, seq) FROM unidesk.task_events e),
	(SELECT string_agg(m::text, ' ' ORDER BY m::text) FROM unidesk.members m), (SELECT string_agg(name, ' ' ORDER BY name) FROM unidesk.nodes)};
my $partition = q{SELECT to_regclass('unidesk_data.task_event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL};

my $old = server('old');
value($old, 'CREATE EXTENSION unidesk');
worker_works($old, 'the worker works');
value($old, q{SELECT unidesk.create_user('ada'); SELECT unidesk.create_project('kept'); SELECT unidesk.add_member('kept', 'ada'); SELECT unidesk.create_node('kept-node')});
submit_as($old, 'ada') for 1 .. 2;
value($old, 'SELECT unidesk.cancel_task(1)');
within($old, $partition, 't', "the day's partition is there");
my $kept = value($old, $facts);
my $incarnation = value($old, 'SELECT value FROM unidesk_data.incarnation');
my $dir = PostgreSQL::Test::Utils::tempdir();
$old->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", '-d', $old->connstr('unidesk') ], 'the database is dumped');
$old->command_ok([ 'pg_dumpall', '--globals-only', '-f', "$dir/globals" ], 'and the globals');
$old->stop;

my $new = server('new');
$new->append_conf('postgresql.conf', "unidesk.worker = off\n");
$new->restart;
# The superuser's own role is there already.
$new->psql('postgres', slurp_file("$dir/globals"), on_error_stop => 0);
$new->command_ok([ 'pg_restore', '--exit-on-error', '-d', $new->connstr('unidesk'), "$dir/dump" ], 'the dump restores without an error');
is(value($new, $facts), $kept, 'everything people see is as it was');
isnt(value($new, 'SELECT value FROM unidesk_data.incarnation'), $incarnation, 'the incarnation is new');
$new->append_conf('postgresql.conf', "unidesk.worker = on\n");
$new->restart;
worker_works($new, 'the worker works on the new server');
is(submit_as($new, 'ada'), 3, 'the next task has the next number');
is(value($new, q{SELECT string_agg(state, ' ' ORDER BY id) FROM unidesk.tasks}), 'cancelled queued queued', 'the queue is there');
# And it moves.
play($new);
value($new, "SELECT test.hello('n1', cpus => 4)");
new_pass($new);
is(value($new, q{SELECT string_agg(state, ' ' ORDER BY id) FROM unidesk.tasks}), 'cancelled active active', 'and goes on');
unlike(slurp_file($new->logfile), qr/unidesk scheduler +ERROR/, 'the scheduler makes its rounds without an error');
$new->stop;
done_testing();
