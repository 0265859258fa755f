# UniDesk.pm
#	  What the TAP tests share: servers that preload the extension, and a bridge
#	  and nodes played by SQL (sql/00_setup.sql of the SQL tests).
package UniDesk;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(server configure value within worker_pid worker_works play submit live_states new_pass);

# Whoever runs this: the server's superuser has one name.
$ENV{PGUSER} = 'postgres';
$ENV{PGDATABASE} = 'unidesk';

# server NAME, [init's parameters]: running, with an empty database "unidesk".
sub server
{
	my ($name, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%init, extra => [ '--username=postgres', '--encoding=UTF8', '--no-locale' ]);
	configure($node);
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE unidesk');
	return $node;
}

# Settings of every server here; silence of the bridge, which is SQL, is normal.
sub configure
{
	my ($node) = @_;

	$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'unidesk'
unidesk.database = 'unidesk'
unidesk.mock_clock = on
unidesk.worker_nap = 100ms
unidesk.bridge_silent_after = 1d
restart_after_crash = on
log_statement = none
log_line_prefix = '%m [%p] %b %q%a '
jit = off
END
	return;
}

sub value
{
	my ($node, $query) = @_;
	return $node->safe_psql('unidesk', $query);
}

# within NODE, QUERY, EXPECTED, NAME: a test, passed as soon as it is so.
sub within
{
	my ($node, $query, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until('unidesk', $query, $expected), $name);
}

sub worker_pid
{
	my ($node) = @_;
	return value($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'unidesk scheduler'");
}

sub worker_works
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return within($node, 'SELECT unidesk.worker_alive()', 't', $name);
}

# Two whole passes of the worker; the clock is real time plus so many seconds.
sub new_pass
{
	my ($node, $later) = @_;
	my $clock = defined $later ? "clock_timestamp() + interval '$later s'" : 'NULL';
	value($node, "SELECT unidesk._tick($clock)");
	return;
}

# The bridge and nodes of the SQL tests, without the clock that those set.
sub play
{
	my ($node, $except) = @_;
	my $script = slurp_file("$FindBin::RealBin/../sql/00_setup.sql");

	$script =~ s/^.*_tick\(.*\n//mg;
	$script =~ s/^.*$except.*\n//mg if defined $except;
	$node->safe_psql('unidesk', $script);
	return;
}

# submit NODE, COUNT: their ids.
sub submit
{
	my ($node, $count) = @_;
	return split /\n/, value($node, "SELECT test.submit() FROM generate_series(1, $count)");
}

# States of all tasks that have not ended, and how often: "active 2, queued 5".
sub live_states
{
	my ($node) = @_;
	return value($node, q{SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM
		(SELECT state, count(*) AS n FROM unidesk.tasks WHERE ended_at IS NULL GROUP BY state) AS x});
}

1;
